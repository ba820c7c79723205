# Set nodes = 3 in lab.hcl's vars for a cluster of three nodes, and
# egress = false for one that reaches nothing but itself. Set cluster = "kind" in lab.hcl's vars for a node in Docker, or
# cluster = "kubeconfig", with kubeconfig_path, registry_push and
# registry_pull, to adopt one that is there.
inputs = {
  name            = stack.foundation.name
  dir             = "${lab.dir}/cluster"
  kind            = lookup(env, "cluster", "embedded")
  api_port        = env.api_port
  http_port       = env.http_port
  registry_port   = env.registry_port
  nodes           = lookup(env, "nodes", 1)
  egress          = lookup(env, "egress", true)
  node_image      = lookup(env, "node_image", null)
  kubeconfig_path = lookup(env, "kubeconfig_path", null)
  registry_push   = lookup(env, "registry_push", null)
  registry_pull   = lookup(env, "registry_pull", null)
}
