package terraform_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/secret"
	"github.com/labctl/labctl/pkg/stack"
	"github.com/labctl/labctl/pkg/terraform"
)

// labDir writes a whole lab and opens it, so that the runner works on what the stack package finds.
type labDir struct{ dir string }

func newLabDir(t *testing.T, files map[string]string) *labDir {
	t.Helper()
	l := &labDir{t.TempDir()}
	l.write(t, "lab.hcl", "lab \"x\" {}\nenvironment \"local\" { target = \"local\" }\n")
	for name, content := range files {
		l.write(t, name, content)
	}
	return l
}

func (l *labDir) path(name string) string { return filepath.Join(l.dir, name) }

func (l *labDir) write(t *testing.T, name, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(l.path(name)), 0o700))
	require.NoError(t, os.WriteFile(l.path(name), []byte(content), 0o600))
}

func (l *labDir) link(t *testing.T, to, name string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(l.path(name)), 0o700))
	require.NoError(t, os.Symlink(to, l.path(name)))
}

func (l *labDir) runner() *terraform.Runner {
	return terraform.New(terraform.Options{
		Dir:  l.path(".lab/local"),
		Find: func(context.Context, event.Report) (string, error) { return exec.LookPath("terraform") },
	})
}

func (l *labDir) request(t *testing.T, id string) stack.RunRequest {
	t.Helper()
	g, err := stack.Open(stack.Options{Dir: l.dir})
	require.NoError(t, err)
	s, err := g.Stack(id)
	require.NoError(t, err)
	return stack.RunRequest{Stack: s, Root: g.Root, Path: g.Path, Secrets: &secret.Set{}, Digest: "digest"}
}

func (l *labDir) apply(t *testing.T, id string) (stack.Changes, error) {
	t.Helper()
	return l.runner().Apply(t.Context(), l.request(t, id), nil)
}

func (l *labDir) output(t *testing.T, id, name string) string {
	t.Helper()
	st, err := stack.ReadState(terraform.StateFile(l.path(".lab/local"), id))
	require.NoError(t, err)
	text, err := stack.Text(st.Outputs[name])
	require.NoError(t, err)
	return text
}

const module = "resource \"terraform_data\" \"m\" { input = \"shared\" }\noutput \"text\" { value = terraform_data.m.output }\n"

// Whatever terraform finds from a stack's directory it finds from the mirror, and what it writes is where it would be.
func TestWhatWorksInTheDirectoryWorksInTheMirror(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files map[string]string
		links map[string]string // name → to
		modes map[string]os.FileMode
		want  string            // output "text"
		after map[string]string // files that are there then, with their content
	}{
		{name: "relative module", want: "shared", files: map[string]string{
			"modules/n/main.tf":          "module \"m\" { source = \"../m\" }\noutput \"text\" { value = module.m.text }\n",
			"modules/m/main.tf":          module,
			"stacks/local/0-net/main.tf": "module \"n\" { source = \"../../../modules/n\" }\noutput \"text\" { value = module.n.text }\n",
		}},
		{name: "file outside", want: "hello", files: map[string]string{
			"notice.txt":                 "hello",
			"stacks/local/0-net/main.tf": "output \"text\" { value = file(\"${path.module}/../../../notice.txt\") }\n",
		}},
		{name: "file of another stack", want: "hello", files: map[string]string{
			"stacks/local/1-app/notice.txt": "hello", "stacks/local/1-app/main.tf": "",
			"stacks/local/0-net/main.tf": "output \"text\" { value = file(\"../1-app/notice.txt\") }\n",
		}},
		{name: "link to a directory", want: "shared", files: map[string]string{
			"modules/n/main.tf":          module,
			"stacks/local/0-net/main.tf": "module \"n\" { source = \"./modules/n\" }\noutput \"text\" { value = module.n.text }\n",
		}, links: map[string]string{"stacks/local/0-net/modules": "../../../modules"}},
		{name: "link to a file", want: "one", files: map[string]string{
			"shared/common.tf":           "locals { text = \"one\" }\n",
			"stacks/local/0-net/main.tf": "output \"text\" { value = local.text }\n",
		}, links: map[string]string{"stacks/local/0-net/common.tf": "../../../shared/common.tf"}},
		{name: "linked stack", want: "hello", files: map[string]string{
			"shared/notice.txt":     "hello",
			"shared/net/main.tf":    "output \"text\" { value = file(\"../notice.txt\") }\n",
			"stacks/local/1-x/a.tf": "",
		}, links: map[string]string{"stacks/local/0-net": "../../shared/net"}},
		{name: "script with its run bit", want: "x", files: map[string]string{
			"stacks/local/0-net/scripts/run.sh": "#!/bin/sh\nprintf made >\"$(dirname \"$0\")/../made.txt\"\n",
			"stacks/local/0-net/main.tf":        "resource \"terraform_data\" \"a\" {\n  provisioner \"local-exec\" { command = \"${path.module}/scripts/run.sh\" }\n}\noutput \"text\" { value = \"x\" }\n",
		}, modes: map[string]os.FileMode{"stacks/local/0-net/scripts/run.sh": 0o755}, after: map[string]string{".lab/local/stacks/0-net/made.txt": "made"}},
		{name: "files of variables", want: "three", files: map[string]string{
			"stacks/local/0-net/main.tf":          "variable \"text\" { type = string }\noutput \"text\" { value = var.text }\n",
			"stacks/local/0-net/terraform.tfvars": "text = \"one\"\n", "stacks/local/0-net/a.auto.tfvars": "text = \"two\"\n",
			"stacks/local/0-net/b.auto.tfvars.json": "{\"text\": \"three\"}",
		}},
		{name: "an editor's lock link and a plan file", want: "x", files: map[string]string{
			"stacks/local/0-net/main.tf": "output \"text\" { value = \"x\" }\n", "stacks/local/0-net/old.tfplan": "PK",
		}, links: map[string]string{"stacks/local/0-net/.#main.tf": "ada@host.42"}},
		{name: "what is written outside lands in the source", want: "x", files: map[string]string{
			"stacks/local/0-net/main.tf": "resource \"terraform_data\" \"a\" {\n  provisioner \"local-exec\" { command = \"printf made >../../../made.txt\" }\n}\noutput \"text\" { value = \"x\" }\n",
		}, after: map[string]string{"made.txt": "made"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLabDir(t, tc.files)
			for name, to := range tc.links {
				l.link(t, to, name)
			}
			for name, mode := range tc.modes {
				require.NoError(t, os.Chmod(l.path(name), mode))
			}
			before := map[string]string{}
			for name := range tc.files {
				data, err := os.ReadFile(l.path(name))
				require.NoError(t, err)
				before[name] = string(data)
			}
			for range 2 { // a second run finds the links of the first
				_, err := l.apply(t, "0-net")
				require.NoError(t, err)
			}
			require.Equal(t, tc.want, l.output(t, "0-net", "text"))
			for name, want := range tc.after {
				data, err := os.ReadFile(l.path(name))
				require.NoError(t, err)
				require.Equal(t, want, string(data), name)
			}
			for name, want := range before {
				info, err := os.Lstat(l.path(name))
				require.NoError(t, err)
				require.True(t, info.Mode().IsRegular(), "%s is still the source's own", name)
				data, err := os.ReadFile(l.path(name))
				require.NoError(t, err)
				require.Equal(t, want, string(data), name)
			}
		})
	}
}

