// Package incluster runs the shadow of a service beside it in a Kubernetes cluster. All that is known of a shadow is in
// the cluster, so every machine that may use the cluster sees it.
package incluster

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/kube"
	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/shadow/workload"
	"github.com/labctl/labctl/services/mirror"
	"github.com/labctl/labctl/services/topics"
)

// Shadow is the shadow of a service, whether there is one or not.
type Shadow struct {
	Client    *kube.Client
	Namespace string // of the service
	Service   string
	Owner     kube.Owner // the stack that the service belongs to
}

var (
	// ErrNone says that there is no shadow.
	ErrNone = errors.New("there is no shadow")
	// ErrThere says that there is one already.
	ErrThere = errors.New("there is a shadow already")
)

// Start is what a shadow begins with.
type Start struct {
	shadow.About
	Candidate, Comparer string // whole references of images
}

// record is the Secret of a shadow: who has it, and what the comparer is asked with. It is made first and deleted last.
type record struct {
	About     shadow.About `json:"about"`
	Candidate string       `json:"candidate"` // its image
	Comparer  string       `json:"comparer"`  // its image
	Token     string       `json:"token"`
}

const (
	recordKey = "shadow.json"
	tokenKey  = "token"
)

func (s Shadow) recordName() string { return "shadow-of-" + s.Service }

// read gives the record. The error is ErrNone where there is no shadow.
func (s Shadow) read(ctx context.Context) (r record, err error) {
	secret, err := s.Client.Core.CoreV1().Secrets(s.Namespace).Get(ctx, s.recordName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return r, fmt.Errorf("%w of %s in the namespace %s", ErrNone, s.Service, s.Namespace)
	}
	if err != nil {
		return r, fmt.Errorf("look for the shadow of %s: %w", s.Service, err)
	}
	if err := json.Unmarshal(secret.Data[recordKey], &r); err != nil {
		return r, fmt.Errorf("read the secret %s: %w", s.recordName(), err)
	}
	return r, nil
}

// claim makes the record. The error is ErrThere, with who began it, where there is a shadow.
func (s Shadow) claim(ctx context.Context, o Start) error {
	token := rand.Text()
	b, err := json.Marshal(record{About: o.About, Candidate: o.Candidate, Comparer: o.Comparer, Token: token})
	if err != nil {
		return err
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: s.recordName(), Namespace: s.Namespace, Labels: s.Owner.Labels()},
		Data:       map[string][]byte{recordKey: b, tokenKey: []byte(token)},
	}
	secret.Labels[workload.Label] = s.Service
	_, err = s.Client.Core.CoreV1().Secrets(s.Namespace).Create(ctx, secret, metav1.CreateOptions{FieldManager: kube.FieldOwner})
	if apierrors.IsAlreadyExists(err) {
		r, err := s.read(ctx)
		if err != nil {
			return err
		}
		return fmt.Errorf("%w of %s: %s began it at %s, with %s", ErrThere, s.Service, r.About.By, r.About.At.Local().Format(time.DateTime), r.About.Version)
	}
	if err != nil {
		return fmt.Errorf("note the shadow of %s: %w", s.Service, err)
	}
	return nil
}

// live reads the service as it is.
func (s Shadow) live(ctx context.Context) (l workload.Live, err error) {
	d, err := s.Client.Core.AppsV1().Deployments(s.Namespace).Get(ctx, s.Service, metav1.GetOptions{})
	if err != nil {
		return l, fmt.Errorf("look at the live %s: %w", s.Service, err)
	}
	service, err := s.Client.Core.CoreV1().Services(s.Namespace).Get(ctx, s.Service, metav1.GetOptions{})
	if err != nil {
		return l, fmt.Errorf("look at the live %s: %w", s.Service, err)
	}
	policies, err := s.Client.Core.NetworkingV1().NetworkPolicies(s.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return l, fmt.Errorf("look at the network policies beside %s: %w", s.Service, err)
	}
	ingresses, err := s.Client.Core.NetworkingV1().Ingresses(s.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return l, fmt.Errorf("look at the ingresses beside %s: %w", s.Service, err)
	}
	return workload.Live{Deployment: *d, Service: *service, Policies: policies.Items, Ingresses: ingresses.Items}, nil
}

