package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/chart"
	"github.com/labctl/labctl/pkg/doctor"
	"github.com/labctl/labctl/pkg/gobuild"
	"github.com/labctl/labctl/pkg/kube"
	"github.com/labctl/labctl/pkg/lab"
	"github.com/labctl/labctl/pkg/stack"
)

func TestLine(t *testing.T) {
	prod := &Factory{Program: "bin/labctl", Env: "prod", File: "my lab/lab.hcl", Args: []string{"up", "-e", "prod", "--file", "my lab/lab.hcl", "2-databases"}}
	for name, tc := range map[string]struct {
		f             *Factory
		command, want string
	}{
		"nothing chosen":   {&Factory{}, "labctl up", "labctl up"},
		"the default":      {&Factory{Env: "local"}, "labctl up", "labctl up"},
		"program":          {&Factory{Program: "bin/labctl", Env: "local"}, "labctl up", "bin/labctl up"},
		"environment":      {&Factory{Env: "prod"}, "labctl up   (labctl up can be repeated)", "labctl up -e prod   (labctl up can be repeated)"},
		"an odd name":      {&Factory{Env: "it's prod"}, "labctl up", `labctl up -e 'it'\''s prod'`},
		"file":             {prod, "labctl logs auth", "bin/labctl logs -e prod --file 'my lab/lab.hcl' auth"},
		"two words":        {&Factory{Env: "prod"}, "labctl cluster status", "labctl cluster status -e prod"},
		"named already":    {&Factory{Env: "prod"}, "labctl down -e prod --confirm prod", "labctl down -e prod --confirm prod"},
		"inside another":   {&Factory{Env: "prod"}, `labctl logs a   (or: kubectl --kubeconfig "$(labctl kubeconfig --path)" get po)`, `labctl logs -e prod a   (or: kubectl --kubeconfig "$(labctl kubeconfig -e prod --path)" get po)`},
		"help":             {prod, "labctl up --help", "bin/labctl up --help"},
		"dev":              {&Factory{Env: "prod"}, "labctl dev", "labctl dev"},
		"another program":  {prod, "make dev   (builds labctl up to date)", "make dev   (builds labctl up to date)"},
		"the same":         {prod, SameCommand + "   (afterwards)", "bin/labctl up -e prod --file 'my lab/lab.hcl' 2-databases   (afterwards)"},
		"the same by root": {prod, "sudo " + SameCommand, "sudo bin/labctl up -e prod --file 'my lab/lab.hcl' 2-databases"},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, tc.want, tc.f.Line(tc.command)) })
	}
}

func TestAgainWithout(t *testing.T) {
	f := &Factory{Args: []string{"down", "--confirm", "local", "--confirm=test", "--only", "a b", "--", "--confirm", "x"}}
	require.Equal(t, "labctl down --only 'a b' -- --confirm x", f.Again("confirm"))
}

func TestQuotedWordsSurviveAShell(t *testing.T) {
	for _, word := range []string{"plain", "", "a b", "it's", `"$HOME"`, "`id`", "a\nb", "*", "~"} {
		out, err := exec.Command("sh", "-c", "printf %s "+Quote(word)).Output()
		require.NoError(t, err)
		require.Equal(t, word, string(out))
	}
}

// TestAdviceFitsTheError goes through the errors of the packages below, each of `up -e prod 5-release`.
func TestAdviceFitsTheError(t *testing.T) {
	const again = "labctl up -e prod 5-release"
	f := &Factory{Env: "prod", Args: []string{"up", "-e", "prod", "5-release"}}
	notReady := func(names ...string) error {
		e := &doctor.NotReadyError{}
		for _, name := range names {
			e.Missing = append(e.Missing, doctor.Finding{Name: name, Need: "x"})
		}
		return e
	}
	for name, tc := range map[string]struct {
		err  error
		next []string
	}{
		"does not compile": {&gobuild.Error{Name: "auth", Cause: errors.New("exit status 1"), Lines: []string{"main.go:1: x"}}, []string{again + "   (after correcting it)"}},
		"no module proxy":  {&gobuild.Error{Name: "auth", Cause: gobuild.ErrNetwork}, []string{again + "   (afterwards)"}},
		"no Go":            {gobuild.ErrNoGo, []string{again + "   (afterwards)"}},
		"configuration":    {&stack.ConfigError{}, []string{"labctl validate -e prod   (after correcting it)"}},
		"no root":          {notReady("root", "runc"), []string{"sudo " + again, "labctl dev   (it needs neither root nor Kubernetes)"}},
		"no runc":          {notReady("runc"), []string{again + "   (afterwards)"}},
		"not up":           {lab.ErrNotUp, []string{"labctl up -e prod"}},
		"pod does not start": {&kube.NotReadyError{Workload: "deployment/auth", Namespace: "chat"}, []string{
			`labctl logs -e prod auth   (or: labctl -e prod kubectl -n chat describe deployment/auth)`}},
		"API does not answer": {&chart.UnreachableError{Host: "h", Err: errors.New("x")}, []string{"labctl status -e prod"}},
		"usage":               {Usagef("labctl up", "x"), []string{"labctl up --help"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := Explain(fmt.Errorf("outer: %w", tc.err))
			var got []string
			for _, next := range e.Next {
				got = append(got, f.Line(next))
			}
			require.Equal(t, tc.next, got)
		})
	}
}

func TestPrintNamesTheChosenLabInTheTextToo(t *testing.T) {
	var b bytes.Buffer
	Print(&b, &Error{What: "x", Err: errors.New("run `labctl up`, or sudo labctl up\nTo look closer: labctl exec 1-net -- plan\nnote: labctl is old"), Next: []string{"labctl up", SameCommand}},
		&Factory{Env: "prod", Args: []string{"up", "-e", "prod"}}, false)
	require.Equal(t, "error: x\n  run `labctl up -e prod`, or sudo labctl up -e prod\n  To look closer: labctl exec -e prod 1-net -- plan\n  note: labctl is old\nnext:  labctl up -e prod\n", b.String(), "the same advice is given once")
}
