package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// Forward gives an address on this machine's loopback that leads to a service's port, by way of the API and one of the service's
// ready pods. It ends with stop, or with the pod; port is the service's.
func (c *Client) Forward(ctx context.Context, namespace, service string, port int32) (address string, stop func(), err error) {
	pod, target, err := c.behind(ctx, namespace, service, port)
	if err == nil {
		address, stop, err = c.ForwardPod(ctx, namespace, pod, target)
	}
	if err != nil {
		return "", nil, fmt.Errorf("reach service %s in namespace %s: %w", service, namespace, err)
	}
	return address, stop, nil
}

// ForwardPod is Forward to a pod's own port.
func (c *Client) ForwardPod(ctx context.Context, namespace, pod string, port int32) (address string, stop func(), err error) {
	transport, upgrader, err := spdy.RoundTripperFor(c.Config)
	if err != nil {
		return "", nil, err
	}
	url := c.Core.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name(pod).SubResource("portforward").URL()
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	stopping, ready, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var said strings.Builder // read when all has ended
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)}, stopping, ready, io.Discard, &said)
	if err != nil {
		return "", nil, err
	}
	var failure error // known when it has ended
	go func() {
		failure = forwarder.ForwardPorts()
		close(ended)
	}()
	end := sync.OnceFunc(func() {
		close(stopping)
		<-ended
	})
	select {
	case <-ready:
	case <-ended:
		return "", nil, fmt.Errorf("reach pod %s: %w %s", pod, failure, said.String())
	case <-ctx.Done():
		end()
		return "", nil, fmt.Errorf("reach pod %s: %w", pod, ctx.Err())
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		end()
		return "", nil, err
	}
	return fmt.Sprintf("127.0.0.1:%d", ports[0].Local), end, nil
}

// behind finds a ready pod of a service, and the number of the pod's port.
func (c *Client) behind(ctx context.Context, namespace, service string, port int32) (pod string, target int32, err error) {
	s, err := c.Core.CoreV1().Services(namespace).Get(ctx, service, metav1.GetOptions{})
	if err != nil {
		return "", 0, err
	}
	if len(s.Spec.Selector) == 0 {
		return "", 0, errors.New("it selects no pods")
	}
	var to *intstr.IntOrString
	for _, p := range s.Spec.Ports {
		if p.Port == port {
			to = &p.TargetPort
		}
	}
	if to == nil {
		return "", 0, fmt.Errorf("it has no port %d", port)
	}
	pods, err := c.Core.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(s.Spec.Selector).String()})
	if err != nil {
		return "", 0, err
	}
	why := "it has none"
	for _, p := range pods.Items {
		if p.DeletionTimestamp != nil {
			continue
		}
		reason := WhyNotReady(&p)
		if reason == "" {
			number, err := containerPort(&p, *to)
			return p.Name, number, err
		}
		why = "pod " + p.Name + ": " + reason
	}
	return "", 0, fmt.Errorf("no pod of it is ready: %s", why)
}

func containerPort(p *corev1.Pod, port intstr.IntOrString) (int32, error) {
	if port.Type == intstr.Int {
		return port.IntVal, nil
	}
	return ContainerPort(p, port.StrVal)
}

// ContainerPort gives the number of a pod's port of that name.
func ContainerPort(p *corev1.Pod, name string) (int32, error) {
	for _, c := range p.Spec.Containers {
		for _, have := range c.Ports {
			if have.Name == name {
				return have.ContainerPort, nil
			}
		}
	}
	return 0, fmt.Errorf("pod %s has no port %s", p.Name, name)
}
