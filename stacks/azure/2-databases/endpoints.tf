# Private endpoints of the managed databases, with their names in private DNS.

locals {
  endpoints = local.private ? {
    mongodb = { zone = "privatelink.mongo.cosmos.azure.com", part = "MongoDB", id = azurerm_cosmosdb_account.this[0].id }
    kafka   = { zone = "privatelink.servicebus.windows.net", part = "namespace", id = azurerm_eventhub_namespace.this[0].id }
  } : {}
}

resource "azurerm_private_dns_zone" "this" {
  for_each = local.endpoints

  name                = each.value.zone
  resource_group_name = var.resource_group
  tags                = var.tags
}

resource "azurerm_private_dns_zone_virtual_network_link" "this" {
  for_each = local.endpoints

  name                = "lab"
  private_dns_zone_id = azurerm_private_dns_zone.this[each.key].id
  virtual_network_id  = var.network_id
  tags                = var.tags
}

resource "azurerm_private_endpoint" "this" {
  for_each = local.endpoints

  name                = "${var.name}-${each.key}"
  resource_group_name = var.resource_group
  location            = var.location
  subnet_id           = var.endpoints_subnet
  tags                = var.tags

  private_service_connection {
    name                           = each.key
    private_connection_resource_id = each.value.id
    subresource_names              = [each.value.part]
    is_manual_connection           = false
  }

  private_dns_zone_group {
    name                 = each.key
    private_dns_zone_ids = [azurerm_private_dns_zone.this[each.key].id]
  }
}
