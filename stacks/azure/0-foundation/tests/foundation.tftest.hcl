mock_provider "azurerm" {
  mock_data "azurerm_client_config" {
    defaults = {
      client_id       = "11111111-1111-1111-1111-111111111111"
      object_id       = "22222222-2222-2222-2222-222222222222"
      subscription_id = "33333333-3333-3333-3333-333333333333"
      tenant_id       = "44444444-4444-4444-4444-444444444444"
    }
  }
  mock_resource "azurerm_resource_group" {
    defaults = { id = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging" }
  }
  mock_resource "azurerm_storage_account" {
    defaults = {
      id                    = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.Storage/storageAccounts/stchatstaging"
      primary_blob_endpoint = "https://stchatstaging.blob.core.windows.net/"
    }
  }
  mock_resource "azurerm_storage_container" {
    defaults = { id = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.Storage/storageAccounts/stchatstaging/blobServices/default/containers/tfstate" }
  }
}

variables {
  name     = "chat-staging"
  location = "westeurope"
  tags     = { lab = "chat", environment = "staging", owner = "platform", cost-centre = "teaching" }
}

run "the_state_is_kept_in_private" {
  command = plan

  assert {
    condition     = !azurerm_storage_account.state.shared_access_key_enabled && azurerm_storage_account.state.default_to_oauth_authentication
    error_message = "An Entra token must be the only way to the states."
  }
  assert {
    condition     = !azurerm_storage_account.state.allow_nested_items_to_be_public && azurerm_storage_container.state.container_access_type == "private"
    error_message = "No blob may ever be public."
  }
  assert {
    condition     = azurerm_storage_account.state.min_tls_version == "TLS1_2" && azurerm_storage_account.state.https_traffic_only_enabled
    error_message = "TLS 1.2 is the least."
  }
  assert {
    condition     = !azurerm_storage_account.state.local_user_enabled && !azurerm_storage_account.state.cross_tenant_replication_enabled
    error_message = "No SFTP users, and no copies in other tenants."
  }
  assert {
    condition     = azurerm_storage_account.state.infrastructure_encryption_enabled
    error_message = "States are encrypted twice."
  }
}

run "a_lost_state_can_be_had_back" {
  command = plan

  assert {
    condition     = azurerm_storage_account.state.blob_properties[0].versioning_enabled
    error_message = "Versions must be kept."
  }
  assert {
    condition     = azurerm_storage_account.state.blob_properties[0].delete_retention_policy[0].days == 14 && azurerm_storage_account.state.blob_properties[0].container_delete_retention_policy[0].days == 14
    error_message = "Blobs and containers are deleted softly, for a fortnight."
  }
  assert {
    condition     = one(azurerm_storage_management_policy.state.rule[0].actions[0].version).delete_after_days_since_creation == 90
    error_message = "Old versions must go after 90 days."
  }
}

run "the_role_is_the_least_that_does" {
  command = apply

  assert {
    condition     = keys(azurerm_role_assignment.state) == ["22222222-2222-2222-2222-222222222222"]
    error_message = "Without operators, the one who runs labctl gets the role."
  }
  assert {
    condition     = alltrue([for r in azurerm_role_assignment.state : r.role_definition_name == "Storage Blob Data Contributor" && r.scope == azurerm_storage_container.state.id])
    error_message = "The role must be for blobs, in the container only."
  }
  assert {
    condition     = output.workspace == "https://stchatstaging.blob.core.windows.net/tfstate"
    error_message = "The workspace must be the container's address."
  }
}

run "operators_by_name" {
  command = plan
  variables {
    operators = ["55555555-5555-5555-5555-555555555555", "66666666-6666-6666-6666-666666666666"]
  }

  assert {
    condition     = toset(keys(azurerm_role_assignment.state)) == toset(["55555555-5555-5555-5555-555555555555", "66666666-6666-6666-6666-666666666666"])
    error_message = "Only the named operators get the role, so that it does not move with whoever runs labctl."
  }
}

run "names_are_unique_and_stay" {
  command = plan

  assert {
    condition     = output.suffix == substr(sha256("33333333-3333-3333-3333-333333333333/chat-staging"), 0, 6)
    error_message = "The suffix must follow from the subscription and the name alone."
  }
  assert {
    condition     = azurerm_storage_account.state.name == "stchatstaging${output.suffix}"
    error_message = "The account's name must hold the suffix."
  }
}

run "a_name_too_long_is_refused" {
  command = plan
  variables {
    name = "a-very-long-name-of-a-lab-staging"
  }
  expect_failures = [var.name]
}

run "the_longest_name_fits" {
  command = plan
  variables {
    name = "a-long-name-of-a-laboratory-prod"
  }

  assert {
    condition     = length(azurerm_storage_account.state.name) <= 24
    error_message = "A storage account's name has at most 24 characters."
  }
}

run "tags_are_everywhere" {
  command = plan

  assert {
    condition     = azurerm_resource_group.this.tags == tomap(var.tags) && azurerm_storage_account.state.tags == tomap(var.tags)
    error_message = "Everything that can bear tags bears these."
  }
}

run "tags_are_required" {
  command = plan
  variables {
    tags = { lab = "chat", environment = "staging", owner = "" }
  }
  expect_failures = [var.tags]
}

run "only_from_named_addresses" {
  command = plan
  variables {
    allowed_ips = ["198.51.100.7"]
  }

  assert {
    condition     = azurerm_storage_account.state.network_rules[0].default_action == "Deny" && azurerm_storage_account.state.network_rules[0].ip_rules == toset(["198.51.100.7"])
    error_message = "With named addresses all others must be shut out."
  }
}

run "a_budget_speaks_up" {
  command = plan
  variables {
    budget        = 60
    budget_emails = ["owner@example.org"]
  }

  assert {
    condition     = azurerm_consumption_budget_resource_group.this[0].amount == 60 && length(azurerm_consumption_budget_resource_group.this[0].notification) == 2
    error_message = "The budget must warn of the forecast and of what was spent."
  }
}

run "no_budget_without_a_reader" {
  command = plan

  assert {
    condition     = length(azurerm_consumption_budget_resource_group.this) == 0
    error_message = "A budget that nobody reads is not made."
  }
}
