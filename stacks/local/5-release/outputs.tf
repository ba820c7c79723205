output "url" {
  description = "Address of the chat."
  value       = var.url
}
