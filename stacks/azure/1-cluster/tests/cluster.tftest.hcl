mock_provider "azurerm" {
  mock_data "azurerm_client_config" {
    defaults = {
      object_id       = "22222222-2222-2222-2222-222222222222"
      subscription_id = "33333333-3333-3333-3333-333333333333"
      tenant_id       = "44444444-4444-4444-4444-444444444444"
    }
  }
  mock_resource "azurerm_virtual_network" {
    defaults = { id = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.Network/virtualNetworks/chat-staging" }
  }
  mock_resource "azurerm_subnet" {
    defaults = { id = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.Network/virtualNetworks/chat-staging/subnets/nodes" }
  }
  mock_resource "azurerm_user_assigned_identity" {
    defaults = {
      id           = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.ManagedIdentity/userAssignedIdentities/chat-staging"
      client_id    = "77777777-7777-7777-7777-777777777777"
      principal_id = "88888888-8888-8888-8888-888888888888"
    }
  }
  mock_resource "azurerm_container_registry" {
    defaults = {
      id           = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.ContainerRegistry/registries/crchatstaging"
      login_server = "crchatstagingabc123.azurecr.io"
    }
  }
  mock_resource "azurerm_private_dns_zone" {
    defaults = { id = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.Network/privateDnsZones/privatelink.azurecr.io" }
  }
  mock_resource "azurerm_kubernetes_cluster" {
    defaults = {
      id                    = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.ContainerService/managedClusters/chat-staging"
      oidc_issuer_url       = "https://westeurope.oic.prod-aks.azure.com/44444444/99999999/"
      kube_admin_config_raw = "the admin's kubeconfig"
      kube_config = [{
        host                   = "https://chat-staging-abc123.hcp.westeurope.azmk8s.io:443"
        cluster_ca_certificate = "Y2VydGlmaWNhdGU="
        client_certificate     = ""
        client_key             = ""
        password               = ""
        username               = ""
      }]
    }
  }
}

# The two identities must be told apart.
override_resource {
  target = azurerm_user_assigned_identity.kubelet
  values = {
    id           = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.ManagedIdentity/userAssignedIdentities/chat-staging-kubelet"
    client_id    = "99999999-9999-9999-9999-999999999999"
    principal_id = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"
  }
}

variables {
  name           = "chat-staging"
  location       = "westeurope"
  resource_group = "chat-staging"
  suffix         = "abc123"
  tags           = { lab = "chat", environment = "staging", owner = "platform", cost-centre = "teaching" }
  operators      = ["22222222-2222-2222-2222-222222222222"]
}

run "who_gets_in" {
  command = plan

  assert {
    condition     = azurerm_kubernetes_cluster.this.local_account_disabled && azurerm_kubernetes_cluster.this.role_based_access_control_enabled
    error_message = "There must be no accounts but those of Entra."
  }
  assert {
    condition     = azurerm_kubernetes_cluster.this.azure_active_directory_role_based_access_control[0].azure_rbac_enabled
    error_message = "Rights in the cluster must be Azure roles."
  }
  assert {
    condition     = azurerm_kubernetes_cluster.this.oidc_issuer_enabled && azurerm_kubernetes_cluster.this.workload_identity_enabled
    error_message = "Pods must be able to have identities."
  }
  assert {
    condition     = !azurerm_kubernetes_cluster.this.run_command_enabled
    error_message = "Nobody may run commands around the network."
  }
}

run "sizes_and_zones" {
  command = plan

  assert {
    condition     = azurerm_kubernetes_cluster.this.default_node_pool[0].vm_size == "Standard_D2as_v5" && azurerm_kubernetes_cluster.this.sku_tier == "Free"
    error_message = "The defaults must be small."
  }
  assert {
    condition     = azurerm_kubernetes_cluster.this.default_node_pool[0].auto_scaling_enabled && azurerm_kubernetes_cluster.this.default_node_pool[0].min_count == 1 && azurerm_kubernetes_cluster.this.default_node_pool[0].max_count == 3
    error_message = "One to three nodes, as there is work."
  }
  assert {
    condition     = azurerm_kubernetes_cluster.this.default_node_pool[0].zones == toset(["1", "2", "3"])
    error_message = "Nodes must spread over the zones."
  }
  assert {
    condition     = one(azurerm_kubernetes_cluster.this.node_provisioning_profile).mode == "Manual"
    error_message = "Azure must not choose machines, or max_count bounds nothing."
  }
}

run "a_region_without_zones" {
  command = plan
  variables {
    zones = []
  }

  assert {
    condition     = azurerm_kubernetes_cluster.this.default_node_pool[0].zones == null
    error_message = "No zones must be asked for."
  }
}

run "no_more_than_the_most" {
  command = plan
  variables {
    node_min = 4
  }
  expect_failures = [var.node_min]
}

run "patches_and_network" {
  command = plan

  assert {
    condition     = azurerm_kubernetes_cluster.this.automatic_upgrade_channel == "patch" && azurerm_kubernetes_cluster.this.node_os_upgrade_channel == "NodeImage"
    error_message = "Cluster and nodes must be patched without being asked."
  }
  assert {
    condition     = azurerm_kubernetes_cluster.this.network_profile[0].network_policy == "cilium" && azurerm_kubernetes_cluster.this.network_profile[0].network_plugin_mode == "overlay"
    error_message = "Network policies must be enforced."
  }
  assert {
    condition     = !azurerm_kubernetes_cluster.this.default_node_pool[0].node_public_ip_enabled
    error_message = "Nodes have no public addresses."
  }
  assert {
    condition     = toset([for e in azurerm_subnet.nodes.service_endpoint : e.service]) == toset(["Microsoft.AzureCosmosDB", "Microsoft.EventHub", "Microsoft.KeyVault"])
    error_message = "The later stacks let only this subnet in, which needs these endpoints."
  }
}

run "policies_watch" {
  command = apply

  assert {
    condition     = azurerm_kubernetes_cluster.this.azure_policy_enabled
    error_message = "The add-on enforces the policies."
  }
  assert {
    condition     = toset(keys(azurerm_resource_group_policy_assignment.this)) == toset(["pod-security", "privilege-escalation", "images"])
    error_message = "A policy is missing."
  }
  assert {
    condition     = alltrue([for a in azurerm_resource_group_policy_assignment.this : jsondecode(a.parameters).effect.value == "Audit"])
    error_message = "By default policies tell and do not forbid."
  }
  assert {
    condition     = alltrue([for a in azurerm_resource_group_policy_assignment.this : a.resource_group_id == "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging"])
    error_message = "Policies hold in the lab's resource group and nowhere else."
  }
  assert {
    condition     = contains(jsondecode(azurerm_resource_group_policy_assignment.this["pod-security"].parameters).excludedNamespaces.value, "kube-system")
    error_message = "Azure's own pods need what is forbidden to others."
  }
  assert {
    condition = alltrue([
      can(regex(jsondecode(azurerm_resource_group_policy_assignment.this["images"].parameters).allowedContainerImagesRegex.value, "crchatstagingabc123.azurecr.io/chat/auth@sha256:0")),
      can(regex(jsondecode(azurerm_resource_group_policy_assignment.this["images"].parameters).allowedContainerImagesRegex.value, "mcr.microsoft.com/oss/kubernetes/pause:3.6")),
      !can(regex(jsondecode(azurerm_resource_group_policy_assignment.this["images"].parameters).allowedContainerImagesRegex.value, "docker.io/library/nginx:latest")),
      !can(regex(jsondecode(azurerm_resource_group_policy_assignment.this["images"].parameters).allowedContainerImagesRegex.value, "crchatstagingabc123xazurecr.io/chat/auth")),
      !can(regex(jsondecode(azurerm_resource_group_policy_assignment.this["images"].parameters).allowedContainerImagesRegex.value, "evil.example/crchatstagingabc123.azurecr.io/chat/auth")),
    ])
    error_message = "Only the lab's registry and Microsoft's may be pulled from."
  }
}

run "policies_forbid" {
  command = apply
  variables {
    policy_effect = "Deny"
  }

  assert {
    condition     = alltrue([for a in azurerm_resource_group_policy_assignment.this : jsondecode(a.parameters).effect.value == "Deny"])
    error_message = "Every policy must forbid."
  }
}

run "an_unknown_effect" {
  command = plan
  variables {
    policy_effect = "Hope"
  }
  expect_failures = [var.policy_effect]
}

run "least_privilege" {
  command = apply

  assert {
    condition     = azurerm_role_assignment.pull.role_definition_name == "AcrPull" && azurerm_role_assignment.pull.scope == azurerm_container_registry.this.id
    error_message = "Nodes only pull, from this registry."
  }
  assert {
    condition     = azurerm_role_assignment.pull.principal_id == azurerm_user_assigned_identity.kubelet.principal_id && azurerm_kubernetes_cluster.this.kubelet_identity[0].object_id == azurerm_user_assigned_identity.kubelet.principal_id
    error_message = "The identity that pulls must be the nodes'."
  }
  assert {
    condition     = azurerm_role_assignment.network.principal_id == azurerm_user_assigned_identity.control_plane.principal_id && azurerm_role_assignment.kubelet.principal_id == azurerm_user_assigned_identity.control_plane.principal_id && azurerm_kubernetes_cluster.this.identity[0].identity_ids == toset([azurerm_user_assigned_identity.control_plane.id])
    error_message = "The control plane's roles must be those of its identity."
  }
  assert {
    condition     = azurerm_role_assignment.network.role_definition_name == "Network Contributor" && azurerm_role_assignment.network.scope == azurerm_subnet.nodes.id
    error_message = "The control plane changes the nodes' subnet and no other."
  }
  assert {
    condition     = azurerm_role_assignment.kubelet.role_definition_name == "Managed Identity Operator" && azurerm_role_assignment.kubelet.scope == azurerm_user_assigned_identity.kubelet.id
    error_message = "The control plane hands out the nodes' identity and no other."
  }
  assert {
    condition     = azurerm_role_assignment.admin["22222222-2222-2222-2222-222222222222"].scope == azurerm_kubernetes_cluster.this.id && azurerm_role_assignment.push["22222222-2222-2222-2222-222222222222"].role_definition_name == "AcrPush"
    error_message = "Operators administer this cluster and push to this registry."
  }
}

run "the_registry" {
  command = plan

  assert {
    condition     = !azurerm_container_registry.this.admin_enabled && !azurerm_container_registry.this.anonymous_pull_enabled
    error_message = "The registry has no user of its own and lets nobody pull without a token."
  }
  assert {
    condition     = azurerm_container_registry.this.sku == "Basic" && azurerm_container_registry.this.name == "crchatstagingabc123"
    error_message = "The cheapest registry, of a unique name."
  }
}

run "tags_are_everywhere" {
  command = plan

  assert {
    condition = alltrue([
      for tags in [
        azurerm_kubernetes_cluster.this.tags, azurerm_kubernetes_cluster.this.default_node_pool[0].tags, azurerm_container_registry.this.tags,
        azurerm_virtual_network.this.tags, azurerm_user_assigned_identity.control_plane.tags, azurerm_user_assigned_identity.kubelet.tags,
      ] : tags == tomap(var.tags)
    ])
    error_message = "Everything that can bear tags bears these."
  }
}

run "the_kubeconfig_holds_no_secret" {
  command = apply

  assert {
    condition     = yamldecode(output.kubeconfig).clusters[0].cluster.server == "https://chat-staging-abc123.hcp.westeurope.azmk8s.io:443"
    error_message = "It must lead to the API server."
  }
  assert {
    condition     = keys(yamldecode(output.kubeconfig).users[0].user) == ["exec"] && yamldecode(output.kubeconfig).users[0].user.exec.command == "kubelogin"
    error_message = "A token must be asked for, and nothing else may be in it."
  }
}

run "local_accounts_when_asked_for" {
  command = apply
  variables {
    local_accounts = true
  }

  assert {
    condition     = !azurerm_kubernetes_cluster.this.local_account_disabled && output.kubeconfig == "the admin's kubeconfig"
    error_message = "With local accounts the kubeconfig must be the cluster's own."
  }
}

run "outputs" {
  command = apply

  assert {
    condition     = output.registry.push == "crchatstagingabc123.azurecr.io" && output.registry.pull == output.registry.push && output.url == "http://chat-staging-abc123.westeurope.cloudapp.azure.com"
    error_message = "Registry and address must be those that Azure gives."
  }
  assert {
    condition     = output.dns_label == "chat-staging-abc123" && output.endpoints_subnet == "" && output.storage_class == "managed-csi"
    error_message = "A public lab has a DNS label and no private endpoints."
  }
  assert {
    condition     = output.ingress_networks == tolist([azurerm_kubernetes_cluster.this.network_profile[0].pod_cidr])
    error_message = "The ingress controller connects from the pods' network."
  }
}

run "a_name_and_a_certificate_of_ones_own" {
  command = apply
  variables {
    host       = "chat.example.org"
    tls_secret = "chat-tls"
  }

  assert {
    condition     = output.url == "https://chat.example.org"
    error_message = "With a certificate the address begins with https."
  }
}

run "an_api_server_for_some" {
  command = plan
  variables {
    api_ips = ["198.51.100.0/24"]
  }

  assert {
    condition     = azurerm_kubernetes_cluster.this.api_server_access_profile[0].authorized_ip_ranges == toset(["198.51.100.0/24"])
    error_message = "Only the named ranges may reach the API server."
  }
}

run "a_private_lab" {
  command = apply
  variables {
    private = true
    host    = "chat.corp.example.org"
  }

  assert {
    condition     = azurerm_kubernetes_cluster.this.private_cluster_enabled
    error_message = "The API server must have no public address."
  }
  assert {
    condition     = !azurerm_container_registry.this.public_network_access_enabled && azurerm_container_registry.this.sku == "Premium" && !azurerm_container_registry.this.export_policy_enabled
    error_message = "The registry must be reached by its private endpoint only."
  }
  assert {
    condition     = azurerm_private_endpoint.registry[0].private_service_connection[0].private_connection_resource_id == azurerm_container_registry.this.id && azurerm_private_dns_zone.registry[0].name == "privatelink.azurecr.io"
    error_message = "The private endpoint must be the registry's, with a name in private DNS."
  }
  assert {
    condition     = output.dns_label == "" && output.endpoints_subnet != ""
    error_message = "A private ingress has no public name."
  }
}

run "a_private_lab_needs_a_name" {
  command = plan
  variables {
    private = true
  }
  expect_failures = [var.private]
}
