output "name" {
  description = "Name of this instance of the lab."
  value       = var.name
}

output "location" {
  description = "Where it stands."
  value       = var.location
}

output "workspace" {
  description = "Where later stacks keep what they need."
  value       = lab_workspace.this.path
}

# What follows the laptop has none of. The outputs are there all the same, since those of a number are the same on every
# target, and empty rather than null, since Terraform keeps no output that is null. sort() and zipmap() give what is empty
# the type of its elements.

output "resource_group" {
  description = "Name of the resource group; empty on a laptop."
  value       = ""
}

output "storage_account" {
  description = "Name of the storage account of the states; empty where they are files."
  value       = ""
}

output "container" {
  description = "Name of the container of the states; empty where they are files."
  value       = ""
}

output "suffix" {
  description = "What makes a name unique in a cloud; empty where names are unique without."
  value       = ""
}

output "operators" {
  description = "Object ids of those who run labctl; none where rights are those of the machine's user."
  value       = sort([])
}

output "tags" {
  description = "Tags of every resource; none on a laptop."
  value       = zipmap([], sort([]))
}
