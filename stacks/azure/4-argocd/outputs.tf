output "identity" {
  description = "Client id of Argo CD's identity, for the annotation azure.workload.identity/client-id of its service accounts."
  value       = tostring(azurerm_user_assigned_identity.this.client_id)
}

output "vault_url" {
  description = "Address of the vault; empty where there is none."
  value       = var.vault ? tostring(azurerm_key_vault.this[0].vault_uri) : ""
}
