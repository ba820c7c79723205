inputs = {
  name     = lab.environment == "local" ? lab.name : "${lab.name}-${lab.environment}"
  location = env.location
  tags = {
    lab         = lab.name
    environment = lab.environment
    owner       = env.owner
    cost-centre = env.cost_centre
  }
  operators      = lookup(env, "operators", null)
  allowed_ips    = lookup(env, "allowed_ips", null)
  replication    = lookup(env, "replication", null)
  retention_days = lookup(env, "retention_days", null)
  budget         = lookup(env, "budget", null)
  budget_emails  = lookup(env, "budget_emails", null)
}

# The state starts on this machine and moves into the storage that it made, once that exists.
backend "azurerm" {
  resource_group_name  = stack.foundation.resource_group
  storage_account_name = stack.foundation.storage_account
  container_name       = stack.foundation.container
  key                  = "0-foundation.tfstate"
  use_azuread_auth     = true

  # Another machine looks for it here. The account's name depends on the
  # subscription: the first up says it, and state_account in lab.hcl keeps it.
  find = {
    resource_group_name  = lab.environment == "local" ? lab.name : "${lab.name}-${lab.environment}"
    storage_account_name = lookup(env, "state_account", null)
    container_name       = "tfstate"
  }
}
