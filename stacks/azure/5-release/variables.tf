variable "url" {
  description = "Address of the ingress."
  type        = string
}

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

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
}

variable "oidc_issuer" {
  description = "Issuer of the cluster's service accounts' tokens."
  type        = string
}

variable "event_hubs" {
  description = "Id of the Event Hubs namespace. Empty where Kafka runs in the cluster."
  type        = string
  default     = ""
}
