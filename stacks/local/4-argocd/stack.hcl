# Argo CD and the lab's Git server, where the environment has gitops.

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
  values = {
    images        = { argocd = image.argocd, redis = image.redis, git = image.git }
    # To the Git server, from this machine.
    ingress_class     = stack.cluster.ingress_class
    ingress_namespace = stack.cluster.ingress_namespace
  }
  when       = lab.gitops
}
