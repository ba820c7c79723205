variable "name" {
  description = "Name of this instance of the lab."
  type        = string
}

variable "location" {
  description = "Azure region."
  type        = string
}

variable "resource_group" {
  description = "Name of the resource group."
  type        = string
}

variable "suffix" {
  description = "What makes a name unique in Azure."
  type        = string
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
}

variable "operators" {
  description = "Object ids of those who run labctl: they put the credentials into the vault."
  type        = set(string)
}

variable "oidc_issuer" {
  description = "Issuer of the cluster's service accounts' tokens."
  type        = string
}

variable "registry_id" {
  description = "Id of the registry, from which charts are pulled."
  type        = string
}

variable "network_id" {
  description = "Id of the virtual network."
  type        = string
}

variable "nodes_subnet" {
  description = "Id of the nodes' subnet, which reaches the vault."
  type        = string
}

variable "endpoints_subnet" {
  description = "Id of the subnet of private endpoints. Empty: the vault has none, and lets the nodes' subnet in."
  type        = string
  default     = ""
}

variable "namespace" {
  description = "Namespace of Argo CD."
  type        = string
  default     = "argocd"
}

variable "service_accounts" {
  description = "Service accounts in it that are this identity: those of the parts that pull charts and read credentials."
  type        = set(string)
  default     = ["argocd-repo-server"]
}

variable "vault" {
  description = "Whether there is a Key Vault for the credentials of repositories."
  type        = bool
  default     = false
  nullable    = false
}

variable "allowed_ips" {
  description = "Public addresses or CIDR ranges from which operators put credentials into the vault."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "purge_protection" {
  description = "Whether a deleted vault cannot be purged, so that its name stays taken for the days of its retention."
  type        = bool
  default     = false
  nullable    = false
}
