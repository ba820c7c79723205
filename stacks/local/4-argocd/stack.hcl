# Argo CD and the lab's Git server, where lab.hcl's vars say argocd = true.

image "argocd" {
  source   = "images/argocd"
  registry = stack.cluster.registry
  when     = lookup(env, "argocd", false)
}

image "redis" {
  source   = "images/redis"
  registry = stack.cluster.registry
  when     = lookup(env, "argocd", false)
}

image "git" {
  source   = "images/git"
  registry = stack.cluster.registry
  when     = lookup(env, "argocd", false)
}

release "argocd" {
  kubeconfig = stack.cluster.kubeconfig
  chart      = "builtin://argocd"
  namespace  = "argocd"
  values     = { images = { argocd = image.argocd, redis = image.redis, git = image.git } }
  when       = lookup(env, "argocd", false)
}
