# The ingress controller with a filter of our own, so it is built, and never pulled.
version = "0.22.0"
binary  = "/usr/bin/skipper"
ldflags = "-X main.version=v0.22.0"
caches  = "private"
labels = {
  "org.opencontainers.image.source"   = "https://github.com/zalando/skipper"
  "org.opencontainers.image.licenses" = "Apache-2.0"
}
