# The cluster's DNS. Built from its module where its registry can't be reached; the program here has the plugins that a
# cluster uses, the upstream image has all of them, and both read the same Corefile.
upstream = "docker.io/coredns/coredns:1.14.2"
version  = "1.14.2"
binary   = "/coredns"
caches = "private"
labels = {
  "org.opencontainers.image.source"   = "https://github.com/coredns/coredns"
  "org.opencontainers.image.licenses" = "Apache-2.0"
}
