package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// PodsOptions are the options of NewPods.
type PodsOptions struct {
	Address    string // the chat's
	API        kubernetes.Interface
	Namespaces []string // of the chat's pods and of what they need
	// Signal sends a signal to a container's processes, by the id that Kubernetes gives it, and says whether there are any. Where they are
	// out of reach it is nil: then what is to be killed has a second to end, and nothing is paused.
	Signal func(containerID string, signal syscall.Signal) (found bool, err error)
}

// Pods is the chat in a cluster, each pod a part: "gateway/1" is the second one of the gateway's. Those of stateful sets have no number.
type Pods struct {
	o     PodsOptions
	parts []string
	want  map[string]int // how many pods there are by name
}

const (
	nameLabel = "app.kubernetes.io/name"
	// backWithin is how long the next pod may take to be ready after one is killed.
	backWithin = 2 * time.Minute
)

// ErrNoPods says that there is nothing to break.
var ErrNoPods = errors.New("no pod of the chat is ready")

// NewPods looks which pods there are. The error is ErrNoPods if there are none that are ready.
func NewPods(ctx context.Context, o PodsOptions) (*Pods, error) {
	p := &Pods{o: o, want: map[string]int{}}
	pods, err := p.ready(ctx)
	if err != nil {
		return nil, err
	}
	for _, pod := range pods {
		name := pod.Labels[nameLabel]
		if metav1.GetControllerOf(&pod).Kind == "StatefulSet" {
			p.parts = append(p.parts, name)
		} else {
			p.parts = append(p.parts, name+"/"+strconv.Itoa(p.want[name]))
		}
		p.want[name]++
	}
	if len(p.parts) == 0 {
		return nil, ErrNoPods
	}
	slices.Sort(p.parts)
	return p, nil
}

// Address is the chat's.
func (p *Pods) Address() string { return p.o.Address }

// Parts are the pods.
func (p *Pods) Parts() []string { return p.parts }

// Kinds are the faults that can be done to pods.
func (p *Pods) Kinds() []Kind {
	if p.o.Signal == nil {
		return []Kind{Kill}
	}
	return []Kind{Kill, Pause}
}

// ready lists the pods that serve, of all that a controller keeps up, by name.
func (p *Pods) ready(ctx context.Context) ([]corev1.Pod, error) {
	var all []corev1.Pod
	for _, namespace := range p.o.Namespaces {
		list, err := p.o.API.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: nameLabel})
		if err != nil {
			return nil, fmt.Errorf("list the pods of namespace %s: %w", namespace, err)
		}
		for _, pod := range list.Items {
			if metav1.GetControllerOf(&pod) != nil && pod.DeletionTimestamp == nil && serves(&pod) {
				all = append(all, pod)
			}
		}
	}
	slices.SortFunc(all, func(a, b corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

func serves(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// of gives the pods with a part's name that serve now, beginning with the part's own.
func (p *Pods) of(ctx context.Context, part string) (name string, pods []corev1.Pod, err error) {
	name, number, _ := strings.Cut(part, "/")
	all, err := p.ready(ctx)
	if err != nil {
		return name, nil, err
	}
	all = slices.DeleteFunc(all, func(pod corev1.Pod) bool { return pod.Labels[nameLabel] != name })
	if len(all) == 0 {
		return name, nil, nil
	}
	i, _ := strconv.Atoi(number) // none: there is one
	i %= len(all)
	return name, append(all[i:len(all):len(all)], all[:i]...), nil
}

// Strike does a fault and undoes it.
func (p *Pods) Strike(ctx context.Context, f Fault) (met string, err error) {
	if !slices.Contains(p.parts, f.Part) {
		return "", fmt.Errorf("%s: there is no such part", f)
	}
	if !slices.Contains(p.Kinds(), f.Kind) {
		return "", fmt.Errorf("%s: not a fault of pods", f)
	}
	if f.Kind == Pause {
		return p.pause(ctx, f)
	}
	return p.kill(ctx, f)
}

// first gives the pod that a part's number means now, and nil if none serves.
func (p *Pods) first(ctx context.Context, part string) (*corev1.Pod, error) {
	_, pods, err := p.of(ctx, part)
	if err != nil || len(pods) == 0 {
		return nil, err
	}
	return &pods[0], nil
}

// kill ends a pod's processes without notice and has its controller make another, which none but a dead pod's has to wait for.
func (p *Pods) kill(ctx context.Context, f Fault) (met string, err error) {
	// It may be away by the fault before: then it is struck as soon as it is back.
	var pod *corev1.Pod
	err = p.until(ctx, f.Part+" to be there", func() (bool, error) {
		pod, err = p.first(ctx, f.Part)
		return pod != nil, err
	})
	if err != nil {
		return "", err
	}
	if p.o.Signal != nil {
		if _, err := p.signal(pod, syscall.SIGKILL); err != nil { // one that has just ended is dead, too
			return pod.Name, err
		}
	}
	second := int64(1)
	// By its own id: the next pod of a stateful set has the same name.
	err = p.o.API.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &second, Preconditions: metav1.NewUIDPreconditions(string(pod.UID)),
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return pod.Name, fmt.Errorf("kill pod %s: %w", pod.Name, err)
	}
	_ = sleep(ctx, f.Time)
	return pod.Name, p.until(ctx, f.Part+" to be back", func() (bool, error) {
		name, pods, err := p.of(ctx, f.Part)
		gone := !slices.ContainsFunc(pods, func(other corev1.Pod) bool { return other.UID == pod.UID })
		return gone && len(pods) >= p.want[name], err
	})
}

// startsWithin is how long a container of a pod that runs may take to be there after it has ended.
const startsWithin = 10 * time.Second

// pause stops a pod's processes for a while.
func (p *Pods) pause(ctx context.Context, f Fault) (met string, err error) {
	// Asked anew each time: another fault may end the pod that was meant, and a container that is started again has another id.
	var pod *corev1.Pod
	var since time.Time
	var silent error
	err = p.until(ctx, f.Part+" to be there", func() (bool, error) {
		now, err := p.first(ctx, f.Part)
		if err != nil || now == nil {
			return false, err
		}
		if pod == nil || pod.UID != now.UID {
			since = time.Now()
		}
		pod = now
		found, err := p.signal(pod, syscall.SIGSTOP)
		if err == nil && !found && time.Since(since) >= startsWithin {
			silent = fmt.Errorf("%s: no process of pod %s runs on this machine", f, pod.Name)
		}
		return found || silent != nil, err
	})
	if err = errors.Join(err, silent); err == nil {
		_ = sleep(ctx, f.Time)
	}
	if pod == nil {
		return "", err
	}
	// In any case: a part of it may have been stopped. One that was stopped for too long may have been killed by its node.
	_, again := p.signal(pod, syscall.SIGCONT)
	return pod.Name, errors.Join(err, again)
}

func (p *Pods) signal(pod *corev1.Pod, signal syscall.Signal) (found bool, err error) {
	for _, c := range pod.Status.ContainerStatuses {
		some, err := p.o.Signal(c.ContainerID, signal)
		if err != nil {
			return found, fmt.Errorf("pod %s: %w", pod.Name, err)
		}
		found = found || some
	}
	return found, nil
}

// until asks again and again, for backWithin at most. That the API does not answer meanwhile is no error.
func (p *Pods) until(ctx context.Context, what string, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, backWithin)
	defer cancel()
	for {
		done, err := ok()
		if done && err == nil {
			return nil
		}
		if sleep(ctx, 100*time.Millisecond) != nil {
			return errors.Join(fmt.Errorf("waited in vain for %s", what), err, ctx.Err())
		}
	}
}
