# How the releases and kubectl reach the cluster. By default the file holds no secret: it names kubelogin, which asks
# Entra for a token of whoever runs it.

locals {
  # The application that stands for the API servers of all AKS clusters of the world.
  # https://azure.github.io/kubelogin/concepts/aks.html
  api_server_app = "6dae42f8-4368-4678-94ff-3960e28e3630"

  token_kubeconfig = yamlencode({
    apiVersion      = "v1"
    kind            = "Config"
    current-context = var.name
    clusters = [{
      name = var.name
      cluster = {
        server                     = azurerm_kubernetes_cluster.this.kube_config[0].host
        certificate-authority-data = azurerm_kubernetes_cluster.this.kube_config[0].cluster_ca_certificate
      }
    }]
    contexts = [{
      name    = var.name
      context = { cluster = var.name, user = var.name }
    }]
    users = [{
      name = var.name
      user = {
        exec = {
          apiVersion         = "client.authentication.k8s.io/v1"
          command            = "kubelogin"
          args               = ["get-token", "--login", var.login, "--server-id", local.api_server_app]
          env                = null
          interactiveMode    = "IfAvailable"
          provideClusterInfo = false
          installHint        = "kubelogin gets the token for this cluster. Install it with: az aks install-cli"
        }
      }
    }]
  })
}
