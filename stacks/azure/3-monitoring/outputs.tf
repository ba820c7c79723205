output "grafana_url" {
  description = "Address of the managed Grafana; empty where there is none."
  value       = var.grafana ? tostring(azurerm_dashboard_grafana.this[0].endpoint) : ""
}

output "prometheus_url" {
  description = "Address at which the managed Prometheus is queried, with an Entra token."
  value       = tostring(azurerm_monitor_workspace.this.query_endpoint)
}

output "logs" {
  description = "Name of the Log Analytics workspace."
  value       = tostring(azurerm_log_analytics_workspace.this.name)
}
