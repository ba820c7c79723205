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
  description = "Object ids of those who run labctl: they administer the cluster and push images."
  type        = set(string)
}

variable "kubernetes_version" {
  description = "Minor version of Kubernetes, such as 1.34. null takes the one that Azure recommends; patches come by themselves."
  type        = string
  default     = null
}

variable "sku_tier" {
  description = "Free, or Standard for a control plane with an uptime guarantee (about 70 US dollars a month)."
  type        = string
  default     = "Free"
  nullable    = false

  validation {
    condition     = contains(["Free", "Standard"], var.sku_tier)
    error_message = "The tier is Free or Standard."
  }
}

variable "node_size" {
  description = "Size of a node's virtual machine."
  type        = string
  default     = "Standard_D2as_v5"
  nullable    = false
}

variable "node_min" {
  description = "Fewest nodes."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.node_min >= 1 && var.node_min <= var.node_max
    error_message = "There are at least one and at most node_max nodes."
  }
}

variable "node_max" {
  description = "Most nodes. It bounds the bill."
  type        = number
  default     = 3
  nullable    = false
}

variable "zones" {
  description = "Availability zones of the nodes. Empty where the region has none."
  type        = set(string)
  default     = ["1", "2", "3"]
  nullable    = false
}

variable "local_accounts" {
  description = "Whether the cluster has an account of its own, whose certificate has full rights and lies in the state. See the README."
  type        = bool
  default     = false
  nullable    = false
}

variable "login" {
  description = "How kubelogin gets a token where there are no local accounts."
  type        = string
  default     = "azurecli"
  nullable    = false

  validation {
    condition     = contains(["azurecli", "azd", "spn", "msi", "workloadidentity", "interactive", "devicecode"], var.login)
    error_message = "kubelogin knows azurecli, azd, spn, msi, workloadidentity, interactive and devicecode."
  }
}

variable "private" {
  description = "Whether API server, registry and ingress have private addresses only. labctl must then run inside the network."
  type        = bool
  default     = false
  nullable    = false

  validation {
    condition     = !var.private || var.host != ""
    error_message = "A private cluster has no name in public DNS: set host to one that your own DNS resolves."
  }
}

variable "api_ips" {
  description = "CIDR ranges that may reach a public API server. Empty: any, with a token only."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "host" {
  description = "Host name of the chat. Empty: a name below cloudapp.azure.com, which Azure gives for nothing."
  type        = string
  default     = ""
  nullable    = false
}

variable "tls_secret" {
  description = "Name of a Secret of type kubernetes.io/tls in the namespace ingress. Empty: the chat is served without TLS."
  type        = string
  default     = ""
  nullable    = false
}

variable "policy_effect" {
  description = "What Azure Policy does with a workload that breaks a rule: Audit or Deny."
  type        = string
  default     = "Audit"
  nullable    = false

  validation {
    condition     = contains(["Audit", "Deny"], var.policy_effect)
    error_message = "The effect is Audit or Deny."
  }
}

variable "policy_excluded_namespaces" {
  description = "Namespaces whose workloads need what the policies forbid, beside Azure's own."
  type        = set(string)
  default     = ["monitoring"]
  nullable    = false
}

variable "managed_prometheus" {
  description = "Whether the nodes run the agent of managed Prometheus. It sends nothing until 3-monitoring tells it where to."
  type        = bool
  default     = true
  nullable    = false
}
