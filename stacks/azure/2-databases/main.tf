# MongoDB and Kafka: as a release in the cluster, or as services of Azure that speak their protocols.

locals {
  managed = var.databases == "managed"
  # The nodes come through private endpoints or through their subnet's service endpoints. Nobody else comes at all.
  private = local.managed && var.endpoints_subnet != ""
}
