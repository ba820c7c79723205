variable "name" {
  description = "Name of this instance of the lab; the names of its resources begin with it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,30}[a-z0-9]$", var.name))
    error_message = "A name has 2 to 32 lower-case letters, digits and hyphens, begins with a letter and does not end with a hyphen."
  }
}

variable "location" {
  description = "Azure region, such as westeurope."
  type        = string
}

variable "tags" {
  description = "Tags of every resource: lab, environment, owner and cost-centre at least."
  type        = map(string)

  validation {
    condition     = alltrue([for key in ["lab", "environment", "owner", "cost-centre"] : try(length(trimspace(var.tags[key])) > 0, false)])
    error_message = "The tags lab, environment, owner and cost-centre are required, so that a bill can be told apart."
  }
}

variable "operators" {
  description = "Object ids of the users, groups and service principals that run labctl. Empty: who runs it now, alone."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "allowed_ips" {
  description = "Public addresses or CIDR ranges from which the state may be read. Empty: any address, still with an Entra token only."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "replication" {
  description = "How the state is replicated: LRS (three copies in one place) or ZRS (in three zones)."
  type        = string
  default     = "LRS"
  nullable    = false

  validation {
    condition     = contains(["LRS", "ZRS", "GRS", "GZRS"], var.replication)
    error_message = "The replication is LRS, ZRS, GRS or GZRS."
  }
}

variable "retention_days" {
  description = "Days in which a deleted or overwritten state can be brought back."
  type        = number
  default     = 14
  nullable    = false

  validation {
    condition     = var.retention_days >= 7 && var.retention_days <= 365
    error_message = "A lost state must be recoverable for 7 to 365 days."
  }
}

variable "budget" {
  description = "Cost a month, in the currency of the subscription, at which a message is sent. It stops nothing."
  type        = number
  default     = 100
  nullable    = false
}

variable "budget_emails" {
  description = "Who gets that message. Empty: there is no budget."
  type        = list(string)
  default     = []
  nullable    = false
}
