# The databases run in the cluster, as a release. This says where they will be found.

terraform {
  required_version = ">= 1.6"
}

locals {
  kafka   = "kafka.${var.namespace}.svc.cluster.local:9092"
  mongodb = "mongodb://mongodb.${var.namespace}.svc.cluster.local:27017/"
}
