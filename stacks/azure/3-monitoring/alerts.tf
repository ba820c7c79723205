# What wakes somebody up even when the monitoring in the cluster went down with it.

locals {
  alerts = {
    NodeNotReady = {
      expression = "kube_node_status_condition{condition=\"Ready\",status=\"true\"} == 0"
      for        = "PT10M"
      severity   = 2
      summary    = "A node has not been ready for ten minutes."
    }
    PodRestartsAgainAndAgain = {
      expression = "increase(kube_pod_container_status_restarts_total[15m]) > 3"
      for        = "PT5M"
      severity   = 3
      summary    = "A container was restarted more than three times in a quarter of an hour."
    }
    VolumeFillsUp = {
      expression = "kubelet_volume_stats_available_bytes / kubelet_volume_stats_capacity_bytes < 0.1"
      for        = "PT10M"
      severity   = 2
      summary    = "A volume has less than a tenth of its space left."
    }
  }
}

resource "azurerm_monitor_action_group" "this" {
  count = length(var.alert_emails) > 0 ? 1 : 0

  name                = "${var.name}-alerts"
  resource_group_name = var.resource_group
  short_name          = substr(replace(var.name, "-", ""), 0, 12)
  tags                = var.tags

  dynamic "email_receiver" {
    for_each = var.alert_emails
    content {
      name                    = email_receiver.value
      email_address           = email_receiver.value
      use_common_alert_schema = true
    }
  }
}

resource "azurerm_monitor_alert_prometheus_rule_group" "this" {
  count = var.managed_prometheus ? 1 : 0

  name                = "${var.name}-alerts"
  resource_group_name = var.resource_group
  location            = var.location
  cluster_name        = var.name
  scopes              = [azurerm_monitor_workspace.this.id]
  interval            = "PT1M"
  tags                = var.tags

  dynamic "rule" {
    for_each = local.alerts
    content {
      alert       = rule.key
      expression  = rule.value.expression
      for         = rule.value.for
      severity    = rule.value.severity
      annotations = { summary = rule.value.summary }

      alert_resolution {
        auto_resolved   = true
        time_to_resolve = "PT10M"
      }
      dynamic "action" {
        for_each = azurerm_monitor_action_group.this
        content {
          action_group_id = action.value.id
        }
      }
    }
  }
}