// A stack whose directory is reached by a link of the mirror must not be linked onto itself.
func TestALinkedStackIsNotWorkedOnThroughAnotherMirrorLink(t *testing.T) {
	l := newLabDir(t, map[string]string{
		"shared/1-db/main.tf":        "output \"text\" { value = \"db\" }\n",
		"stacks/local/0-net/main.tf": "output \"text\" { value = \"net\" }\n",
	})
	l.link(t, "../../shared/1-db", "stacks/local/1-db")
	for _, id := range []string{"0-net", "1-db", "0-net"} { // 0-net's mirror links shared/
		_, err := l.apply(t, id)
		require.NoError(t, err)
	}
	require.Equal(t, "db", l.output(t, "1-db", "text"))
	info, err := os.Lstat(l.path("shared/1-db/main.tf"))
	require.NoError(t, err)
	require.True(t, info.Mode().IsRegular())
	entries, err := os.ReadDir(l.path("shared/1-db"))
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing is written into the source")
}

// Sockets and pipes in a stack's directory are no business of terraform's.
func TestASocketDoesNotMatter(t *testing.T) {
	l := newLabDir(t, map[string]string{"stacks/local/0-net/main.tf": "output \"text\" { value = \"x\" }\n"})
	t.Chdir(l.path("stacks/local/0-net")) // a socket's path is short
	socket, err := net.Listen("unix", "s")
	require.NoError(t, err)
	defer socket.Close() //nolint:errcheck // it goes with the directory
	_, err = l.apply(t, "0-net")
	require.NoError(t, err)
}

// A state without a stack is destroyed by the files that it was applied with, modules included, whatever became of them in the source.
func TestAStackIsDestroyedByWhatItWasAppliedWith(t *testing.T) {
	l := newLabDir(t, map[string]string{
		"modules/n/main.tf":          "resource \"terraform_data\" \"m\" {\n  input = abspath(\"${path.root}/../../../../../../gone\")\n  provisioner \"local-exec\" {\n    when    = destroy\n    command = \"echo gone >> ../../../../../../../gone\"\n  }\n}\n",
		"stacks/local/0-net/main.tf": "module \"n\" { source = \"../../../modules/n\" }\n",
	})
	_, err := l.apply(t, "0-net")
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(l.path("stacks/local/0-net")))
	require.NoError(t, os.RemoveAll(l.path("modules")))
	l.write(t, "stacks/local/1-x/main.tf", "")

	r := l.runner()
	records, err := r.Records("")
	require.NoError(t, err)
	require.Equal(t, []stack.Record{{ID: "0-net", Resources: 1}}, records)
	s, err := r.Applied("0-net")
	require.NoError(t, err)
	w := l.request(t, "1-x")
	w.Stack = s
	changes, err := r.Destroy(t.Context(), w, nil)
	require.NoError(t, err)
	require.Equal(t, 1, changes.Destroyed)
	records, err = r.Records("")
	require.NoError(t, err)
	require.Empty(t, records)
}

// Labs that an earlier labctl brought up have their states in directories of copies.
func TestAnEarlierLayoutIsTakenOver(t *testing.T) {
	l := newLabDir(t, map[string]string{"stacks/local/0-net/main.tf": "resource \"terraform_data\" \"a\" {}\noutput \"text\" { value = \"x\" }\n"})
	_, err := l.apply(t, "0-net")
	require.NoError(t, err)
	state, err := os.ReadFile(terraform.StateFile(l.path(".lab/local"), "0-net"))
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(l.path(".lab")))
	for name, content := range map[string]string{"main.tf": "# a copy", "gone.tf": "resource \"terraform_data\" \"gone\" {}", "labctl.auto.tfvars.json": "{}", "terraform.tfstate": string(state)} {
		l.write(t, ".lab/local/stacks/0-net/"+name, content)
	}
	changes, err := l.apply(t, "0-net")
	require.NoError(t, err)
	require.False(t, changes.Any(), "the state is known, and copies of files that are gone do not count")
}
