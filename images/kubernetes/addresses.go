package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// addresses are those of pods that the API does not tell yet. The kubelet tells the API a pod's address once its containers
// run, a second after they could have connected to something; the CNI plugin of each node (pkg/cluster/node/plugin.go)
// announces it before.
type addresses struct {
	mu    sync.Mutex
	known map[string]announcement // by namespace/name
}

// announcement is a line of JSON, and the answer a line: "ok", or what is wrong.
type announcement struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	IP        string `json:"ip"`
	HostIP    string `json:"hostIP"` // the pod's node
}

func (a announcement) key() string { return a.Namespace + "/" + a.Name }

func (a *addresses) set(one announcement) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known[one.key()] = one
}

// with gives the pod with the address that it was announced to have, where the API does not say so. Others are given as they are.
func (a *addresses) with(obj any) any {
	pod, ok := obj.(*v1.Pod)
	if !ok {
		return obj
	}
	a.mu.Lock()
	one, ok := a.known[pod.Namespace+"/"+pod.Name]
	a.mu.Unlock()
	if !ok || pod.Status.PodIP == one.IP {
		return obj
	}
	pod = pod.DeepCopy() // the informer's is everybody's
	pod.Status.PodIP, pod.Status.PodIPs = one.IP, []v1.PodIP{{IP: one.IP}}
	pod.Status.HostIP = one.HostIP
	return pod
}

// forget drops what the API tells by now, and pods that are gone.
func (a *addresses) forget() cache.ResourceEventHandler {
	drop := func(obj any, is func(*v1.Pod, announcement) bool) {
		if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = gone.Obj
		}
		pod, ok := obj.(*v1.Pod)
		if !ok {
			return
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if one, ok := a.known[pod.Namespace+"/"+pod.Name]; ok && is(pod, one) {
			delete(a.known, one.key())
		}
	}
	told := func(pod *v1.Pod, one announcement) bool { return pod.Status.PodIP == one.IP }
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { drop(obj, told) },
		UpdateFunc: func(_, obj any) { drop(obj, told) },
		DeleteFunc: func(obj any) { drop(obj, func(*v1.Pod, announcement) bool { return true }) },
	}
}

// overlaid is an informer of pods whose index knows the announced addresses, too.
type overlaid struct {
	cache.SharedIndexInformer
	addresses *addresses
}

func (o overlaid) GetIndexer() cache.Indexer {
	return overlay{o.SharedIndexInformer.GetIndexer(), o.addresses}
}

type overlay struct {
	cache.Indexer
	addresses *addresses
}

// List and Index are all that the policies' controller and client-go's listers ask.
func (o overlay) List() []any { return o.each(o.Indexer.List()) }

func (o overlay) Index(name string, obj any) ([]any, error) {
	all, err := o.Indexer.Index(name, obj)
	return o.each(all), err
}

func (o overlay) each(all []any) []any {
	out := make([]any, len(all))
	for i, obj := range all {
		out[i] = o.addresses.with(obj)
	}
	return out
}

// syncs tells when the rules are those of a moment. The controller says of each round only that it begins, and a round that
// had begun before the moment may not know of it: so it is the beginning of the second round from then that says so.
type syncs struct {
	request func()
	mu      sync.Mutex
	begun   int
	changed chan struct{} // closed with the next beginning
}

func (s *syncs) begins() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun++
	close(s.changed)
	s.changed = make(chan struct{})
}

// await returns once the rules are at least those of now.
func (s *syncs) await(ctx context.Context) error {
	s.mu.Lock()
	target := s.begun + 2
	s.mu.Unlock()
	for {
		s.mu.Lock()
		begun, changed := s.begun, s.changed
		s.mu.Unlock()
		if begun >= target {
			return nil
		}
		s.request()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// serveAnnouncements takes announcements from the socket, and answers each once it is in force. ready is closed when the
// controller runs.
func serveAnnouncements(ctx context.Context, socket string, known *addresses, ready <-chan struct{}, inForce func(context.Context) error) error {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) { // of an earlier run
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = l.Close() }) // ends the loop
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				if ctx.Err() == nil {
					klog.ErrorS(err, "no more addresses of pods are heard of")
				}
				return
			}
			go func() {
				defer conn.Close()
				answer := "ok"
				if err := hear(ctx, conn, known, ready, inForce); err != nil {
					answer = err.Error()
				}
				_, _ = fmt.Fprintln(conn, answer) // who asked may be gone
			}()
		}
	}()
	return nil
}

func hear(ctx context.Context, conn net.Conn, known *addresses, ready <-chan struct{}, inForce func(context.Context) error) error {
	line, err := bufio.NewReader(conn).ReadBytes('\n')
	if err != nil {
		return err
	}
	var one announcement
	if err := json.Unmarshal(line, &one); err != nil {
		return err
	}
	if net.ParseIP(one.IP) == nil || net.ParseIP(one.HostIP) == nil || one.Namespace == "" || one.Name == "" {
		return fmt.Errorf("%q tells no pod's address", line)
	}
	known.set(one)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-ready:
	}
	return inForce(ctx)
}

// withoutManagedFields makes less of what an informer keeps.
func withoutManagedFields(obj any) (any, error) {
	if accessor, err := meta.Accessor(obj); err == nil {
		accessor.SetManagedFields(nil)
	}
	return obj, nil
}
