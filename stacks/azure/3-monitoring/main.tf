# The metrics of the cluster, in Azure's managed Prometheus.

locals {
  private = var.endpoints_subnet != ""
}

resource "azurerm_monitor_workspace" "this" {
  name                = var.name
  resource_group_name = var.resource_group
  location            = var.location
  tags                = var.tags
}

# The agents on the nodes send what the rule says to the endpoint.
resource "azurerm_monitor_data_collection_endpoint" "prometheus" {
  count = var.managed_prometheus ? 1 : 0

  name                = "${var.name}-prometheus"
  resource_group_name = var.resource_group
  location            = var.location
  kind                = "Linux"
  tags                = var.tags
}

resource "azurerm_monitor_data_collection_rule" "prometheus" {
  count = var.managed_prometheus ? 1 : 0

  name                        = "${var.name}-prometheus"
  resource_group_name         = var.resource_group
  location                    = var.location
  kind                        = "Linux"
  data_collection_endpoint_id = azurerm_monitor_data_collection_endpoint.prometheus[0].id
  tags                        = var.tags

  data_sources {
    prometheus_forwarder {
      name    = "prometheus"
      streams = ["Microsoft-PrometheusMetrics"]
    }
  }
  destinations {
    monitor_account {
      name               = "workspace"
      monitor_account_id = azurerm_monitor_workspace.this.id
    }
  }
  data_flow {
    streams      = ["Microsoft-PrometheusMetrics"]
    destinations = ["workspace"]
  }
}

resource "azurerm_monitor_data_collection_rule_association" "prometheus" {
  count = var.managed_prometheus ? 1 : 0

  name                    = "${var.name}-prometheus"
  target_resource_id      = var.cluster_id
  data_collection_rule_id = azurerm_monitor_data_collection_rule.prometheus[0].id
}

resource "azurerm_role_assignment" "metrics" {
  for_each = var.operators

  scope                = azurerm_monitor_workspace.this.id
  role_definition_name = "Monitoring Data Reader"
  principal_id         = each.value
}
