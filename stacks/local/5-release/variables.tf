variable "url" {
  description = "Address of the ingress."
  type        = string
}
