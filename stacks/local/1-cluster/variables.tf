variable "name" {
  description = "Name of the cluster, unique on the machine."
  type        = string
}

variable "dir" {
  description = "The cluster's own directory."
  type        = string
}

variable "kind" {
  description = "embedded (a node on this machine), kind (a node that is a container) or kubeconfig (an existing cluster)."
  type        = string
  default     = "embedded"

  validation {
    condition     = contains(["embedded", "kind", "kubeconfig"], var.kind)
    error_message = "The kind of a cluster is embedded, kind or kubeconfig."
  }
}

variable "api_port" {
  description = "Port of the Kubernetes API on the loopback address."
  type        = number
}

variable "http_port" {
  description = "Port of the ingress on the loopback address."
  type        = number
}

variable "registry_port" {
  description = "Port of the image registry on the loopback address."
  type        = number
}

variable "nodes" {
  description = "embedded: how many nodes the cluster has, from 1 to 9."
  type        = number
  default     = 1

  validation {
    condition     = var.nodes >= 1 && var.nodes <= 9 && floor(var.nodes) == var.nodes
    error_message = "A cluster has from 1 to 9 nodes."
  }
}

variable "egress" {
  description = "embedded: whether pods and image pulls reach what the machine reaches."
  type        = bool
  default     = true
}

variable "node_image" {
  description = "kind: the node's image; kind's own where there is none."
  type        = string
  default     = null
}

variable "kubeconfig_path" {
  description = "kubeconfig: path of the kubeconfig of the cluster to adopt."
  type        = string
  default     = null
}

variable "host" {
  description = "Host name of the chat; empty: any, at the loopback address."
  type        = string
  default     = ""
}

variable "ingress_namespace" {
  description = "Namespace of the ingress controller; empty where it is not known."
  type        = string
  default     = ""
}

variable "ingress_networks" {
  description = "Networks from which the ingress controller connects; empty where they are not known."
  type        = list(string)
  default     = []
}

variable "api_networks" {
  description = "Networks of the Kubernetes API, as seen behind its Service; empty where they are not known."
  type        = list(string)
  default     = []
}

variable "registry_push" {
  description = "kubeconfig: where images are pushed to."
  type        = string
  default     = null
}

variable "registry_pull" {
  description = "kubeconfig: where the cluster pulls images from."
  type        = string
  default     = null
}
