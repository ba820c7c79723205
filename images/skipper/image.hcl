# The ingress controller. Built from its module where its registry can't be reached.
upstream = "ghcr.io/zalando/skipper:v0.22.0"
version  = "0.22.0"
binary   = "/usr/bin/skipper"
ldflags  = "-X main.version=v0.22.0"
caches = "private"
labels = {
  "org.opencontainers.image.source"   = "https://github.com/zalando/skipper"
  "org.opencontainers.image.licenses" = "Apache-2.0"
}
