mock_provider "azurerm" {
  mock_resource "azurerm_monitor_workspace" {
    defaults = {
      id             = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.Monitor/accounts/chat-staging"
      query_endpoint = "https://chat-staging-0000.westeurope.prometheus.monitor.azure.com"
    }
  }
  mock_resource "azurerm_monitor_data_collection_endpoint" {
    defaults = { id = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.Insights/dataCollectionEndpoints/chat-staging-prometheus" }
  }
  mock_resource "azurerm_monitor_data_collection_rule" {
    defaults = { id = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.Insights/dataCollectionRules/chat-staging-prometheus" }
  }
  mock_resource "azurerm_log_analytics_workspace" {
    defaults = { id = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.OperationalInsights/workspaces/chat-staging-abc123" }
  }
  mock_resource "azurerm_monitor_action_group" {
    defaults = { id = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.Insights/actionGroups/chat-staging-alerts" }
  }
  mock_resource "azurerm_dashboard_grafana" {
    defaults = {
      id       = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.Dashboard/grafana/g-chatstaging-abc123"
      endpoint = "https://g-chatstaging-abc123.weu.grafana.azure.com"
      identity = { principal_id = "88888888-8888-8888-8888-888888888888", tenant_id = "44444444-4444-4444-4444-444444444444" }
    }
  }
  mock_resource "azurerm_private_dns_zone" {
    defaults = { id = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.Network/privateDnsZones/privatelink.grafana.azure.com" }
  }
}

variables {
  name           = "chat-staging"
  location       = "westeurope"
  resource_group = "chat-staging"
  suffix         = "abc123"
  tags           = { lab = "chat", environment = "staging", owner = "platform", cost-centre = "teaching" }
  operators      = ["22222222-2222-2222-2222-222222222222"]
  cluster_id     = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.ContainerService/managedClusters/chat-staging"
  network_id     = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.Network/virtualNetworks/chat-staging"
}

run "logs_have_a_cap" {
  command = plan

  assert {
    condition     = azurerm_log_analytics_workspace.this.daily_quota_gb == 0.5 && azurerm_log_analytics_workspace.this.retention_in_days == 30
    error_message = "Logs must be bounded: half a gigabyte a day, for the 30 days that are free."
  }
  assert {
    condition     = !azurerm_log_analytics_workspace.this.local_authentication_enabled
    error_message = "Logs are sent and read with Entra tokens only."
  }
  assert {
    condition     = toset([for l in azurerm_monitor_diagnostic_setting.cluster.enabled_log : l.category]) == toset(["guard", "kube-audit-admin"]) && azurerm_monitor_diagnostic_setting.cluster.target_resource_id == var.cluster_id
    error_message = "Changes and log-ins of this cluster are what is logged."
  }
}

run "a_cap_there_must_be" {
  command = plan
  variables {
    log_cap_gb = -1
  }
  expect_failures = [var.log_cap_gb]
}

run "metrics_flow" {
  command = apply

  assert {
    condition     = azurerm_monitor_data_collection_rule.prometheus[0].data_sources[0].prometheus_forwarder[0].streams == tolist(["Microsoft-PrometheusMetrics"])
    error_message = "The rule must take Prometheus' metrics."
  }
  assert {
    condition     = azurerm_monitor_data_collection_rule.prometheus[0].destinations[0].monitor_account[0].monitor_account_id == azurerm_monitor_workspace.this.id && azurerm_monitor_data_collection_rule.prometheus[0].data_flow[0].destinations == tolist([azurerm_monitor_data_collection_rule.prometheus[0].destinations[0].monitor_account[0].name])
    error_message = "They must flow into the workspace."
  }
  assert {
    condition     = azurerm_monitor_data_collection_rule_association.prometheus[0].target_resource_id == var.cluster_id && azurerm_monitor_data_collection_rule_association.prometheus[0].data_collection_rule_id == azurerm_monitor_data_collection_rule.prometheus[0].id
    error_message = "The rule must hold for this cluster."
  }
  assert {
    condition     = azurerm_role_assignment.metrics["22222222-2222-2222-2222-222222222222"].role_definition_name == "Monitoring Data Reader" && azurerm_role_assignment.metrics["22222222-2222-2222-2222-222222222222"].scope == azurerm_monitor_workspace.this.id
    error_message = "Operators read the metrics and change nothing."
  }
  assert {
    condition     = output.prometheus_url == "https://chat-staging-0000.westeurope.prometheus.monitor.azure.com" && output.grafana_url == "" && output.logs == "chat-staging-abc123"
    error_message = "The outputs must be what Azure gives."
  }
}

run "without_managed_prometheus" {
  command = plan
  variables {
    managed_prometheus = false
  }

  assert {
    condition     = length(azurerm_monitor_data_collection_rule_association.prometheus) == 0 && length(azurerm_monitor_alert_prometheus_rule_group.this) == 0
    error_message = "Nothing may be collected, and no alert may wait for it."
  }
}

run "no_grafana_by_default" {
  command = plan

  assert {
    condition     = length(azurerm_dashboard_grafana.this) == 0 && length(azurerm_role_assignment.grafana) == 0
    error_message = "Grafana costs too much to be there unasked."
  }
}

run "grafana_reads" {
  command = apply
  variables {
    grafana = true
  }

  assert {
    condition     = { for name, r in azurerm_role_assignment.grafana : name => r.role_definition_name } == { logs = "Log Analytics Reader", metrics = "Monitoring Data Reader" }
    error_message = "Grafana reads metrics and logs and does nothing else."
  }
  assert {
    condition     = azurerm_role_assignment.grafana["metrics"].scope == azurerm_monitor_workspace.this.id && azurerm_role_assignment.grafana["logs"].scope == azurerm_log_analytics_workspace.this.id
    error_message = "Its roles are on these two workspaces alone."
  }
  assert {
    condition     = !azurerm_dashboard_grafana.this[0].api_key_enabled && azurerm_dashboard_grafana.this[0].tags == tomap(var.tags)
    error_message = "Nobody gets in by a key."
  }
  assert {
    condition     = length(azurerm_dashboard_grafana.this[0].name) <= 23 && output.grafana_url == "https://g-chatstaging-abc123.weu.grafana.azure.com"
    error_message = "Its name has at most 23 characters, and its address is told."
  }
}

run "a_private_grafana" {
  command = plan
  variables {
    grafana          = true
    endpoints_subnet = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.Network/virtualNetworks/chat-staging/subnets/endpoints"
  }

  assert {
    condition     = !azurerm_dashboard_grafana.this[0].public_network_access_enabled && azurerm_private_endpoint.grafana[0].subnet_id == var.endpoints_subnet
    error_message = "It must be reached by its private endpoint only."
  }
}

run "alerts" {
  command = apply
  variables {
    alert_emails = ["duty@example.org"]
  }

  assert {
    condition     = toset([for r in azurerm_monitor_alert_prometheus_rule_group.this[0].rule : r.alert]) == toset(["NodeNotReady", "PodRestartsAgainAndAgain", "VolumeFillsUp"])
    error_message = "An alert is missing."
  }
  assert {
    condition     = alltrue([for r in azurerm_monitor_alert_prometheus_rule_group.this[0].rule : one(r.action).action_group_id == azurerm_monitor_action_group.this[0].id])
    error_message = "Every alert must be sent."
  }
  assert {
    condition     = azurerm_monitor_alert_prometheus_rule_group.this[0].cluster_name == "chat-staging" && azurerm_monitor_alert_prometheus_rule_group.this[0].scopes == tolist([azurerm_monitor_workspace.this.id])
    error_message = "Alerts are of this cluster's metrics."
  }
}
