# The first process of every pod's sandbox. It is a part of labctl, so there is no image to pull: the node works without a
# registry. The label keeps the kubelet's image collector from deleting an image that can't be pulled again.
version = "1"
user    = 65535
labels = {
  "io.cri-containerd.pinned" = "pinned"
}
