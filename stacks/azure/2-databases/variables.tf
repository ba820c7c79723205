variable "databases" {
  description = "managed (Cosmos DB for MongoDB and Event Hubs) or cluster (the release of charts/databases)."
  type        = string
  default     = "cluster"
  nullable    = false

  validation {
    condition     = contains(["managed", "cluster"], var.databases)
    error_message = "The databases are managed or cluster."
  }
}

variable "namespace" {
  description = "Namespace of the databases in the cluster."
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

variable "suffix" {
  description = "What makes a name unique in Azure."
  type        = string
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
}

variable "network_id" {
  description = "Id of the virtual network."
  type        = string
}

variable "nodes_subnet" {
  description = "Id of the nodes' subnet, the only one from which managed databases are reached."
  type        = string
}

variable "endpoints_subnet" {
  description = "Id of the subnet of private endpoints. Empty: the databases have none, and let the nodes' subnet in."
  type        = string
  default     = ""
}

variable "zone_redundant" {
  description = "managed: whether Cosmos DB keeps its copies in three zones. It costs a quarter more."
  type        = bool
  default     = false
  nullable    = false
}

variable "throughput_units" {
  description = "managed: throughput units of Event Hubs; each takes 1 MB/s in and gives 2 MB/s out."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.throughput_units >= 1 && var.throughput_units <= 10
    error_message = "A lab needs 1 to 10 throughput units."
  }
}
