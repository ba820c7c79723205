output "kafka_brokers" {
  description = "Addresses of Kafka's brokers."
  value       = tolist([local.kafka])
}

output "mongodb_uri" {
  description = "Connection string of MongoDB."
  value       = local.mongodb
  sensitive   = true
}
