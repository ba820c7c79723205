inputs = {
  url = stack.cluster.url
}

image "auth" {
  source   = "services/auth"
  registry = stack.cluster.registry
}

image "gateway" {
  source   = "services/gateway"
  registry = stack.cluster.registry
}

image "messaging" {
  source   = "services/messaging"
  registry = stack.cluster.registry
}

image "presence" {
  source   = "services/presence"
  registry = stack.cluster.registry
}

image "groups" {
  source   = "services/groups"
  registry = stack.cluster.registry
}

image "frontend" {
  source   = "services/frontend"
  registry = stack.cluster.registry
}

release "chat" {
  kubeconfig = stack.cluster.kubeconfig
  chart      = "charts/chat"
  namespace  = "chat"
  values = {
    images = {
      auth      = image.auth
      gateway   = image.gateway
      messaging = image.messaging
      presence  = image.presence
      groups    = image.groups
      frontend  = image.frontend
    }
    kafka = {
      brokers    = stack.databases.kafka_brokers
      partitions = 3 # the embedded broker syncs each by itself
      tls        = stack.databases.kafka_tls
      sasl       = stack.databases.kafka_sasl
      passwords  = stack.databases.kafka_passwords
    }
    # Where Kafka is Event Hubs.
    identities = stack.release.identities
    mongodb    = { uri = stack.databases.mongodb_uri }
    ingress    = { className = stack.cluster.ingress_class, host = "" }
    url        = stack.cluster.url
  }
}
