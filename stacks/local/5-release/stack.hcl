needs = ["argocd"]

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

# What nobody may see is not in Git: the chart names these.
release "secrets" {
  kubeconfig = stack.cluster.kubeconfig
  chart      = "builtin://secrets"
  namespace  = "chat${lab.suffix}"
  values = {
    kafka             = stack.databases.kafka_passwords
    mongodb-auth      = { uri = stack.databases.mongodb_uris.auth }
    mongodb-groups    = { uri = stack.databases.mongodb_uris.groups }
    mongodb-messaging = { uri = stack.databases.mongodb_uris.messaging }
    mongodb-presence  = { uri = stack.databases.mongodb_uris.presence }
    auth              = { keyEncryption = stack.databases.key_encryption_secret }
    # Of the parts of shadows. No live service is given these.
    shadow-kafka   = stack.databases.shadow_kafka_passwords
    shadow-mongodb = stack.databases.shadow_mongodb_uris
  }
}

release "chat" {
  kubeconfig = stack.cluster.kubeconfig
  chart      = "charts/chat"
  namespace  = "chat${lab.suffix}"
  # Where the environment has gitops, Argo CD makes an Application of each.
  applications = ["shared", "auth", "gateway", "messaging", "presence", "groups", "frontend"]
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
      brokers        = stack.databases.kafka_brokers
      partitions     = 3 # the embedded broker syncs each by itself
      tls            = stack.databases.kafka_tls
      caCerts        = stack.databases.ca_certificate
      sasl           = stack.databases.kafka_sasl
      existingSecret = "kafka"
    }
    # Where Kafka is Event Hubs.
    identities     = stack.release.identities
    mongodb        = { existingSecret = "mongodb", caCerts = stack.databases.ca_certificate }
    keyEncryption  = { existingSecret = "auth" }
    ingress = {
      className = stack.cluster.ingress_class
      host      = lab.cluster_of == "" ? "" : "${lab.environment}.localhost"
      annotations = {
        # An id for each request, also in the ingress's own log, and a deadline for its body, some seconds after the services' own.
        "zalando.org/skipper-filter" = "copyRequestHeader(`X-Request-Id`, `X-Flow-Id`) -> flowId(`reuse`) -> copyRequestHeader(`X-Flow-Id`, `X-Request-Id`) -> readTimeout(`40s`)"
      }
    }
    trustedProxies = stack.cluster.ingress_networks
    url            = stack.cluster.url
    registrationRate = "off" # here all users come from one address
    networkPolicies = {
      ingressNamespace  = stack.cluster.ingress_namespace
      apiNetworks       = stack.cluster.api_networks
      databaseNamespace = stack.databases.namespace
    }
    # A pod reads a Secret only when it starts.
    secretsVersion = fingerprint([stack.databases.kafka_passwords, stack.databases.mongodb_uris, stack.databases.key_encryption_secret])
  }
}
