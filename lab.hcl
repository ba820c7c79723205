lab "chat" {}

environment "local" {
  target    = "local"
  protected = false
  vars = {
    location      = "laptop"
    api_port      = 6443
    http_port     = 8080
    registry_port = 5050
  }
}

# What students share to try things: one small node, and a cap on everything that grows.
environment "staging" {
  target    = "azure"
  protected = false
  vars = {
    location      = "westeurope"
    owner         = "platform"
    cost_centre   = "teaching"
    databases     = "cluster"
    private       = false
    node_size     = "Standard_D2as_v5"
    node_min      = 1
    node_max      = 3
    policy_effect = "Deny"
    log_cap_gb    = 0.5
  }
}

# What others rely on: a control plane with a guarantee, copies in three zones, and nothing that goes by one typo.
# Before others come, set host and tls_secret: without a certificate the chat is served without TLS.
environment "prod" {
  target    = "azure"
  protected = true
  vars = {
    location           = "westeurope"
    owner              = "platform"
    cost_centre        = "production"
    databases          = "cluster"
    private            = false
    sku_tier           = "Standard"
    node_size          = "Standard_D4as_v5"
    node_min           = 3
    node_max           = 6
    policy_effect      = "Deny"
    replication        = "ZRS"
    retention_days     = 90
    zone_redundant     = true
    grafana            = true
    log_cap_gb         = 2
    log_retention_days = 90
    vault              = true
    purge_protection   = true
  }
}

# Where pipelines try changes of the lab itself: made and taken down by the hour, by a service principal.
environment "technical" {
  target    = "azure"
  protected = false
  vars = {
    location           = "westeurope"
    owner              = "platform"
    cost_centre        = "engineering"
    databases          = "cluster"
    private            = false
    node_size          = "Standard_D2as_v5"
    node_min           = 1
    node_max           = 2
    zones              = ["1"]
    login              = "spn"
    managed_prometheus = false
    log_cap_gb         = 0.1
  }
}
