output "kubeconfig" {
  description = "Content of a kubeconfig with full rights."
  value       = lab_cluster.this.kubeconfig
  sensitive   = true
}

output "registry" {
  description = "Where images are pushed to, and where the cluster pulls them from."
  value       = lab_cluster.this.registry
}

output "url" {
  description = "Address of the ingress."
  value       = lab_cluster.this.url
}

output "ingress_class" {
  description = "Name of the ingress class."
  value       = lab_cluster.this.ingress_class
}

output "storage_class" {
  description = "Name of the default storage class."
  value       = lab_cluster.this.storage_class
}
