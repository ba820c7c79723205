# A managed Grafana, which may read the metrics and the logs and nothing else.

resource "azurerm_dashboard_grafana" "this" {
  count = var.grafana ? 1 : 0

  name                = "g-${substr(replace(var.name, "-", ""), 0, 14)}-${var.suffix}"
  resource_group_name = var.resource_group
  location            = var.location
  tags                = var.tags

  grafana_major_version         = 12
  sku                           = "Standard"
  sku_size                      = "X1"
  api_key_enabled               = false
  public_network_access_enabled = !local.private

  identity {
    type = "SystemAssigned"
  }
  azure_monitor_workspace_integrations {
    resource_id = azurerm_monitor_workspace.this.id
  }
}

resource "azurerm_role_assignment" "grafana" {
  for_each = var.grafana ? {
    metrics = { role = "Monitoring Data Reader", scope = azurerm_monitor_workspace.this.id }
    logs    = { role = "Log Analytics Reader", scope = azurerm_log_analytics_workspace.this.id }
  } : {}

  scope                = each.value.scope
  role_definition_name = each.value.role
  principal_id         = azurerm_dashboard_grafana.this[0].identity[0].principal_id
  principal_type       = "ServicePrincipal" # Entra need not have heard of it yet
}

resource "azurerm_role_assignment" "grafana_admin" {
  for_each = var.grafana ? var.operators : []

  scope                = azurerm_dashboard_grafana.this[0].id
  role_definition_name = "Grafana Admin"
  principal_id         = each.value
}

resource "azurerm_private_dns_zone" "grafana" {
  count = var.grafana && local.private ? 1 : 0

  name                = "privatelink.grafana.azure.com"
  resource_group_name = var.resource_group
  tags                = var.tags
}

resource "azurerm_private_dns_zone_virtual_network_link" "grafana" {
  count = var.grafana && local.private ? 1 : 0

  name                = "lab"
  private_dns_zone_id = azurerm_private_dns_zone.grafana[0].id
  virtual_network_id  = var.network_id
  tags                = var.tags
}

resource "azurerm_private_endpoint" "grafana" {
  count = var.grafana && local.private ? 1 : 0

  name                = "${var.name}-grafana"
  resource_group_name = var.resource_group
  location            = var.location
  subnet_id           = var.endpoints_subnet
  tags                = var.tags

  private_service_connection {
    name                           = "grafana"
    private_connection_resource_id = azurerm_dashboard_grafana.this[0].id
    subresource_names              = ["grafana"]
    is_manual_connection           = false
  }

  private_dns_zone_group {
    name                 = "grafana"
    private_dns_zone_ids = [azurerm_private_dns_zone.grafana[0].id]
  }
}
