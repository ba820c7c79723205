inputs = {
  name               = stack.foundation.name
  location           = stack.foundation.location
  resource_group     = stack.foundation.resource_group
  suffix             = stack.foundation.suffix
  tags               = stack.foundation.tags
  operators          = stack.foundation.operators
  cluster_id         = stack.cluster.cluster_id
  network_id         = stack.cluster.network_id
  endpoints_subnet   = stack.cluster.endpoints_subnet
  managed_prometheus = lookup(env, "managed_prometheus", null)
  grafana            = lookup(env, "grafana", null)
  log_cap_gb         = lookup(env, "log_cap_gb", null)
  log_retention_days = lookup(env, "log_retention_days", null)
  alert_emails       = lookup(env, "alert_emails", null)
}

backend "azurerm" {
  resource_group_name  = stack.foundation.resource_group
  storage_account_name = stack.foundation.storage_account
  container_name       = stack.foundation.container
  key                  = "3-monitoring.tfstate"
  use_azuread_auth     = true
}
