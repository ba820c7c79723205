# The cluster.

resource "azurerm_kubernetes_cluster" "this" {
  name                = var.name
  resource_group_name = var.resource_group
  location            = var.location
  node_resource_group = "${var.name}-nodes"
  dns_prefix          = "${var.name}-${var.suffix}"
  tags                = var.tags

  kubernetes_version        = var.kubernetes_version
  sku_tier                  = var.sku_tier
  automatic_upgrade_channel = "patch"
  node_os_upgrade_channel   = "NodeImage"

  # Who gets in, and how: Entra tokens, Azure roles. Pods get tokens of their own by workload identity.
  local_account_disabled            = !var.local_accounts
  role_based_access_control_enabled = true
  oidc_issuer_enabled               = true
  workload_identity_enabled         = true
  run_command_enabled               = false # it would run commands in the cluster around its network
  azure_active_directory_role_based_access_control {
    azure_rbac_enabled = true
    tenant_id          = data.azurerm_client_config.current.tenant_id
  }

  private_cluster_enabled = var.private
  private_dns_zone_id     = var.private ? "System" : null
  dynamic "api_server_access_profile" {
    for_each = !var.private && length(var.api_ips) > 0 ? [var.api_ips] : []
    content {
      authorized_ip_ranges = api_server_access_profile.value
    }
  }

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.control_plane.id]
  }
  kubelet_identity {
    client_id                 = azurerm_user_assigned_identity.kubelet.client_id
    object_id                 = azurerm_user_assigned_identity.kubelet.principal_id
    user_assigned_identity_id = azurerm_user_assigned_identity.kubelet.id
  }

  default_node_pool {
    name                        = "default"
    vm_size                     = var.node_size
    auto_scaling_enabled        = true
    min_count                   = var.node_min
    max_count                   = var.node_max
    zones                       = length(var.zones) > 0 ? var.zones : null
    vnet_subnet_id              = azurerm_subnet.nodes.id
    os_sku                      = "AzureLinux"
    os_disk_size_gb             = 64
    node_public_ip_enabled      = false
    temporary_name_for_rotation = "rotation"
    tags                        = var.tags

    upgrade_settings {
      max_surge = "33%"
    }
  }
  # The autoscaler below adds nodes to this pool; Azure choosing machines by itself would leave the bill open.
  node_provisioning_profile {
    mode               = "Manual"
    default_node_pools = "None"
  }
  auto_scaler_profile {
    balance_similar_node_groups   = true
    expander                      = "least-waste"
    scale_down_unneeded           = "5m"
    skip_nodes_with_local_storage = false
  }

  # Pods have addresses of their own beside the network's, and network policies that hold.
  network_profile {
    network_plugin      = "azure"
    network_plugin_mode = "overlay"
    network_data_plane  = "cilium"
    network_policy      = "cilium"
    load_balancer_sku   = "standard"
    pod_cidr            = local.pod_cidr
    service_cidr        = "10.245.0.0/16"
    dns_service_ip      = "10.245.0.10"
  }

  azure_policy_enabled         = true
  image_cleaner_enabled        = true
  image_cleaner_interval_hours = 168
  dynamic "monitor_metrics" {
    for_each = var.managed_prometheus ? [true] : []
    content {}
  }

  maintenance_window_auto_upgrade {
    frequency   = "Weekly"
    interval    = 1
    duration    = 4
    day_of_week = "Sunday"
    start_time  = "02:00"
    utc_offset  = "+00:00"
  }
  maintenance_window_node_os {
    frequency   = "Weekly"
    interval    = 1
    duration    = 4
    day_of_week = "Saturday"
    start_time  = "02:00"
    utc_offset  = "+00:00"
  }

  # Without these roles the cluster cannot be made, and its first pods cannot pull.
  depends_on = [
    azurerm_role_assignment.network,
    azurerm_role_assignment.kubelet,
    azurerm_role_assignment.pull,
  ]

  lifecycle {
    ignore_changes = [default_node_pool[0].node_count] # the autoscaler's
  }
}
