# The registry of the lab's images.

resource "azurerm_container_registry" "this" {
  name                = "cr${substr(replace(var.name, "-", ""), 0, 40)}${var.suffix}"
  resource_group_name = var.resource_group
  location            = var.location
  tags                = var.tags

  # Only Premium has private endpoints, at ten times the price of Basic.
  sku                           = var.private ? "Premium" : "Basic"
  admin_enabled                 = false
  anonymous_pull_enabled        = false
  public_network_access_enabled = !var.private
  export_policy_enabled         = !var.private
  retention_policy_in_days      = var.private ? 30 : null
}

resource "azurerm_role_assignment" "push" {
  for_each = var.operators

  scope                = azurerm_container_registry.this.id
  role_definition_name = "AcrPush"
  principal_id         = each.value
}

resource "azurerm_private_dns_zone" "registry" {
  count = var.private ? 1 : 0

  name                = "privatelink.azurecr.io"
  resource_group_name = var.resource_group
  tags                = var.tags
}

resource "azurerm_private_dns_zone_virtual_network_link" "registry" {
  count = var.private ? 1 : 0

  name                = "lab"
  private_dns_zone_id = azurerm_private_dns_zone.registry[0].id
  virtual_network_id  = azurerm_virtual_network.this.id
  tags                = var.tags
}

resource "azurerm_private_endpoint" "registry" {
  count = var.private ? 1 : 0

  name                = "${var.name}-registry"
  resource_group_name = var.resource_group
  location            = var.location
  subnet_id           = azurerm_subnet.endpoints[0].id
  tags                = var.tags

  private_service_connection {
    name                           = "registry"
    private_connection_resource_id = azurerm_container_registry.this.id
    subresource_names              = ["registry"]
    is_manual_connection           = false
  }

  private_dns_zone_group {
    name                 = "registry"
    private_dns_zone_ids = [azurerm_private_dns_zone.registry[0].id]
  }
}
