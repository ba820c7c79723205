# The chat is a release of Helm, and its address is the cluster's. Where Kafka is Event Hubs, each service is an identity
# of Azure by the token of its service account, and may do with each topic what it does and no more (services/topics).

locals {
  managed = var.event_hubs != ""

  # Who sends to which topic and who receives from it. None may make or remove a topic: 2-databases did.
  access = {
    auth      = { send = ["sessions"], receive = ["sessions"] }
    gateway   = { send = ["messages", "presence"], receive = ["users", "sessions"] }
    messaging = { send = ["messages", "users", "messages.dead"], receive = ["messages", "sessions", "messages.dead"] }
    presence  = { send = ["users"], receive = ["presence", "sessions"] }
    groups    = { send = ["messages", "users"], receive = ["sessions"] }
  }
  services = toset(local.managed ? keys(local.access) : [])
  grants = merge([for service in local.services : merge(
    { for topic in local.access[service].send : "${service} sends ${topic}" => { service = service, topic = topic, role = "Azure Event Hubs Data Sender" } },
    { for topic in local.access[service].receive : "${service} receives ${topic}" => { service = service, topic = topic, role = "Azure Event Hubs Data Receiver" } },
  )]...)
}

resource "azurerm_user_assigned_identity" "service" {
  for_each = local.services

  name                = "${var.name}-${each.value}"
  resource_group_name = var.resource_group
  location            = var.location
  tags                = var.tags
}

resource "azurerm_federated_identity_credential" "service" {
  for_each = local.services

  name                      = each.value
  user_assigned_identity_id = azurerm_user_assigned_identity.service[each.value].id
  issuer                    = var.oidc_issuer
  subject                   = "system:serviceaccount:chat:${each.value}"
  audience                  = ["api://AzureADTokenExchange"]
}

resource "azurerm_role_assignment" "kafka" {
  for_each = local.grants

  scope                = "${var.event_hubs}/eventhubs/${each.value.topic}"
  role_definition_name = each.value.role
  principal_id         = azurerm_user_assigned_identity.service[each.value.service].principal_id
  principal_type       = "ServicePrincipal" # Entra need not have heard of it yet
}
