# The control plane's logs, with a cap. What the pods print stays in the cluster: it would cost the most and tell the least.

resource "azurerm_log_analytics_workspace" "this" {
  name                = "${var.name}-${var.suffix}"
  resource_group_name = var.resource_group
  location            = var.location
  tags                = var.tags

  sku                          = "PerGB2018"
  daily_quota_gb               = var.log_cap_gb
  retention_in_days            = var.log_retention_days
  local_authentication_enabled = false
}

resource "azurerm_monitor_diagnostic_setting" "cluster" {
  name                           = "lab"
  target_resource_id             = var.cluster_id
  log_analytics_workspace_id     = azurerm_log_analytics_workspace.this.id
  log_analytics_destination_type = "Dedicated"

  # Who changed what in the cluster, and who was let in. kube-audit would add every read, many times as much.
  dynamic "enabled_log" {
    for_each = toset(["kube-audit-admin", "guard"])
    content {
      category = enabled_log.value
    }
  }
}
