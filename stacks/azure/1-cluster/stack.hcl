inputs = {
  name                       = stack.foundation.name
  location                   = stack.foundation.location
  resource_group             = stack.foundation.resource_group
  suffix                     = stack.foundation.suffix
  tags                       = stack.foundation.tags
  operators                  = stack.foundation.operators
  kubernetes_version         = lookup(env, "kubernetes_version", null)
  sku_tier                   = lookup(env, "sku_tier", null)
  node_size                  = lookup(env, "node_size", null)
  node_min                   = lookup(env, "node_min", null)
  node_max                   = lookup(env, "node_max", null)
  zones                      = lookup(env, "zones", null)
  local_accounts             = lookup(env, "local_accounts", null)
  login                      = lookup(env, "login", null)
  private                    = lookup(env, "private", null)
  api_ips                    = lookup(env, "api_ips", null)
  host                       = lookup(env, "host", null)
  tls_secret                 = lookup(env, "tls_secret", null)
  policy_effect              = lookup(env, "policy_effect", null)
  policy_excluded_namespaces = lookup(env, "policy_excluded_namespaces", null)
  managed_prometheus         = lookup(env, "managed_prometheus", null)
}

backend "azurerm" {
  resource_group_name  = stack.foundation.resource_group
  storage_account_name = stack.foundation.storage_account
  container_name       = stack.foundation.container
  key                  = "1-cluster.tfstate"
  use_azuread_auth     = true
}

# The same ingress controller as on the laptop: what mirrors requests there mirrors them here.
image "ingress" {
  source   = "images/skipper"
  registry = stack.cluster.registry
}

release "ingress" {
  kubeconfig = stack.cluster.kubeconfig
  chart      = "stacks/azure/1-cluster/ingress"
  namespace  = "ingress"
  values = {
    image     = image.ingress
    className = stack.cluster.ingress_class
    dnsLabel  = stack.cluster.dns_label
    internal  = lookup(env, "private", false)
    tlsSecret = lookup(env, "tls_secret", "")
  }
}
