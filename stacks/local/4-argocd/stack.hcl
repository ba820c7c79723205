# Argo CD and the lab's Git server, where the environment has gitops: one of each in a cluster.

image "argocd" {
  source   = "images/argocd"
  registry = stack.cluster.registry
  when     = lab.gitops && lab.cluster_of == ""
}

image "redis" {
  source   = "images/redis"
  registry = stack.cluster.registry
  when     = lab.gitops && lab.cluster_of == ""
}

image "git" {
  source   = "images/git"
  registry = stack.cluster.registry
  when     = lab.gitops && lab.cluster_of == ""
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
  when       = lab.gitops && lab.cluster_of == ""
}
