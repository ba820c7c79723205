output "url" {
  description = "Address of the chat."
  value       = var.url
}

# There on every target, as all outputs of a number are.
output "identities" {
  description = "Client id of each service's identity; none where Kafka runs in the cluster."
  value       = tomap({})
}
