terraform {
  required_version = ">= 1.6"
}

output "identity" {
  description = "Argo CD's identity in a cloud; on a laptop it has none."
  value       = ""
}

output "vault_url" {
  description = "Address of the vault; on a laptop there is none."
  value       = ""
}
