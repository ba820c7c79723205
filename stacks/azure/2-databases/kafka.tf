# Event Hubs, which speaks Kafka from its Standard tier on; or the users of the Kafka in the cluster.

locals {
  # The topics of the chat, with the partitions and the retention that its services would ask for. They are made here so
  # that a service needs no right to make any. Event Hubs keeps nothing longer than seven days.
  topics = {
    "messages"      = { partitions = 12, cleanup = "Delete", hours = 72 }
    "messages.dead" = { partitions = 1, cleanup = "Delete", hours = 168 }
    "sessions"      = { partitions = 1, cleanup = "Delete", hours = 1 }
    "users"         = { partitions = 4, cleanup = "Delete", hours = 1 }
    "presence"      = { partitions = 12, cleanup = "Compact", hours = 1 }
  }
}

resource "azurerm_eventhub_namespace" "this" {
  count = local.managed ? 1 : 0

  name                = "${var.name}-${var.suffix}"
  resource_group_name = var.resource_group
  location            = var.location
  tags                = var.tags

  sku      = "Standard"
  capacity = var.throughput_units

  # No keys: Entra tokens of identities that have a role on it.
  local_authentication_enabled  = false
  minimum_tls_version           = "1.2"
  public_network_access_enabled = !local.private
  # An attribute and not a block, since the provider's schema takes no dynamic blocks in here.
  network_rulesets = [{
    default_action                 = "Deny"
    public_network_access_enabled  = !local.private
    trusted_service_access_enabled = false
    ip_rule                        = []
    virtual_network_rule = [for subnet in local.private ? [] : [var.nodes_subnet] : {
      subnet_id                                       = subnet
      ignore_missing_virtual_network_service_endpoint = false
    }]
  }]
}

resource "azurerm_eventhub" "topic" {
  for_each = local.managed ? local.topics : {}

  name            = each.key
  namespace_id    = azurerm_eventhub_namespace.this[0].id
  partition_count = each.value.partitions

  retention_description {
    cleanup_policy                    = each.value.cleanup
    retention_time_in_hours           = each.value.cleanup == "Delete" ? each.value.hours : null
    tombstone_retention_time_in_hours = each.value.cleanup == "Compact" ? each.value.hours : null
  }
}

# Passwords of Kafka's users, made once and kept in the state, which is as secret as they are: the services and the parts of their shadows
# (docs/adr/0026-shadows.md), whose rights are in services/topics, and admin for people. Event Hubs has none.
locals {
  kafka_services    = ["auth", "gateway", "groups", "messaging", "presence"]
  shadowed_services = ["auth", "gateway", "groups", "messaging", "presence"]
  shadow_parts      = ["shadow", "baseline", "comparer"]
  # Their shadows compare requests alone, for which the comparer asks no database.
  without_comparer = ["auth", "groups"]
  # Managed databases have no users for shadows.
  kafka_shadows = local.managed ? [] : [for p in setproduct(local.shadowed_services, local.shadow_parts) : join("-", p) if p[1] != "comparer" || !contains(local.without_comparer, p[0])]
}

resource "terraform_data" "kafka_password" {
  for_each = toset(local.managed ? [] : concat(local.kafka_services, local.kafka_shadows, ["admin"]))

  input = sensitive(uuid())

  lifecycle {
    ignore_changes = [input] # another one each time it is asked
  }
}
