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
  description = "Object ids of those who run labctl: they administer Grafana and query the metrics."
  type        = set(string)
}

variable "cluster_id" {
  description = "Id of the cluster to watch."
  type        = string
}

variable "network_id" {
  description = "Id of the virtual network."
  type        = string
}

variable "endpoints_subnet" {
  description = "Id of the subnet of private endpoints. Empty: Grafana has a public address, behind Entra."
  type        = string
  default     = ""
}

variable "managed_prometheus" {
  description = "Whether the cluster's metrics go to the Azure Monitor workspace. 1-cluster must run the agent."
  type        = bool
  default     = true
  nullable    = false
}

variable "grafana" {
  description = "Whether there is a managed Grafana. It is the dearest part of this stack."
  type        = bool
  default     = false
  nullable    = false
}

variable "log_cap_gb" {
  description = "Gigabytes of logs a day, after which no more are taken until the next day. It bounds the bill."
  type        = number
  default     = 0.5
  nullable    = false

  validation {
    condition     = var.log_cap_gb >= 0.1 && var.log_cap_gb <= 100
    error_message = "The cap is 0.1 to 100 GB a day; no cap at all would leave the bill open."
  }
}

variable "log_retention_days" {
  description = "Days that logs are kept. The first 30 are free."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.log_retention_days >= 30 && var.log_retention_days <= 730
    error_message = "Logs are kept for 30 to 730 days."
  }
}

variable "alert_emails" {
  description = "Who is written to when an alert fires. Empty: alerts show in the portal only."
  type        = set(string)
  default     = []
  nullable    = false
}
