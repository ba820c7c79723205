inputs = {
  name     = lab.environment == "local" ? lab.name : "${lab.name}-${lab.environment}"
  location = env.location
  path     = "${lab.dir}/workspace"
}
