# Argo CD and what its repository server renders with. Built from its module where its registry can't be reached; the module has
# no built web pages, so that image has none.
upstream = "quay.io/argoproj/argocd:v2.14.21"
version  = "2.14.21"
package  = "github.com/argoproj/argo-cd/v2/cmd"
packages = ["coreutils", "dash", "git", "openssh-client", "tini"]
caches   = "private"
binary   = "/usr/local/bin/argocd"
programs = {
  "/usr/local/bin/helm"      = "helm.sh/helm/v3/cmd/helm"
  "/usr/local/bin/kustomize" = "sigs.k8s.io/kustomize/kustomize/v5"
}
# One program, which looks at the name by which it is called.
links = {
  "/usr/local/bin/argocd-application-controller"    = "argocd"
  "/usr/local/bin/argocd-applicationset-controller" = "argocd"
  "/usr/local/bin/argocd-cmp-server"                = "argocd"
  "/usr/local/bin/argocd-dex"                       = "argocd"
  "/usr/local/bin/argocd-k8s-auth"                  = "argocd"
  "/usr/local/bin/argocd-notifications"             = "argocd"
  "/usr/local/bin/argocd-repo-server"               = "argocd"
  "/usr/local/bin/argocd-server"                    = "argocd"
}
ldflags    = "-X github.com/argoproj/argo-cd/v2/common.version=2.14.21 -X helm.sh/helm/v3/internal/version.version=v3.16.4"
entrypoint = ["/usr/bin/tini", "--"]
args       = ["argocd"]
env = {
  ARGOCD_GPG_ENABLED = "false" # nothing here checks signatures of commits, so no keyring is needed
  USER               = "argocd"
}
user       = 999
workdir    = "/home/argocd"
dirs       = ["/home/argocd", "/app/config"]
files      = { "/etc/passwd" = "passwd" } # ssh asks who it is
labels = {
  "org.opencontainers.image.source"   = "https://github.com/argoproj/argo-cd"
  "org.opencontainers.image.licenses" = "Apache-2.0"
}
