# The databases run in the cluster, as a release. This says where they will be found.

terraform {
  required_version = ">= 1.6"
  required_providers {
    lab = {
      source = "labctl.local/labctl/lab"
    }
  }
}

locals {
  kafka   = "kafka.${var.namespace}.svc.cluster.local"
  mongodb = "mongodb.${var.namespace}.svc.cluster.local"
}

# What the servers prove by who they are, and the authority that the services trust for it. Kept in the state as the passwords
# are, and renewed by a `labctl up` that finds less than a third of their time left. To change all of them: -replace. localhost is for
# a person's port-forward.
resource "lab_certificates" "this" {
  name = "databases"
  servers = {
    kafka   = [local.kafka, "localhost"]
    mongodb = [local.mongodb, "localhost"]
  }
}

# Passwords of Kafka's users, made once and kept in the state, which is as secret as they are: the services and the parts of their shadows
# (docs/adr/0026-shadows.md), whose rights are in services/topics, and admin for people. To change one: terraform taint, or -replace.
locals {
  kafka_services    = ["auth", "gateway", "groups", "messaging", "presence"]
  shadowed_services = ["auth", "gateway", "groups", "messaging", "presence"]
  shadow_parts      = ["shadow", "baseline", "comparer"]
  # Their shadows compare requests alone, for which the comparer asks no database.
  without_comparer = ["auth", "groups"]
  kafka_shadows    = [for p in setproduct(local.shadowed_services, local.shadow_parts) : join("-", p) if p[1] != "comparer" || !contains(local.without_comparer, p[0])]
}

resource "terraform_data" "kafka_password" {
  for_each = toset(concat(local.kafka_services, local.kafka_shadows, ["admin"]))

  input = sensitive(uuid())

  lifecycle {
    ignore_changes = [input] # another one each time it is asked
  }
}

# The same of MongoDB's users: each service that has a database, and the parts of its shadow.
locals {
  mongodb_services = ["auth", "groups", "messaging", "presence"]
  mongodb_shadows  = [for name in local.kafka_shadows : name if contains(local.mongodb_services, split("-", name)[0])]
  # The chat's chart has the authority's certificate at that path.
  mongodb_uris = { for name, p in terraform_data.mongodb_password : name => "mongodb://${name}:${p.output}@${local.mongodb}:27017/?authMechanism=SCRAM-SHA-256&tls=true&tlsCAFile=/mongodb/ca.crt" }
}

resource "terraform_data" "mongodb_password" {
  for_each = toset(concat(local.mongodb_services, local.mongodb_shadows, ["admin"]))

  input = sensitive(uuid())

  lifecycle {
    ignore_changes = [input]
  }
}

# What auth encrypts its signing keys with, made and kept in the same way. Another one makes the keys in the database useless.
resource "terraform_data" "key_encryption_secret" {
  input = sensitive(uuid())

  lifecycle {
    ignore_changes = [input]
  }
}
