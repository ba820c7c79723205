package e2e

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// asker is a pod of which each container asks one URL, as `helm test` does.
type asker struct {
	name, namespace, node string
	labels                map[string]string
	urls                  []string
}

// start starts the pod.
func (a asker) start(l *testLab) {
	l.t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: a.name, Namespace: a.namespace, Labels: a.labels},
		Spec: corev1.PodSpec{
			NodeName: a.node, RestartPolicy: corev1.RestartPolicyNever, AutomountServiceAccountToken: new(false),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: new(true), RunAsUser: new(int64(65532)), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
		},
	}
	for i, url := range a.urls {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{
			Name: "asks-" + string(rune('a'+i)), Image: l.image("auth"), Args: []string{"-check", url},
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
		})
	}
	_, err := l.kube().Core.CoreV1().Pods(a.namespace).Create(l.t.Context(), pod, metav1.CreateOptions{})
	require.NoError(l.t, err)
	l.t.Cleanup(func() {
		_ = l.kube().Core.CoreV1().Pods(a.namespace).Delete(context.Background(), a.name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}) // the lab goes, too
	})
}

// answers waits until the pod has ended, and gives what it said by URL; "" is an answer of 200.
func (a asker) answers(l *testLab) map[string]string {
	l.t.Helper()
	pods := l.kube().Core.CoreV1().Pods(a.namespace)
	var pod *corev1.Pod
	require.Eventually(l.t, func() bool {
		var err error
		pod, err = pods.Get(l.t.Context(), a.name, metav1.GetOptions{})
		return err == nil && (pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed)
	}, 2*time.Minute, 100*time.Millisecond, "pod %s/%s does not end", a.namespace, a.name)
	said := map[string]string{}
	for i, c := range pod.Spec.Containers {
		log, err := pods.GetLogs(a.name, &corev1.PodLogOptions{Container: c.Name}).DoRaw(l.t.Context())
		require.NoError(l.t, err)
		said[a.urls[i]] = string(bytes.TrimSpace(log))
	}
	return said
}

// address is that of a service, so that no name service is needed.
func (l *testLab) address(namespace, service string) string {
	l.t.Helper()
	s, err := l.kube().Core.CoreV1().Services(namespace).Get(l.t.Context(), service, metav1.GetOptions{})
	require.NoError(l.t, err)
	return "http://" + s.Spec.ClusterIP
}

// closed tries the ways that no policy opens, and one that a policy does, by pods that differ in nothing else. What helm's
// tests ask, and the chat itself, go by the others.
func (l *testLab) closed(t *testing.T) {
	auth, groups, kafka, mongodb := l.address("chat", "auth")+":8081/readyz", l.address("chat", "groups")+":8081/readyz", l.address("data", "kafka")+":9092/", l.address("data", "mongodb")+":27017/"
	let := asker{name: "let", namespace: "chat", labels: map[string]string{"app.kubernetes.io/name": "chat-test"}, urls: []string{auth, groups}}
	refused := []asker{
		{name: "of-another-namespace", namespace: "default", urls: []string{auth, groups, l.address("chat", "auth") + ":8080/", kafka, mongodb, l.address("data", "mongodb") + ":8081/readyz"}},
		{name: "of-no-part", namespace: "chat", urls: []string{auth, groups, l.address("chat", "auth") + ":8080/"}},
		// Of the chat, but none of its parts: nothing lets it out.
		{
			name: "of-the-chat", namespace: "chat", labels: map[string]string{"app.kubernetes.io/part-of": "chat"},
			urls: []string{auth, kafka, mongodb, l.address("ingress", "ingress"), l.address("default", "kubernetes") + ":443/"},
		},
	}
	for _, a := range append(refused, let) {
		a.start(l)
	}
	for url, said := range let.answers(l) {
		require.Empty(t, said, url)
	}
	for _, a := range refused {
		for url, said := range a.answers(l) {
			require.Contains(t, said, "connection refused", "%s asks %s", a.name, url)
		}
	}
}
