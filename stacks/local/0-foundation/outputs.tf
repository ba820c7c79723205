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
