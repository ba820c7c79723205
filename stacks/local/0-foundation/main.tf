# The laptop's resource group: a directory of the lab's own.

terraform {
  required_version = ">= 1.6"
  required_providers {
    lab = {
      source = "labctl.local/labctl/lab"
    }
  }
}

resource "lab_workspace" "this" {
  path = var.path
}
