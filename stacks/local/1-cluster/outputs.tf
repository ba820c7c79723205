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
  value       = var.host == "" ? lab_cluster.this.url : replace(lab_cluster.this.url, "127.0.0.1", var.host)
}

output "ingress_class" {
  description = "Name of the ingress class."
  value       = lab_cluster.this.ingress_class
}

output "ingress_namespace" {
  description = "Namespace of the ingress controller; empty where it is not known."
  value       = var.ingress_namespace
}

output "ingress_networks" {
  description = "Networks from which the ingress controller connects: that of the pods. Empty where they are not known."
  value       = var.ingress_networks
}

output "api_networks" {
  description = "Networks of the Kubernetes API, as seen behind its Service. Empty where they are not known."
  value       = var.api_networks
}

output "storage_class" {
  description = "Name of the default storage class."
  value       = lab_cluster.this.storage_class
}

# What follows the laptop has none of. The outputs are there all the same, since those of a number are the same on every
# target, and empty rather than null, since Terraform keeps no output that is null.

output "dns_label" {
  description = "Label of the ingress's public address in a cloud's DNS; empty where it has none."
  value       = ""
}

output "cluster_id" {
  description = "Id of the cluster in a cloud; empty on a laptop."
  value       = ""
}

output "oidc_issuer" {
  description = "Issuer of the service accounts' tokens, for federated identities; empty where nobody outside can ask it."
  value       = ""
}

output "registry_id" {
  description = "Id of the registry in a cloud; empty on a laptop."
  value       = ""
}

output "network_id" {
  description = "Id of the virtual network; empty on a laptop."
  value       = ""
}

output "nodes_subnet" {
  description = "Id of the nodes' subnet; empty on a laptop."
  value       = ""
}

output "endpoints_subnet" {
  description = "Id of the subnet of private endpoints; empty where there are none."
  value       = ""
}
