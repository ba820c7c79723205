# The lab's Git server, a part of labctl: Git itself serves (`git http-backend`), the program checks who asks. There is no image to pull.
version  = "1"
packages = ["git"]
binary   = "/usr/bin/git-server"
dirs     = ["/data"]
