# Set nodes = 3 in lab.hcl's vars for a cluster of three nodes, and
# egress = false for one that reaches nothing but itself. Set cluster = "kind" in lab.hcl's vars for a node in Docker, or
# cluster = "kubeconfig", with kubeconfig_path, registry_push and
# registry_pull, to adopt one that is there, and with ingress_networks, such as
# ["10.0.0.0/16"], if its ingress controller says in X-Forwarded-For who a client is, and with
# api_networks, such as ["10.0.0.1/32"], to let the services reach the Kubernetes API and nothing else at its ports.
inputs = {
  name            = stack.foundation.name
  dir             = "${lab.dir}/cluster"
  kind            = lab.cluster_of == "" ? lookup(env, "cluster", "embedded") : "kubeconfig"
  api_port        = env.api_port
  http_port       = env.http_port
  registry_port   = env.registry_port
  nodes           = lookup(env, "nodes", 1)
  egress          = lookup(env, "egress", true)
  node_image      = lookup(env, "node_image", null)

  # In another environment's cluster (cluster_of), that one is adopted, and the chat has a host name of its own.
  kubeconfig_path   = lookup(env, "kubeconfig_path", lab.cluster_of == "" ? null : "${lab.cluster_dir}/cluster/kubeconfig")
  registry_push     = lookup(env, "registry_push", lab.cluster_of == "" ? null : "127.0.0.1:${env.registry_port}")
  registry_pull     = lookup(env, "registry_pull", lab.cluster_of == "" ? null : "localhost:5000")
  host              = lab.cluster_of == "" ? "" : "${lab.environment}.localhost"
  ingress_namespace = lookup(env, "cluster", "embedded") == "kubeconfig" ? "" : "ingress"
  # The first node's address, which has the API in an embedded cluster.
  api_networks = lookup(env, "api_networks", lookup({ embedded = ["10.40.0.2/32"] }, lookup(env, "cluster", "embedded"), []))
  # The pods' network, as each kind of cluster has it. Of one that is there already, say it in lab.hcl.
  ingress_networks = lookup(env, "ingress_networks", lookup({ embedded = ["10.42.0.0/16"], kind = ["10.244.0.0/16"] }, lookup(env, "cluster", "embedded"), []))
}
