output "namespace" {
  description = "Namespace of the databases in the cluster; empty where they are elsewhere."
  value       = local.managed ? "" : var.namespace
}

output "kafka_brokers" {
  description = "Addresses of Kafka's brokers. Those of Event Hubs want TLS and an Entra token."
  value       = tolist([local.managed ? "${azurerm_eventhub_namespace.this[0].name}.servicebus.windows.net:9093" : "kafka.${var.namespace}.svc.cluster.local:9092"])
}

output "kafka_sasl" {
  description = "How Kafka's clients log in."
  value       = local.managed ? "OAUTHBEARER" : "SCRAM-SHA-512"
}

output "kafka_tls" {
  description = "Whose word on Kafka's certificates counts: system (public authorities), ca (the databases' own), or off where there is no TLS."
  value       = local.managed ? "system" : "off"
}

# The laptop's stack has these of labctl's own provider, whose resources are for the laptop alone. What follows is empty and not null,
# since Terraform keeps no output that is null.

output "ca_certificate" {
  description = "Certificate of the authority of the databases in the cluster, which their clients trust; empty where there is none."
  value       = ""
}

output "server_certificates" {
  description = "Certificate of each server in the cluster; none where there is no TLS."
  value       = zipmap([], sort([]))
}

output "server_keys" {
  description = "The private keys to these."
  value       = zipmap([], sort([]))
  sensitive   = true
}

output "kafka_users" {
  description = "Password of each user of Kafka in the cluster: the services, the parts of their shadows, and admin."
  value       = tomap({ for name, p in terraform_data.kafka_password : name => tostring(p.output) })
  sensitive   = true
}

output "kafka_passwords" {
  description = "The same of the services alone: what the chat needs."
  value       = tomap({ for name, p in terraform_data.kafka_password : name => tostring(p.output) if contains(local.kafka_services, name) })
  sensitive   = true
}

output "shadow_kafka_passwords" {
  description = "The same of the parts of shadows alone."
  value       = tomap({ for name, p in terraform_data.kafka_password : name => tostring(p.output) if contains(local.kafka_shadows, name) })
  sensitive   = true
}

output "mongodb_users" {
  description = "Password of each user of MongoDB in the cluster: the services that have a database, the parts of their shadows, and admin."
  value       = tomap({ for name, p in terraform_data.mongodb_password : name => tostring(p.output) if !local.managed })
  sensitive   = true
}

# Cosmos DB learns from appName which account a user is of
# (https://learn.microsoft.com/azure/cosmos-db/mongodb/how-to-setup-role-based-access-control).
output "mongodb_uris" {
  description = "Connection string of each service that has a database in MongoDB."
  value = tomap({ for name in local.mongodb_services : name => local.managed
    ? "mongodb://${azurerm_cosmosdb_mongo_user_definition.service[name].username}:${terraform_data.mongodb_password[name].output}@${azurerm_cosmosdb_account.this[0].name}.mongo.cosmos.azure.com:10255/?ssl=true&replicaSet=globaldb&retrywrites=false&maxIdleTimeMS=120000&authSource=${name}&authMechanism=SCRAM-SHA-256&appName=@${azurerm_cosmosdb_account.this[0].name}@"
    : "mongodb://${name}:${terraform_data.mongodb_password[name].output}@mongodb.${var.namespace}.svc.cluster.local:27017/?authMechanism=SCRAM-SHA-256"
  })
  sensitive = true
}

output "shadow_mongodb_uris" {
  description = "Connection string of each part of a shadow that has a database in MongoDB; none where it is managed."
  value       = tomap({ for name in local.mongodb_shadows : name => "mongodb://${name}:${terraform_data.mongodb_password[name].output}@mongodb.${var.namespace}.svc.cluster.local:27017/?authMechanism=SCRAM-SHA-256" })
  sensitive   = true
}

output "key_encryption_secret" {
  description = "What auth encrypts its signing keys with in the database."
  value       = tostring(terraform_data.key_encryption_secret.output)
  sensitive   = true
}

output "event_hubs" {
  description = "Id of the Event Hubs namespace; empty where Kafka runs in the cluster."
  value       = local.managed ? tostring(azurerm_eventhub_namespace.this[0].id) : ""
}