// Start starts the comparer, which copies the live state, then the candidate and the baseline, and last has the ingress
// copy requests. What it has made is there after an error, too; Abort removes it.
func (s Shadow) Start(ctx context.Context, o Start, report event.Report) error {
	if err := shadow.Check(s.Service); err != nil {
		return err
	}
	live, err := s.live(ctx)
	if err != nil {
		return err
	}
	options := workload.Options{Service: s.Service, CandidateImage: o.Candidate, ComparerImage: o.Comparer, Owner: s.Owner}
	comparer, err := s.comparer(live, options, o.About)
	if err != nil {
		return err
	}
	ingresses, err := workload.Ingresses(live, options)
	if err != nil {
		return err
	}
	if len(ingresses) == 0 && topics.ReadsLive(s.Service) {
		return fmt.Errorf("a shadow of %s compares its answers to requests, and Skipper serves no Ingress of it; give the Ingress the annotation zalando.org/skipper-filter, or try the shadow in a lab with the ingress of its own", s.Service)
	}
	if err := s.claim(ctx, o); err != nil {
		return err
	}
	if topics.Follows(s.Service) {
		report.Doing("copying the live state of %s", s.Service)
	} else {
		report.Doing("starting the comparer of %s", s.Service)
	}
	if err := s.apply(ctx, topics.Comparer(s.Service), comparer, report); err != nil {
		return err
	}
	for _, of := range topics.Sides() {
		objects, err := workload.Side(live, options, of)
		if err != nil {
			return err
		}
		name := topics.Copy(s.Service, of)
		report.Doing("starting %s", name)
		if err := s.apply(ctx, name, objects, report); err != nil {
			return err
		}
	}
	switch {
	case len(ingresses) > 0:
		report.Doing("copying the requests for %s", s.Service)
		return s.apply(ctx, requests(s.Service), ingresses, report)
	case s.Service != mirror.Service: // the gateway mirrors its sockets itself
		report.Warn("Skipper serves no Ingress of %s, so its answers to requests are not compared", s.Service)
	}
	return nil
}

// requests names the part of a shadow by which the ingress copies requests. It comes last and goes first, so that the
// ingress copies to nobody who is not there.
func requests(service string) string { return service + "-requests" }

// comparer gives the comparer's objects with what it is told. more are variables beside.
func (s Shadow) comparer(live workload.Live, o workload.Options, about shadow.About, more ...corev1.EnvVar) ([]runtime.Object, error) {
	objects, err := workload.Comparer(live, o)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(about)
	if err != nil {
		return nil, err
	}
	for _, object := range objects {
		d, ok := object.(*appsv1.Deployment)
		if !ok {
			continue
		}
		spec := &d.Spec.Template.Spec
		c := &spec.Containers[0]
		c.Env = append(c.Env, corev1.EnvVar{Name: "ABOUT", Value: string(text)}, corev1.EnvVar{Name: "TOKEN", ValueFrom: &corev1.EnvVarSource{
			SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: s.recordName()}, Key: tokenKey},
		}})
		c.Env = append(c.Env, more...)
		// What does not fit into memory goes where it is gone with the pod.
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "data", MountPath: "/data"})
	}
	return objects, nil
}

// set names the objects of a part.
func (s Shadow) set(part string) kube.Set {
	return kube.Set{Name: kube.ReleaseSet("shadow", s.Namespace, part), Namespace: s.Namespace, Owner: s.Owner}
}

func (s Shadow) apply(ctx context.Context, part string, objects []runtime.Object, report event.Report) error {
	manifests, err := workload.Manifests(objects)
	if err != nil {
		return err
	}
	if err := s.Client.Apply(ctx, s.set(part), manifests, report); err != nil {
		return fmt.Errorf("start %s: %w", part, err)
	}
	return nil
}

// comparerPort is where the comparer answers.
const comparerPort = 8080

// ask asks the comparer, by way of the cluster's API.
func (s Shadow) ask(ctx context.Context, do func(shadow.Address) error) error {
	r, err := s.read(ctx)
	if err != nil {
		return err
	}
	address, stop, err := s.Client.Forward(ctx, s.Namespace, topics.Comparer(s.Service), comparerPort)
	if err != nil {
		return fmt.Errorf("ask the comparer of the shadow of %s: %w", s.Service, err)
	}
	defer stop()
	return do(shadow.Address{Service: s.Service, URL: "http://" + address, Token: r.Token})
}

