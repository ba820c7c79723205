# The cache of Argo CD. The distribution's where its registry can't be reached.
upstream   = "docker.io/library/redis:7.2.11-alpine"
version    = "7"
packages   = ["redis-server"]
entrypoint = ["redis-server"]
user       = 999
labels = {
  "org.opencontainers.image.source"   = "https://github.com/redis/redis"
  "org.opencontainers.image.licenses" = "BSD-3-Clause"
}
