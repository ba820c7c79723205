mock_provider "azurerm" {
  mock_data "azurerm_client_config" {
    defaults = { tenant_id = "44444444-4444-4444-4444-444444444444" }
  }
  mock_resource "azurerm_user_assigned_identity" {
    defaults = {
      id           = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.ManagedIdentity/userAssignedIdentities/chat-staging-argocd"
      client_id    = "77777777-7777-7777-7777-777777777777"
      principal_id = "88888888-8888-8888-8888-888888888888"
    }
  }
  mock_resource "azurerm_key_vault" {
    defaults = {
      id        = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.KeyVault/vaults/kvchatstagingabc123"
      vault_uri = "https://kvchatstagingabc123.vault.azure.net/"
    }
  }
  mock_resource "azurerm_private_dns_zone" {
    defaults = { id = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.Network/privateDnsZones/privatelink.vaultcore.azure.net" }
  }
}

variables {
  name           = "chat-staging"
  location       = "westeurope"
  resource_group = "chat-staging"
  suffix         = "abc123"
  tags           = { lab = "chat", environment = "staging", owner = "platform", cost-centre = "teaching" }
  operators      = ["22222222-2222-2222-2222-222222222222"]
  oidc_issuer    = "https://westeurope.oic.prod-aks.azure.com/44444444/99999999/"
  registry_id    = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.ContainerRegistry/registries/crchatstagingabc123"
  network_id     = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.Network/virtualNetworks/chat-staging"
  nodes_subnet   = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.Network/virtualNetworks/chat-staging/subnets/nodes"
}

run "the_identity_is_the_repository_servers" {
  command = apply

  assert {
    condition     = keys(azurerm_federated_identity_credential.this) == ["argocd-repo-server"]
    error_message = "Only the repository server needs Azure."
  }
  assert {
    condition     = azurerm_federated_identity_credential.this["argocd-repo-server"].subject == "system:serviceaccount:argocd:argocd-repo-server" && azurerm_federated_identity_credential.this["argocd-repo-server"].issuer == var.oidc_issuer
    error_message = "Only that service account of this cluster may be it."
  }
  assert {
    condition     = azurerm_federated_identity_credential.this["argocd-repo-server"].audience == tolist(["api://AzureADTokenExchange"])
    error_message = "Tokens for others must not do."
  }
  assert {
    condition     = output.identity == "77777777-7777-7777-7777-777777777777" && output.vault_url == ""
    error_message = "The identity is told by its client id."
  }
  assert {
    condition     = azurerm_user_assigned_identity.this.tags == tomap(var.tags)
    error_message = "Everything that can bear tags bears these."
  }
}

run "it_only_pulls" {
  command = apply

  assert {
    condition     = azurerm_role_assignment.pull.role_definition_name == "AcrPull" && azurerm_role_assignment.pull.scope == var.registry_id && azurerm_role_assignment.pull.principal_id == azurerm_user_assigned_identity.this.principal_id
    error_message = "It pulls from this registry and does nothing else there."
  }
  assert {
    condition     = length(azurerm_key_vault.this) == 0 && length(azurerm_role_assignment.read) == 0 && length(azurerm_role_assignment.write) == 0
    error_message = "There is no vault unasked."
  }
}

run "a_vault" {
  command = apply
  variables {
    vault       = true
    allowed_ips = ["198.51.100.7/32"]
  }

  assert {
    condition     = azurerm_key_vault.this[0].rbac_authorization_enabled && azurerm_key_vault.this[0].soft_delete_retention_days == 7
    error_message = "Rights must be roles, and what was deleted can be had back."
  }
  assert {
    condition     = azurerm_key_vault.this[0].network_acls[0].default_action == "Deny" && azurerm_key_vault.this[0].network_acls[0].bypass == "None" && azurerm_key_vault.this[0].network_acls[0].virtual_network_subnet_ids == toset([var.nodes_subnet]) && azurerm_key_vault.this[0].network_acls[0].ip_rules == toset(["198.51.100.7/32"])
    error_message = "The nodes and the named addresses reach it, and nobody else."
  }
  assert {
    condition     = azurerm_role_assignment.read[0].role_definition_name == "Key Vault Secrets User" && azurerm_role_assignment.read[0].scope == azurerm_key_vault.this[0].id
    error_message = "Argo CD reads secrets, in this vault."
  }
  assert {
    condition     = azurerm_role_assignment.write["22222222-2222-2222-2222-222222222222"].role_definition_name == "Key Vault Secrets Officer"
    error_message = "Operators put them in."
  }
  assert {
    condition     = length(azurerm_key_vault.this[0].name) <= 24 && output.vault_url == "https://kvchatstagingabc123.vault.azure.net/"
    error_message = "Its name has at most 24 characters, and its address is told."
  }
  assert {
    condition     = azurerm_key_vault.this[0].tags == tomap(var.tags)
    error_message = "Everything that can bear tags bears these."
  }
}

run "a_private_vault" {
  command = plan
  variables {
    vault            = true
    allowed_ips      = ["198.51.100.7/32"]
    endpoints_subnet = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.Network/virtualNetworks/chat-staging/subnets/endpoints"
  }

  assert {
    condition     = !azurerm_key_vault.this[0].public_network_access_enabled && length(azurerm_key_vault.this[0].network_acls[0].ip_rules) == 0
    error_message = "It must have no public side."
  }
  assert {
    condition     = azurerm_private_endpoint.vault[0].subnet_id == var.endpoints_subnet && azurerm_private_dns_zone.vault[0].name == "privatelink.vaultcore.azure.net"
    error_message = "It must have a private endpoint with a name in private DNS."
  }
}

run "a_vault_that_cannot_be_purged" {
  command = plan
  variables {
    vault            = true
    purge_protection = true
  }

  assert {
    condition     = azurerm_key_vault.this[0].purge_protection_enabled
    error_message = "Nobody may purge it."
  }
}
