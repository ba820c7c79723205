inputs = {
  name             = stack.foundation.name
  location         = stack.foundation.location
  resource_group   = stack.foundation.resource_group
  suffix           = stack.foundation.suffix
  tags             = stack.foundation.tags
  operators        = stack.foundation.operators
  oidc_issuer      = stack.cluster.oidc_issuer
  registry_id      = stack.cluster.registry_id
  network_id       = stack.cluster.network_id
  nodes_subnet     = stack.cluster.nodes_subnet
  endpoints_subnet = stack.cluster.endpoints_subnet
  vault            = lookup(env, "vault", null)
  allowed_ips      = lookup(env, "allowed_ips", null)
  purge_protection = lookup(env, "purge_protection", null)
}

backend "azurerm" {
  resource_group_name  = stack.foundation.resource_group
  storage_account_name = stack.foundation.storage_account
  container_name       = stack.foundation.container
  key                  = "4-argocd.tfstate"
  use_azuread_auth     = true
}

# Argo CD and a Git server, where the environment has gitops. Nothing leads to the Git server but a port-forward of labctl's.
image "argocd" {
  source   = "images/argocd"
  registry = stack.cluster.registry
  when     = lab.gitops
}

image "redis" {
  source   = "images/redis"
  registry = stack.cluster.registry
  when     = lab.gitops
}

image "git" {
  source   = "images/git"
  registry = stack.cluster.registry
  when     = lab.gitops
}

release "argocd" {
  kubeconfig = stack.cluster.kubeconfig
  chart      = "builtin://argocd"
  namespace  = "argocd"
  values     = { images = { argocd = image.argocd, redis = image.redis, git = image.git } }
  when       = lab.gitops
}
