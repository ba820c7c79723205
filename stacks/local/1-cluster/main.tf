# Real Kubernetes nodes with a registry, a default storage class and an ingress controller.

terraform {
  required_version = ">= 1.6"
  required_providers {
    lab = {
      source = "labctl.local/labctl/lab"
    }
  }
}

resource "lab_cluster" "this" {
  kind            = var.kind
  name            = var.name
  dir             = var.dir
  api_port        = var.api_port
  http_port       = var.http_port
  registry_port   = var.registry_port
  nodes           = var.nodes
  egress          = var.egress
  node_image      = var.node_image
  kubeconfig_path = var.kubeconfig_path
  registry_push   = var.registry_push
  registry_pull   = var.registry_pull
}
