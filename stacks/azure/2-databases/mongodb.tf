# Cosmos DB for MongoDB, serverless: what is not asked costs nothing but its storage.

resource "azurerm_cosmosdb_account" "this" {
  count = local.managed ? 1 : 0

  name                = "${var.name}-${var.suffix}"
  resource_group_name = var.resource_group
  location            = var.location
  tags                = var.tags

  kind                 = "MongoDB"
  offer_type           = "Standard"
  mongo_server_version = "7.0"
  minimal_tls_version  = "Tls12"

  public_network_access_enabled     = !local.private
  is_virtual_network_filter_enabled = !local.private
  dynamic "virtual_network_rule" {
    for_each = local.private ? [] : [var.nodes_subnet]
    content {
      id = virtual_network_rule.value
    }
  }

  capabilities {
    name = "EnableMongo"
  }
  capabilities {
    name = "EnableServerless"
  }
  # Users with rights, beside the account's keys.
  capabilities {
    name = "EnableMongoRoleBasedAccessControl"
  }

  # The services read what they have just written.
  consistency_policy {
    consistency_level = "Session"
  }
  geo_location {
    location          = var.location
    failover_priority = 0
    zone_redundant    = var.zone_redundant
  }
  # Any moment of the last seven days can be brought back. It costs nothing.
  backup {
    type = "Continuous"
    tier = "Continuous7Days"
  }
}

# Passwords of MongoDB's users, made once and kept in the state: the services, each of which may use the database of its name, and in the
# cluster the parts of their shadows and admin, for people. Those of Cosmos DB use the account's key.
locals {
  mongodb_services = ["auth", "groups", "messaging", "presence"]
  mongodb_shadows  = [for name in local.kafka_shadows : name if contains(local.mongodb_services, split("-", name)[0])]
}

resource "azurerm_cosmosdb_mongo_database" "service" {
  for_each = toset(local.managed ? local.mongodb_services : [])

  name                = each.key
  resource_group_name = var.resource_group
  account_name        = azurerm_cosmosdb_account.this[0].name
}

# readWrite is a role that each database has. It also makes collections and indexes.
resource "azurerm_cosmosdb_mongo_user_definition" "service" {
  for_each = azurerm_cosmosdb_mongo_database.service

  cosmos_mongo_database_id = each.value.id
  username                 = each.key
  password                 = terraform_data.mongodb_password[each.key].output
  inherited_role_names     = ["readWrite"]
}

resource "terraform_data" "mongodb_password" {
  for_each = toset(concat(local.mongodb_services, local.mongodb_shadows, local.managed ? [] : ["admin"]))

  input = sensitive(uuid())

  lifecycle {
    ignore_changes = [input] # another one each time it is asked
  }
}

# What auth encrypts its signing keys with, made once and kept in the state, which is as secret as it is. Another one makes the keys in the database useless.
resource "terraform_data" "key_encryption_secret" {
  input = sensitive(uuid())

  lifecycle {
    ignore_changes = [input] # another one each time it is asked
  }
}
