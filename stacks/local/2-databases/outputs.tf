output "namespace" {
  description = "Namespace of the databases in the cluster; empty where they are elsewhere."
  value       = var.namespace
}

output "kafka_brokers" {
  description = "Addresses of Kafka's brokers."
  value       = tolist(["${local.kafka}:9092"])
}

output "kafka_sasl" {
  description = "How Kafka's clients log in."
  value       = "SCRAM-SHA-512"
}

output "kafka_tls" {
  description = "Whose word on Kafka's certificates counts: system (public authorities), ca (the databases' own), or off where there is no TLS."
  value       = "ca"
}

output "ca_certificate" {
  description = "Certificate of the authority of the databases in the cluster, which their clients trust; empty where there is none."
  value       = lab_certificates.this.ca_certificate
}

output "server_certificates" {
  description = "Certificate of each server in the cluster: kafka and mongodb."
  value       = lab_certificates.this.certificates
}

output "server_keys" {
  description = "The private keys to these."
  value       = lab_certificates.this.keys
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
  value       = tomap({ for name, p in terraform_data.mongodb_password : name => tostring(p.output) })
  sensitive   = true
}

output "mongodb_uris" {
  description = "Connection string of each service that has a database in MongoDB."
  value       = tomap({ for name in local.mongodb_services : name => tostring(local.mongodb_uris[name]) })
  sensitive   = true
}

output "shadow_mongodb_uris" {
  description = "Connection string of each part of a shadow that has a database in MongoDB."
  value       = tomap({ for name, uri in local.mongodb_uris : name => tostring(uri) if contains(local.mongodb_shadows, name) })
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
