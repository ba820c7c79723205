inputs = {
  namespace = "data${lab.suffix}"
}

image "kafka" {
  source   = "images/kafka"
  registry = stack.cluster.registry
}

image "mongodb" {
  source   = "images/mongodb"
  registry = stack.cluster.registry
}

release "databases" {
  kubeconfig = stack.cluster.kubeconfig
  chart      = "charts/databases"
  namespace  = "data${lab.suffix}"
  values = {
    images       = { kafka = image.kafka, mongodb = image.mongodb }
    storageClass = stack.cluster.storage_class
    kafka = {
      users = stack.databases.kafka_users
      tls   = { certificate = stack.databases.server_certificates.kafka, key = stack.databases.server_keys.kafka }
    }
    mongodb = {
      users = stack.databases.mongodb_users
      tls   = { certificate = stack.databases.server_certificates.mongodb, key = stack.databases.server_keys.mongodb }
    }
    # The chat's namespace, see the last stack.
    networkPolicies = { clientNamespace = "chat${lab.suffix}" }
  }
}
