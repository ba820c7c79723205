package kube

// Labels on what labctl makes in a cluster. They say where every machine sees it which lab made it, so that what no file names any more
// is not forgotten.
const (
	labLabel         = "labctl/lab"
	environmentLabel = "labctl/environment"
	stackLabel       = "labctl/stack"
)

// Owner is the stack that something in a cluster belongs to. Names of labs, environments and stacks are short enough for labels.
type Owner struct{ Lab, Environment, Stack string }

// Labels gives the owner as labels. A part that is not known has none, so they select by the others.
func (o Owner) Labels() map[string]string {
	labels := map[string]string{}
	for name, value := range map[string]string{labLabel: o.Lab, environmentLabel: o.Environment, stackLabel: o.Stack} {
		if value != "" {
			labels[name] = value
		}
	}
	return labels
}

// OwnerOf reads an owner's labels.
func OwnerOf(labels map[string]string) Owner {
	return Owner{Lab: labels[labLabel], Environment: labels[environmentLabel], Stack: labels[stackLabel]}
}
