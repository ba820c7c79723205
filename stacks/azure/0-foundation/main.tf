# The resource group of this instance of the lab, and who may use it.

data "azurerm_client_config" "current" {}

locals {
  # Some names are unique in the whole of Azure. The same lab in the same subscription always gets the same ones.
  suffix    = substr(sha256("${data.azurerm_client_config.current.subscription_id}/${var.name}"), 0, 6)
  operators = length(var.operators) > 0 ? var.operators : toset([data.azurerm_client_config.current.object_id])
}

resource "azurerm_resource_group" "this" {
  name     = var.name
  location = var.location
  tags     = var.tags
}

# A message long before a forgotten lab gets expensive.
resource "azurerm_consumption_budget_resource_group" "this" {
  count = length(var.budget_emails) > 0 ? 1 : 0

  name              = "${var.name}-budget"
  resource_group_id = azurerm_resource_group.this.id
  amount            = var.budget
  time_grain        = "Monthly"

  time_period {
    start_date = formatdate("YYYY-MM-01'T'00:00:00'Z'", plantimestamp())
  }

  dynamic "notification" {
    for_each = { Forecasted = 100, Actual = 80 }
    content {
      threshold      = notification.value
      threshold_type = notification.key
      operator       = "GreaterThanOrEqualTo"
      contact_emails = var.budget_emails
    }
  }

  lifecycle {
    ignore_changes = [time_period] # it is the month of creation for ever
  }
}
