inputs = {
  url            = stack.cluster.url
  name           = stack.foundation.name
  location       = stack.foundation.location
  resource_group = stack.foundation.resource_group
  tags           = stack.foundation.tags
  oidc_issuer    = stack.cluster.oidc_issuer
  event_hubs     = stack.databases.event_hubs
}

backend "azurerm" {
  resource_group_name  = stack.foundation.resource_group
  storage_account_name = stack.foundation.storage_account
  container_name       = stack.foundation.container
  key                  = "5-release.tfstate"
  use_azuread_auth     = true
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
      brokers   = stack.databases.kafka_brokers
      tls       = stack.databases.kafka_tls
      sasl      = stack.databases.kafka_sasl
      passwords = stack.databases.kafka_passwords
    }
    # Where Kafka is Event Hubs.
    identities = stack.release.identities
    mongodb    = { uri = stack.databases.mongodb_uri }
    ingress    = { className = stack.cluster.ingress_class, host = "" }
    url        = stack.cluster.url
  }
}
