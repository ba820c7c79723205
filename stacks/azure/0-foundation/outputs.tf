# tostring() says a type that cannot be seen without the provider; labctl checks the wiring with it.

output "name" {
  description = "Name of this instance of the lab."
  value       = var.name
}

output "location" {
  description = "Azure region."
  value       = var.location
}

output "workspace" {
  description = "Where later stacks keep what they need: the address of the container of their states."
  value       = "${azurerm_storage_account.state.primary_blob_endpoint}${azurerm_storage_container.state.name}"
  # Who is told where the state lives must be allowed in.
  depends_on = [azurerm_role_assignment.state]
}

output "resource_group" {
  description = "Name of the resource group."
  value       = tostring(azurerm_resource_group.this.name)
}

output "storage_account" {
  description = "Name of the storage account of the states."
  value       = tostring(azurerm_storage_account.state.name)
  depends_on  = [azurerm_role_assignment.state]
}

output "container" {
  description = "Name of the container of the states."
  value       = tostring(azurerm_storage_container.state.name)
}

output "suffix" {
  description = "What makes a name unique in Azure, always the same for the same lab and subscription."
  value       = local.suffix
}

output "operators" {
  description = "Object ids of those who run labctl."
  value       = sort(local.operators)
}

output "tags" {
  description = "Tags of every resource."
  value       = var.tags
}
