# A Key Vault for the credentials of repositories. Terraform makes the vault and puts nothing in: operators do, so that no
# secret comes into a state.

data "azurerm_client_config" "current" {}

locals {
  private = var.vault && var.endpoints_subnet != ""
}

resource "azurerm_key_vault" "this" {
  count = var.vault ? 1 : 0

  name                = "kv${substr(replace(var.name, "-", ""), 0, 16)}${var.suffix}"
  resource_group_name = var.resource_group
  location            = var.location
  tenant_id           = data.azurerm_client_config.current.tenant_id
  tags                = var.tags

  sku_name                      = "standard"
  rbac_authorization_enabled    = true
  soft_delete_retention_days    = 7
  purge_protection_enabled      = var.purge_protection
  public_network_access_enabled = !local.private

  network_acls {
    default_action             = "Deny"
    bypass                     = "None"
    ip_rules                   = local.private ? [] : var.allowed_ips
    virtual_network_subnet_ids = local.private ? [] : [var.nodes_subnet]
  }
}

resource "azurerm_role_assignment" "read" {
  count = var.vault ? 1 : 0

  scope                = azurerm_key_vault.this[0].id
  role_definition_name = "Key Vault Secrets User"
  principal_id         = azurerm_user_assigned_identity.this.principal_id
  principal_type       = "ServicePrincipal" # Entra need not have heard of it yet
}

resource "azurerm_role_assignment" "write" {
  for_each = var.vault ? var.operators : []

  scope                = azurerm_key_vault.this[0].id
  role_definition_name = "Key Vault Secrets Officer"
  principal_id         = each.value
}

resource "azurerm_private_dns_zone" "vault" {
  count = local.private ? 1 : 0

  name                = "privatelink.vaultcore.azure.net"
  resource_group_name = var.resource_group
  tags                = var.tags
}

resource "azurerm_private_dns_zone_virtual_network_link" "vault" {
  count = local.private ? 1 : 0

  name                = "lab"
  private_dns_zone_id = azurerm_private_dns_zone.vault[0].id
  virtual_network_id  = var.network_id
  tags                = var.tags
}

resource "azurerm_private_endpoint" "vault" {
  count = local.private ? 1 : 0

  name                = "${var.name}-vault"
  resource_group_name = var.resource_group
  location            = var.location
  subnet_id           = var.endpoints_subnet
  tags                = var.tags

  private_service_connection {
    name                           = "vault"
    private_connection_resource_id = azurerm_key_vault.this[0].id
    subresource_names              = ["vault"]
    is_manual_connection           = false
  }

  private_dns_zone_group {
    name                 = "vault"
    private_dns_zone_ids = [azurerm_private_dns_zone.vault[0].id]
  }
}
