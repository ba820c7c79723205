# The comparer of a shadow, a part of labctl: there is no image to pull.
version = "1"
dirs    = ["/data"]
