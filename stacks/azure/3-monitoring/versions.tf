terraform {
  required_version = ">= 1.9"
  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "5.2.0" # exact: what tools/azure.sh tested is what runs
    }
  }
}

# 0-foundation has registered what the subscription needs.
provider "azurerm" {
  resource_provider_registrations = "none"

  features {}
}
