output "url" {
  description = "Address of the chat."
  value       = var.url
}

output "identities" {
  description = "Client id of each service's identity; none where Kafka runs in the cluster."
  value       = tomap({ for name, i in azurerm_user_assigned_identity.service : name => tostring(i.client_id) })
}