// Evidence asks for it.
func (s Shadow) Evidence(ctx context.Context) (e shadow.Evidence, err error) {
	err = s.ask(ctx, func(a shadow.Address) (err error) {
		e, err = a.Evidence(ctx)
		return err
	})
	return e, err
}

// Abort ends the shadow and removes all that it has: first the ingress copies nothing more, then the copies end, then, by
// a comparer that does nothing else, goes what they have in Kafka and in the database, then the comparer. Where it was
// ended half-way it goes on.
func (s Shadow) Abort(ctx context.Context, report event.Report) error {
	r, err := s.read(ctx)
	if err != nil {
		return err
	}
	if err := s.removeCopies(ctx, report); err != nil {
		return err
	}
	report.Doing("removing the topics and databases of the shadow")
	if err := s.clean(ctx, r, report); err != nil {
		return err
	}
	if err := s.remove(ctx, topics.Comparer(s.Service), report); err != nil {
		return err
	}
	err = s.Client.Core.CoreV1().Secrets(s.Namespace).Delete(ctx, s.recordName(), metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove the secret %s: %w", s.recordName(), err)
	}
	return nil
}

// EndExpired removes the copies of a shadow whose lifetime is over. Its comparer and all that was found stay until Abort.
// Nothing in the cluster has the right to do so, so it is called by the commands that look at shadows, and by labctl up.
func (s Shadow) EndExpired(ctx context.Context, now time.Time, report event.Report) error {
	r, err := s.read(ctx)
	if errors.Is(err, ErrNone) {
		return nil
	}
	if err != nil || !r.About.IsOver(now) {
		return err
	}
	return s.removeCopies(ctx, report)
}

// removeCopies removes the candidate and the baseline, and first the way by which requests come to them.
func (s Shadow) removeCopies(ctx context.Context, report event.Report) error {
	if err := s.Client.Delete(ctx, s.set(requests(s.Service)), report); err != nil {
		return fmt.Errorf("stop copying the requests for %s: %w", s.Service, err)
	}
	for _, of := range topics.Sides() {
		name := topics.Copy(s.Service, of)
		report.Doing("stopping %s", name)
		if err := s.remove(ctx, name, report); err != nil {
			return err
		}
	}
	return nil
}

// remove removes the objects of a part, and waits until its pods have ended.
func (s Shadow) remove(ctx context.Context, part string, report event.Report) error {
	if err := s.Client.Delete(ctx, s.set(part), report); err != nil {
		return fmt.Errorf("stop %s: %w", part, err)
	}
	if err := s.Client.DeleteAll(ctx, corev1.SchemeGroupVersion.WithKind("Pod"), s.Namespace, workload.PodsOf(s.Service, part), report); err != nil {
		return fmt.Errorf("stop the pods of %s: %w", part, err)
	}
	return nil
}

// clean has a comparer remove what the copies have left. The one that was at work may be gone, or hang.
func (s Shadow) clean(ctx context.Context, r record, report event.Report) error {
	live, err := s.live(ctx)
	if apierrors.IsNotFound(err) {
		report.Warn("%s itself is gone, so the topics and databases of its shadow stay", s.Service)
		return nil
	}
	if err != nil {
		return err
	}
	o := workload.Options{Service: s.Service, ComparerImage: r.Comparer, Owner: s.Owner}
	objects, err := s.comparer(live, o, r.About, corev1.EnvVar{Name: "ENDING", Value: "1"})
	if err != nil {
		return err
	}
	if err := s.apply(ctx, topics.Comparer(s.Service), objects, report); err != nil {
		return err
	}
	return s.ask(ctx, func(a shadow.Address) error { return a.Clean(ctx) })
}

// All gives the shadows of a namespace.
func All(ctx context.Context, c *kube.Client, namespace string) (services []string, err error) {
	secrets, err := c.Core.CoreV1().Secrets(namespace).List(ctx, metav1.ListOptions{LabelSelector: workload.Label})
	if err != nil {
		return nil, fmt.Errorf("look for shadows in the namespace %s: %w", namespace, err)
	}
	for _, s := range secrets.Items {
		services = append(services, s.Labels[workload.Label])
	}
	return services, nil
}
