inputs = {
  databases        = lookup(env, "databases", null)
  namespace        = "data"
  name             = stack.foundation.name
  location         = stack.foundation.location
  resource_group   = stack.foundation.resource_group
  suffix           = stack.foundation.suffix
  tags             = stack.foundation.tags
  network_id       = stack.cluster.network_id
  nodes_subnet     = stack.cluster.nodes_subnet
  endpoints_subnet = stack.cluster.endpoints_subnet
  zone_redundant   = lookup(env, "zone_redundant", null)
  throughput_units = lookup(env, "throughput_units", null)
}

backend "azurerm" {
  resource_group_name  = stack.foundation.resource_group
  storage_account_name = stack.foundation.storage_account
  container_name       = stack.foundation.container
  key                  = "2-databases.tfstate"
  use_azuread_auth     = true
}

image "kafka" {
  source   = "images/kafka"
  registry = stack.cluster.registry
  when     = lookup(env, "databases", "cluster") == "cluster"
}

image "mongodb" {
  source   = "images/mongodb"
  registry = stack.cluster.registry
  when     = lookup(env, "databases", "cluster") == "cluster"
}

release "databases" {
  kubeconfig = stack.cluster.kubeconfig
  chart      = "charts/databases"
  namespace  = "data"
  when       = lookup(env, "databases", "cluster") == "cluster"
  values = {
    images       = { kafka = image.kafka, mongodb = image.mongodb }
    storageClass = stack.cluster.storage_class
    kafka        = { users = stack.databases.kafka_users }
    mongodb      = { users = stack.databases.mongodb_users }
    # The chat's namespace, see the last stack.
    networkPolicies = { clientNamespace = "chat" }
  }
}
