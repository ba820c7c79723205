# One network: the nodes' subnet, and one for private endpoints where the lab is private.

resource "azurerm_virtual_network" "this" {
  name                = var.name
  resource_group_name = var.resource_group
  location            = var.location
  address_space       = ["10.10.0.0/16"]
  tags                = var.tags
}

resource "azurerm_subnet" "nodes" {
  name                 = "nodes"
  resource_group_name  = var.resource_group
  virtual_network_name = azurerm_virtual_network.this.name
  address_prefixes     = ["10.10.0.0/20"]

  # With these the databases and the vault can shut out everybody but the nodes, which costs nothing.
  dynamic "service_endpoint" {
    for_each = ["Microsoft.AzureCosmosDB", "Microsoft.EventHub", "Microsoft.KeyVault"]
    content {
      service = service_endpoint.value
    }
  }
}

resource "azurerm_subnet" "endpoints" {
  count = var.private ? 1 : 0

  name                 = "endpoints"
  resource_group_name  = var.resource_group
  virtual_network_name = azurerm_virtual_network.this.name
  address_prefixes     = ["10.10.16.0/24"]
}
