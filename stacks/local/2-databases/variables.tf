variable "namespace" {
  description = "Namespace of the databases."
  type        = string
}
