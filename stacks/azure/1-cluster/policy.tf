# What may run in the cluster. The add-on in the cluster enforces these at admission; they are Azure's own definitions.

data "azurerm_client_config" "current" {}

locals {
  group_id    = "/subscriptions/${data.azurerm_client_config.current.subscription_id}/resourceGroups/${var.resource_group}"
  definitions = "/providers/Microsoft.Authorization/policyDefinitions"
  initiatives = "/providers/Microsoft.Authorization/policySetDefinitions"

  excluded = setunion(var.policy_excluded_namespaces, ["kube-system", "gatekeeper-system", "azure-arc", "aks-command"])

  policies = {
    pod-security = {
      id          = "${local.initiatives}/a8640138-9b0a-4a28-b8cb-1666c838647d"
      description = "Pods keep to the baseline of the Pod Security Standards."
      parameters  = {}
    }
    privilege-escalation = {
      id          = "${local.definitions}/1c6e92c9-99f0-4e55-9cf2-0c234dc48f99"
      description = "No container may gain rights that it was not started with."
      parameters  = {}
    }
    images = {
      id          = "${local.definitions}/febd0533-8e55-448f-b837-bd0e06f16469"
      description = "Images come from the lab's registry or Microsoft's."
      parameters = {
        allowedContainerImagesRegex = "^(${replace(azurerm_container_registry.this.login_server, ".", "\\.")}|mcr\\.microsoft\\.com)/.+$"
      }
    }
  }
}

resource "azurerm_resource_group_policy_assignment" "this" {
  for_each = local.policies

  name                 = "${var.name}-${each.key}"
  display_name         = "${var.name}: ${each.key}"
  description          = each.value.description
  resource_group_id    = local.group_id
  policy_definition_id = each.value.id
  parameters = jsonencode(merge(
    {
      effect             = { value = var.policy_effect }
      excludedNamespaces = { value = sort(local.excluded) }
    },
    { for name, value in each.value.parameters : name => { value = value } },
  ))
}
