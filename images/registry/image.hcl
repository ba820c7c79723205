# The image registry of a cluster that kind makes; the embedded node has the same one in its own program. Built from its
# module where its registry can't be reached.
upstream = "docker.io/library/registry:3.1.0"
version  = "3.1.2"
binary   = "/bin/registry"
labels = {
  "org.opencontainers.image.source"   = "https://github.com/distribution/distribution"
  "org.opencontainers.image.licenses" = "Apache-2.0"
}
