# The chat is a release of Helm. Its address is the cluster's.

terraform {
  required_version = ">= 1.6"
}
