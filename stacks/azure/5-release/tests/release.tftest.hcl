mock_provider "azurerm" {
  mock_resource "azurerm_user_assigned_identity" {
    defaults = {
      id           = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.ManagedIdentity/userAssignedIdentities/chat-staging-auth"
      principal_id = "88888888-8888-8888-8888-888888888888"
      client_id    = "77777777-7777-7777-7777-777777777777"
    }
  }
}

variables {
  url            = "http://chat-staging-abc123.westeurope.cloudapp.azure.com"
  name           = "chat-staging"
  location       = "westeurope"
  resource_group = "chat-staging"
  tags           = { lab = "chat", environment = "staging", owner = "platform", cost-centre = "teaching" }
  oidc_issuer    = "https://westeurope.oic.prod-aks.azure.com/44444444/99999999/"
}

run "databases_in_the_cluster" {
  command = apply

  assert {
    condition     = output.url == var.url
    error_message = "The chat's address must be the ingress's."
  }
  assert {
    condition     = length(azurerm_user_assigned_identity.service) == 0 && length(azurerm_role_assignment.kafka) == 0
    error_message = "A Kafka in the cluster asks for no identities."
  }
  assert {
    condition     = output.identities == tomap({})
    error_message = "No service is an identity."
  }
}

run "a_service_is_its_service_account" {
  command = apply
  variables {
    event_hubs = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.EventHub/namespaces/chat-staging-abc123"
  }

  assert {
    condition     = { for name, c in azurerm_federated_identity_credential.service : name => c.subject } == { for name in ["auth", "gateway", "messaging", "presence", "groups"] : name => "system:serviceaccount:chat:${name}" }
    error_message = "Each service that uses Kafka is one identity, and the page is none."
  }
  assert {
    condition     = output.identities == tomap({ for name in ["auth", "gateway", "messaging", "presence", "groups"] : name => "77777777-7777-7777-7777-777777777777" })
    error_message = "The chart marks each service account with its identity."
  }
  assert {
    condition     = alltrue([for c in azurerm_federated_identity_credential.service : c.issuer == var.oidc_issuer && c.audience == tolist(["api://AzureADTokenExchange"])])
    error_message = "Only tokens of this cluster, meant for Entra, may be exchanged."
  }
  assert {
    condition     = alltrue([for i in azurerm_user_assigned_identity.service : i.tags == tomap(var.tags)])
    error_message = "Everything that can bear tags bears these."
  }
}

run "no_service_may_do_more_than_it_does" {
  command = plan
  variables {
    event_hubs = "/subscriptions/33333333-3333-3333-3333-333333333333/resourceGroups/chat-staging/providers/Microsoft.EventHub/namespaces/chat-staging-abc123"
  }

  assert {
    condition = toset(keys(azurerm_role_assignment.kafka)) == toset([
      "auth sends sessions", "auth receives sessions",
      "gateway receives users", "gateway receives sessions", "gateway sends messages", "gateway sends presence",
      "groups sends messages", "groups sends users", "groups receives sessions",
      "messaging receives messages", "messaging receives sessions", "messaging receives messages.dead",
      "messaging sends messages", "messaging sends messages.dead", "messaging sends users",
      "presence receives presence", "presence receives sessions", "presence sends users",
    ])
    error_message = "Who sends and receives what must be as in services/."
  }
  assert {
    condition     = alltrue([for name, r in azurerm_role_assignment.kafka : r.role_definition_name == (strcontains(name, " sends ") ? "Azure Event Hubs Data Sender" : "Azure Event Hubs Data Receiver")])
    error_message = "Whoever sends may send and whoever receives may receive."
  }
  assert {
    condition     = alltrue([for name, r in azurerm_role_assignment.kafka : endswith(r.scope, "/namespaces/chat-staging-abc123/eventhubs/${split(" ", name)[2]}")])
    error_message = "A role is for one topic."
  }
}
