# tostring() says a type that cannot be seen without the provider; labctl checks the wiring with it.

locals {
  pod_cidr  = "10.244.0.0/16"
  dns_label = "${var.name}-${var.suffix}"
  host      = var.host != "" ? var.host : "${local.dns_label}.${var.location}.cloudapp.azure.com"
}

output "kubeconfig" {
  description = "Content of a kubeconfig with full rights, for who has the role or, with local accounts, for who has the file."
  value       = var.local_accounts ? tostring(azurerm_kubernetes_cluster.this.kube_admin_config_raw) : local.token_kubeconfig
  sensitive   = true
  # It works only for those who have the role.
  depends_on = [azurerm_role_assignment.admin]
}

output "registry" {
  description = "Where images are pushed to, and where the cluster pulls them from."
  value = {
    push = tostring(azurerm_container_registry.this.login_server)
    pull = tostring(azurerm_container_registry.this.login_server)
  }
  # Only those who have the role may push.
  depends_on = [azurerm_role_assignment.push]
}

output "url" {
  description = "Address of the ingress."
  value       = "${var.tls_secret == "" ? "http" : "https"}://${local.host}"
}

output "ingress_class" {
  description = "Name of the ingress class."
  value       = "skipper"
}

output "ingress_namespace" {
  description = "Namespace of the ingress controller; empty where it is not known."
  value       = "ingress"
}

output "ingress_networks" {
  description = "Networks from which the ingress controller connects: that of the pods. Empty where they are not known."
  value       = tolist([local.pod_cidr])
}

output "api_networks" {
  description = "Networks of the Kubernetes API, as seen behind its Service; empty where they are not known: Azure gives it an address."
  value       = sort([]) # of the type of its elements
}

output "storage_class" {
  description = "Name of the default storage class."
  value       = "managed-csi"
}

output "dns_label" {
  description = "Label of the ingress's public address in the region's DNS; empty where it has none."
  value       = var.private ? "" : local.dns_label
}

output "cluster_id" {
  description = "Id of the cluster."
  value       = tostring(azurerm_kubernetes_cluster.this.id)
}

output "oidc_issuer" {
  description = "Issuer of the service accounts' tokens, for federated identities."
  value       = tostring(azurerm_kubernetes_cluster.this.oidc_issuer_url)
}

output "registry_id" {
  description = "Id of the registry."
  value       = tostring(azurerm_container_registry.this.id)
}

output "network_id" {
  description = "Id of the virtual network."
  value       = tostring(azurerm_virtual_network.this.id)
}

output "nodes_subnet" {
  description = "Id of the nodes' subnet."
  value       = tostring(azurerm_subnet.nodes.id)
}

output "endpoints_subnet" {
  description = "Id of the subnet of private endpoints; empty where the lab is not private."
  value       = var.private ? tostring(azurerm_subnet.endpoints[0].id) : ""
}
