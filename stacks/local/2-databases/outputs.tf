output "namespace" {
  description = "Namespace of the databases in the cluster; empty where they are elsewhere."
  value       = var.namespace
}

output "kafka_brokers" {
  description = "Addresses of Kafka's brokers."
  value       = tolist([local.kafka])
}

output "kafka_sasl" {
  description = "How Kafka's clients log in."
  value       = "SCRAM-SHA-512"
}

output "kafka_tls" {
  description = "Whose word on Kafka's certificates counts: system (public authorities), or off where there is no TLS."
  value       = "off"
}

output "kafka_users" {
  description = "Password of each user of Kafka in the cluster: the services, and admin."
  value       = tomap({ for name, p in terraform_data.kafka_password : name => tostring(p.output) })
  sensitive   = true
}

output "kafka_passwords" {
  description = "The same without admin: what the chat needs."
  value       = tomap({ for name, p in terraform_data.kafka_password : name => tostring(p.output) if name != "admin" })
  sensitive   = true
}

output "mongodb_users" {
  description = "Password of each user of MongoDB in the cluster: the services that have a database, and admin."
  value       = tomap({ for name, p in terraform_data.mongodb_password : name => tostring(p.output) })
  sensitive   = true
}

output "mongodb_uris" {
  description = "Connection string of each service that has a database in MongoDB."
  value       = tomap({ for name in local.mongodb_services : name => "mongodb://${name}:${terraform_data.mongodb_password[name].output}@${local.mongodb}/?authMechanism=SCRAM-SHA-256" })
  sensitive   = true
}

output "key_encryption_secret" {
  description = "What auth encrypts its signing keys with in the database."
  value       = tostring(terraform_data.key_encryption_secret.output)
  sensitive   = true
}

# There on every target, as all outputs of a number are, and not null, since Terraform keeps no output that is null.
output "event_hubs" {
  description = "Id of the Event Hubs namespace; empty where Kafka runs in the cluster."
  value       = ""
}
