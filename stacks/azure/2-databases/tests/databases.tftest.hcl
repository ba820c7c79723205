mock_provider "azurerm" {
  mock_resource "azurerm_cosmosdb_account" {
    defaults = {
      id                                = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.DocumentDB/databaseAccounts/chat-staging-abc123"
      primary_mongodb_connection_string = "mongodb://chat-staging-abc123:key@chat-staging-abc123.mongo.cosmos.azure.com:10255/?ssl=true"
    }
  }
  mock_resource "azurerm_cosmosdb_mongo_database" {
    defaults = { id = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.DocumentDB/databaseAccounts/chat-staging-abc123/mongodbDatabases/auth" }
  }
  mock_resource "azurerm_eventhub_namespace" {
    defaults = { id = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.EventHub/namespaces/chat-staging-abc123" }
  }
  mock_resource "azurerm_private_dns_zone" {
    defaults = { id = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.Network/privateDnsZones/privatelink.example" }
  }
}

variables {
  namespace      = "data"
  name           = "chat-staging"
  location       = "westeurope"
  resource_group = "chat-staging"
  suffix         = "abc123"
  tags           = { lab = "chat", environment = "staging", owner = "platform", cost-centre = "teaching" }
  network_id     = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.Network/virtualNetworks/chat-staging"
  nodes_subnet   = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.Network/virtualNetworks/chat-staging/subnets/nodes"
}

run "in_the_cluster_by_default" {
  command = apply

  assert {
    condition     = length(azurerm_cosmosdb_account.this) == 0 && length(azurerm_eventhub_namespace.this) == 0 && length(azurerm_eventhub.topic) == 0 && length(azurerm_private_endpoint.this) == 0
    error_message = "Databases in the cluster cost nothing in Azure."
  }
  assert {
    condition     = output.kafka_brokers == tolist(["kafka.data.svc.cluster.local:9092"]) && output.mongodb_uris["auth"] == "mongodb://auth:${output.mongodb_users["auth"]}@mongodb.data.svc.cluster.local:27017/?authMechanism=SCRAM-SHA-256"
    error_message = "The chat must find those of the release."
  }
  assert {
    condition     = toset(keys(output.mongodb_users)) == setunion(["admin"], keys(output.mongodb_uris), keys(output.shadow_mongodb_uris)) && length(toset(values(output.mongodb_users))) == 15 && toset(keys(output.mongodb_uris)) == toset(["auth", "groups", "messaging", "presence"])
    error_message = "Each service that has a database is a user of its own, and each part of its shadow, and admin is for people."
  }
  assert {
    condition     = toset(keys(output.shadow_mongodb_uris)) == toset(concat([for p in setproduct(["messaging", "presence"], ["shadow", "baseline", "comparer"]) : join("-", p)], [for p in setproduct(["auth", "groups"], ["shadow", "baseline"]) : join("-", p)])) && output.shadow_mongodb_uris["groups-shadow"] == "mongodb://groups-shadow:${output.mongodb_users["groups-shadow"]}@mongodb.data.svc.cluster.local:27017/?authMechanism=SCRAM-SHA-256"
    error_message = "A shadow must find them, too, as users of its own."
  }
  assert {
    condition     = output.event_hubs == ""
    error_message = "There are no Event Hubs."
  }
  assert {
    condition     = output.kafka_sasl == "SCRAM-SHA-512" && output.kafka_tls == "off"
    error_message = "The chat must log in as the release's Kafka asks."
  }
  assert {
    condition     = output.ca_certificate == "" && length(output.server_certificates) == 0 && length(output.server_keys) == 0
    error_message = "Who has no TLS has no certificates."
  }
  assert {
    condition     = toset(keys(output.kafka_users)) == setunion(["admin"], keys(output.kafka_passwords), keys(output.shadow_kafka_passwords)) && length(toset(values(output.kafka_users))) == 19 && alltrue([for p in values(output.kafka_users) : length(p) >= 16])
    error_message = "Each user has a password of its own."
  }
  assert {
    condition     = output.kafka_passwords == tomap({ for name in ["auth", "gateway", "groups", "messaging", "presence"] : name => output.kafka_users[name] })
    error_message = "The chat gets the services' and no others."
  }
  assert {
    condition     = output.shadow_kafka_passwords == tomap({ for name in concat([for p in setproduct(["gateway", "messaging", "presence"], ["shadow", "baseline", "comparer"]) : join("-", p)], [for p in setproduct(["auth", "groups"], ["shadow", "baseline"]) : join("-", p)]) : name => output.kafka_users[name] })
    error_message = "Shadows get those of their parts and no others."
  }
  assert {
    condition     = length(output.key_encryption_secret) >= 32
    error_message = "auth takes no shorter one."
  }
}

run "managed" {
  command = apply
  variables {
    databases = "managed"
  }

  assert {
    condition     = output.kafka_brokers == tolist(["chat-staging-abc123.servicebus.windows.net:9093"]) && alltrue([for name, uri in output.mongodb_uris : startswith(uri, "mongodb://${name}:") && strcontains(uri, "@chat-staging-abc123.mongo.cosmos.azure.com:10255/?ssl=true") && strcontains(uri, "authSource=${name}&authMechanism=SCRAM-SHA-256")])
    error_message = "The chat must find the managed ones."
  }
  assert {
    condition     = toset(keys(output.mongodb_uris)) == toset(["auth", "groups", "messaging", "presence"]) && length(toset(values(output.mongodb_uris))) == 4 && output.mongodb_users == tomap({})
    error_message = "Each service that has a database must have a connection string of its own."
  }
  assert {
    condition     = alltrue([for name, u in azurerm_cosmosdb_mongo_user_definition.service : u.username == name && u.cosmos_mongo_database_id == azurerm_cosmosdb_mongo_database.service[name].id && azurerm_cosmosdb_mongo_database.service[name].name == name && u.inherited_role_names == tolist(["readWrite"])]) && length(azurerm_cosmosdb_mongo_user_definition.service) == 4
    error_message = "A service may read and write its own database and no other."
  }
  assert {
    condition     = !strcontains(join(" ", values(output.mongodb_uris)), "key@")
    error_message = "No service gets the key of the account."
  }
  assert {
    condition     = output.event_hubs == azurerm_eventhub_namespace.this[0].id
    error_message = "5-release gives roles on this."
  }
  assert {
    condition     = output.kafka_sasl == "OAUTHBEARER" && output.kafka_tls == "system" && output.kafka_users == tomap({}) && output.kafka_passwords == tomap({})
    error_message = "Event Hubs takes tokens, over TLS, and knows no passwords."
  }
  assert {
    condition     = output.shadow_kafka_passwords == tomap({}) && output.shadow_mongodb_uris == tomap({})
    error_message = "Managed databases have no users for shadows."
  }
  assert {
    condition     = azurerm_cosmosdb_account.this[0].tags == tomap(var.tags) && azurerm_eventhub_namespace.this[0].tags == tomap(var.tags)
    error_message = "Everything that can bear tags bears these."
  }
}

run "mongodb_lets_in_the_nodes_alone" {
  command = plan
  variables {
    databases = "managed"
  }

  assert {
    condition     = azurerm_cosmosdb_account.this[0].is_virtual_network_filter_enabled && [for r in azurerm_cosmosdb_account.this[0].virtual_network_rule : r.id] == [var.nodes_subnet]
    error_message = "The nodes' subnet and nothing else may reach it."
  }
  assert {
    condition     = azurerm_cosmosdb_account.this[0].minimal_tls_version == "Tls12"
    error_message = "TLS 1.2 is the least."
  }
  assert {
    condition     = toset([for c in azurerm_cosmosdb_account.this[0].capabilities : c.name]) == toset(["EnableMongo", "EnableMongoRoleBasedAccessControl", "EnableServerless"]) && azurerm_cosmosdb_account.this[0].mongo_server_version == "7.0"
    error_message = "MongoDB 7, paid by use."
  }
  assert {
    condition     = azurerm_cosmosdb_account.this[0].backup[0].type == "Continuous"
    error_message = "Backups must be continuous."
  }
}

run "kafka_has_no_keys" {
  command = plan
  variables {
    databases = "managed"
  }

  assert {
    condition     = !azurerm_eventhub_namespace.this[0].local_authentication_enabled
    error_message = "Only Entra tokens may open it."
  }
  assert {
    condition     = azurerm_eventhub_namespace.this[0].minimum_tls_version == "1.2"
    error_message = "TLS 1.2 is the least."
  }
  assert {
    condition     = azurerm_eventhub_namespace.this[0].network_rulesets[0].default_action == "Deny" && [for r in azurerm_eventhub_namespace.this[0].network_rulesets[0].virtual_network_rule : r.subnet_id] == [var.nodes_subnet]
    error_message = "The nodes' subnet and nothing else may reach it."
  }
  assert {
    condition     = azurerm_eventhub_namespace.this[0].sku == "Standard" && azurerm_eventhub_namespace.this[0].capacity == 1
    error_message = "The smallest that speaks Kafka."
  }
}

run "topics" {
  command = plan
  variables {
    databases = "managed"
  }

  assert {
    condition     = { for name, t in azurerm_eventhub.topic : name => t.partition_count } == { "messages" = 12, "messages.dead" = 1, "presence" = 12, "sessions" = 1, "users" = 4 }
    error_message = "The topics and partitions must be those of services/internal/bus."
  }
  assert {
    condition     = azurerm_eventhub.topic["presence"].retention_description[0].cleanup_policy == "Compact"
    error_message = "Presence is compacted."
  }
  assert {
    condition     = azurerm_eventhub.topic["messages"].retention_description[0].retention_time_in_hours == 72
    error_message = "Messages stay for three days."
  }
}

run "private" {
  command = plan
  variables {
    databases        = "managed"
    endpoints_subnet = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.Network/virtualNetworks/chat-staging/subnets/endpoints"
  }

  assert {
    condition     = !azurerm_cosmosdb_account.this[0].public_network_access_enabled && !azurerm_eventhub_namespace.this[0].public_network_access_enabled && !azurerm_eventhub_namespace.this[0].network_rulesets[0].public_network_access_enabled
    error_message = "Private databases have no public side."
  }
  assert {
    condition     = { for name, e in azurerm_private_endpoint.this : name => one(e.private_service_connection[0].subresource_names) } == { kafka = "namespace", mongodb = "MongoDB" }
    error_message = "Both databases must have a private endpoint."
  }
  assert {
    condition     = alltrue([for e in azurerm_private_endpoint.this : e.subnet_id == var.endpoints_subnet])
    error_message = "The private endpoints belong into their subnet."
  }
}

run "private_costs_nothing_in_the_cluster" {
  command = plan
  variables {
    endpoints_subnet = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.Network/virtualNetworks/chat-staging/subnets/endpoints"
  }

  assert {
    condition     = length(azurerm_private_endpoint.this) == 0
    error_message = "There is nothing to reach."
  }
}

run "neither_managed_nor_cluster" {
  command = plan
  variables {
    databases = "laptop"
  }
  expect_failures = [var.databases]
}
