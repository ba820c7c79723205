package logs

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/iostreams"
)

func pod(name, service string) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "chat", Labels: map[string]string{nameLabel: service}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main"}}},
	}
}

func TestShow(t *testing.T) {
	pods := []corev1.Pod{pod("auth-1", "auth"), pod("gateway-1", "gateway"), pod("gateway-2", "gateway")}
	for name, tc := range map[string]struct {
		service string
		pods    []corev1.Pod
		out     []string
		err     string
	}{
		"one pod":     {"auth", pods, []string{"fake logs"}, ""},
		"two pods":    {"gateway", pods, []string{"gateway-1  fake logs", "gateway-2  fake logs"}, ""},
		"none such":   {"aut", pods, nil, `there is no service "aut"; there are auth, gateway`},
		"none at all": {"auth", nil, nil, `the lab has no pods, so "auth" has no logs`},
	} {
		t.Run(name, func(t *testing.T) {
			streams, out, _ := iostreams.Test()
			opts := &Options{Factory: &cli.Factory{IO: streams}, Service: tc.service, Lines: 10}
			err := show(t.Context(), opts, found{core: fake.NewClientset(), pods: tc.pods})
			if tc.err != "" {
				require.EqualError(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			require.ElementsMatch(t, tc.out, strings.Split(strings.TrimSpace(out.String()), "\n"))
		})
	}
}

func TestFlags(t *testing.T) {
	streams, _, _ := iostreams.Test()
	var got *Options
	cmd := NewCmdLogs(&cli.Factory{IO: streams}, func(o *Options) error { got = o; return nil })
	cmd.SetArgs([]string{"auth", "-f", "-n", "7", "--previous"})
	require.NoError(t, cmd.Execute())
	require.Equal(t, Options{Factory: got.Factory, Service: "auth", Follow: true, Previous: true, Lines: 7}, *got)
}
