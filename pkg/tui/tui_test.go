package tui

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"
	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/status"
	"github.com/labctl/labctl/test/golden"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func is(state status.State, d time.Duration, reason, next string) status.Condition {
	return status.Condition{State: state, Since: noon.Add(-d), Reason: reason, Next: next}
}

// sick is a lab of which some parts are not well.
func sick() *status.Snapshot {
	step := func(name string, c status.Condition) status.Step {
		return status.Step{Name: "5-release/" + name, Stack: "5-release", Condition: c}
	}
	pod := func(name string, c status.Condition, restarts int32) status.Pod {
		return status.Pod{Name: name, Condition: c, Node: "demo-1", Restarts: restarts}
	}
	crash := "container main ended 3 times, last with exit code 2 (Error)"
	well := is(status.Up, 3*time.Hour, "", "")
	return &status.Snapshot{
		Version: 1, Lab: "demo", Environment: "local", Target: "local", At: noon, State: status.Partial,
		Problems: []string{
			"5-release/release chat failed: deployment/auth is not ready", "kubelet is not running: exit code 1",
			"deployment/auth in namespace chat is not ready: " + crash, "releases: no answer in time",
		},
		Next: "labctl up",
		URLs: []status.URL{{Name: "chat", Address: "http://127.0.0.1:8080"}},
		Stacks: []status.Stack{
			{ID: "0-foundation", Condition: well, Detail: "1 added", Steps: []status.Step{{Name: "0-foundation", Stack: "0-foundation", Condition: well, Detail: "1 added"}}},
			{ID: "5-release", Condition: is(status.Failed, 10*time.Minute, "release chat", "labctl up"), Steps: []status.Step{
				step("image auth", is(status.Up, 12*time.Minute, "", "")), step("release chat", is(status.Failed, 10*time.Minute, "deployment/auth is not ready", "labctl up")),
			}},
		},
		Cluster: status.Cluster{
			Declared: true, Condition: well, Version: "v1.33.6", MemoryBytes: 1288490188,
			Components: []status.Component{{Name: "etcd", Condition: well}, {Name: "apiserver", Condition: well}, {Name: "kubelet", Condition: is(status.Down, 45*time.Second, "exit code 1", "labctl cluster start"), Restarts: 2}},
			Nodes:      []status.Node{{Name: "demo-1", Condition: well, Version: "v1.33.6"}},
		},
		Namespaces: []status.Namespace{
			{Name: "chat", Workloads: []status.Workload{
				{Kind: status.KindDeployment, Name: "auth", Condition: is(status.Down, 3*time.Hour, crash, "labctl logs auth"), Desired: 1, Restarts: 3, Pods: []status.Pod{pod("auth-1", is(status.Partial, time.Minute, crash, ""), 3)}},
				{Kind: status.KindDeployment, Name: "gateway", Condition: well, Ready: 2, Desired: 2, Pods: []status.Pod{pod("gateway-1", well, 0), pod("gateway-2", well, 11)}},
			}},
			{Name: "databases", Workloads: []status.Workload{{Kind: status.KindStatefulSet, Name: "kafka", Condition: well, Ready: 1, Desired: 1, Pods: []status.Pod{pod("kafka-0", well, 2)}}}},
		},
		Applications: []status.Application{{Name: "chat", Condition: is(status.Working, time.Minute, "progressing", "labctl gitops status"), Sync: "Synced", Health: "Progressing", Revision: "0123456789abcdef"}},
		Services: []status.Service{
			{Namespace: "chat", Name: "gateway", Condition: well, Pods: 2, Flows: []status.Flow{{Name: "requests", PerSecond: 1.25}, {Name: "frames", PerSecond: 812}}, P50: 0.0021, P99: 0.084, History: []float64{0, 100, 400, 813.25}},
			{Namespace: "chat", Name: "auth", Condition: is(status.Unknown, time.Minute, "connection refused", "")},
		},
		Groups:  []status.Group{{Name: "messaging", Condition: well, Members: 1, Lag: 12, Topics: []string{"messages"}, History: []float64{3, 12}}},
		Shadows: []status.Shadow{{Service: "messaging", Condition: is(status.Working, time.Hour, "inconclusive: about 900 more results are needed", "labctl shadow status messaging"), Version: "1a2b3c4", Verdict: "inconclusive", Samples: 2100, Remaining: 900, Agreement: 0.9995}},
		Events: []status.Event{
			{Namespace: "chat", Name: "auth-1.1", Kind: status.KindPod, Object: "auth-1", Warning: true, Reason: "BackOff", Text: "Back-off restarting failed container main", Count: 12, At: noon.Add(-20 * time.Second)},
			{Name: "demo-1.1", Kind: status.KindNode, Object: "demo-1", Reason: "Starting", Text: "Starting kubelet.", Count: 1, At: noon.Add(-time.Hour)},
		},
		Sources: []status.Source{{Name: "journal", Condition: well}, {Name: "releases", Condition: is(status.Unknown, 5*time.Second, "releases: no answer in time", "")}},
	}
}

// screen is a model with a size and a snapshot, without a terminal.
type screen struct {
	*Model
	t    *testing.T
	quit bool
}

func open(t *testing.T, width, height int, color bool, s *status.Snapshot) *screen {
	t.Helper()
	o := Options{Out: io.Discard, Color: color, Now: func() time.Time { return noon }, Open: func(_ context.Context, what Ask, p status.Part) (io.ReadCloser, error) {
		if p.Name == "gateway" {
			return nil, errors.New("the API does not answer")
		}
		return io.NopCloser(strings.NewReader(fmt.Sprintf("%s\nof %s\n\x1b[31mred\x1b[0m\tline\x07\b\n", what, p))), nil
	}}
	m := &screen{Model: New(t.Context(), o), t: t}
	m.send(tea.WindowSizeMsg{Width: width, Height: height})
	if s != nil {
		m.Update(snapshotMsg{s}) // without its command, which waits for the next one
	}
	return m
}

// send has the model take a message, and all that follows from it.
func (s *screen) send(msg tea.Msg) {
	for msg != nil {
		_, cmd := s.Update(msg)
		if cmd == nil {
			return
		}
		msg = cmd()
		if _, s.quit = msg.(tea.QuitMsg); s.quit {
			return
		}
	}
}

// press types keys, each a name such as "enter" or one rune.
func (s *screen) press(keys ...string) *screen {
	named := map[string]tea.KeyType{"enter": tea.KeyEnter, "esc": tea.KeyEsc, "up": tea.KeyUp, "down": tea.KeyDown, "tab": tea.KeyTab, "ctrl+c": tea.KeyCtrlC, "end": tea.KeyEnd, "pgdown": tea.KeyPgDown}
	for _, k := range keys {
		if code, ok := named[k]; ok {
			s.send(tea.KeyMsg{Type: code})
			continue
		}
		for _, r := range k {
			s.send(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune{r}})
		}
	}
	return s
}

// lines gives the screen, each line without what fills it.
func (s *screen) lines() []string {
	lines := strings.Split(ansi.Strip(s.View()), "\n")
	require.Len(s.t, lines, s.height)
	for i, l := range lines {
		require.LessOrEqual(s.t, ansi.StringWidth(l), s.width, l)
		lines[i] = strings.TrimRight(l, " ")
	}
	return lines
}

func (s *screen) text() string { return strings.Join(s.lines(), "\n") + "\n" }

// to moves the cursor down to a row that holds a text.
func (s *screen) to(text string) *screen {
	s.t.Helper()
	for range s.height {
		if strings.Contains(s.here(), text) {
			return s
		}
		s.press("down")
	}
	require.FailNow(s.t, "no row has "+text, s.text())
	return s
}

// here gives the line under the cursor.
func (s *screen) here() string {
	for _, l := range s.lines() {
		if strings.HasPrefix(l, "›") {
			return l
		}
	}
	return ""
}

func TestFrames(t *testing.T) {
	for name, size := range map[string][2]int{"80x24": {80, 24}, "200x60": {200, 60}} {
		golden.Equal(t, "overview-"+name+".txt", open(t, size[0], size[1], false, sick()).text())
		golden.Equal(t, "overview-"+name+".ansi", open(t, size[0], size[1], true, sick()).View()+"\n")
		golden.Equal(t, "help-"+name+".txt", open(t, size[0], size[1], false, sick()).press("?").text())
		golden.Equal(t, "problems-"+name+".txt", open(t, size[0], size[1], false, sick()).press(":pro", "enter").text())
		golden.Equal(t, "pods-"+name+".txt", open(t, size[0], size[1], false, sick()).press(":pods", "enter").text())
		for _, table := range []string{"applications", "services", "groups", "shadows", "events"} {
			golden.Equal(t, table+"-"+name+".txt", open(t, size[0], size[1], false, sick()).press(":"+table, "enter").text())
		}
		golden.Equal(t, "part-"+name+".txt", open(t, size[0], size[1], false, sick()).press(":pods", "enter", "enter").text())
		golden.Equal(t, "nothing-"+name+".txt", open(t, size[0], size[1], false, nil).text())
	}
}

// Without a colour no escape sequence is written, and each state has a word and a sign.
func TestWithoutColor(t *testing.T) {
	s := open(t, 80, 24, false, sick())
	require.NotContains(t, s.View(), "\x1b")
	require.Contains(t, s.View(), "✗ failed")
}

// Every size has a screen of just that size.
func TestSizes(t *testing.T) {
	s := open(t, 80, 24, true, sick())
	for width := 1; width < 130; width += 7 {
		for height := 1; height < 50; height += 3 {
			s.send(tea.WindowSizeMsg{Width: width, Height: height})
			for _, keys := range [][]string{{}, {"?"}, {"esc"}, {":pods", "enter"}, {"enter"}, {"esc"}, {"/kafka", "enter"}, {"esc"}, {":overview", "enter"}} {
				s.press(keys...)
				if width >= smallest && height >= 5 {
					s.lines()
				}
			}
		}
	}
}

// The cursor leaves headings out, and the last rows can be reached on a small screen.
func TestMoving(t *testing.T) {
	s := open(t, 80, 12, false, sick())
	require.Contains(t, s.here(), "0-foundation")
	s.press("up")
	require.Contains(t, s.here(), "0-foundation")
	s.press("down", "j", "j", "j")
	require.Contains(t, s.here(), "kubelet", "the heading is passed over")
	s.press("G")
	require.Contains(t, s.here(), "releases")
	s.press("g")
	require.Contains(t, s.here(), "0-foundation")
	require.Contains(t, s.text(), "Stacks")
	s.press("pgdown")
	require.NotContains(t, s.here(), "0-foundation")
}

// The cursor stays with its part while others come, and with its place when the part goes.
func TestTheCursorStays(t *testing.T) {
	s := open(t, 80, 30, false, sick())
	s.to("gateway")
	next := sick()
	next.Namespaces[0].Workloads = append([]status.Workload{{Kind: status.KindDaemonSet, Name: "agent", Condition: is(status.Up, 0, "", "")}}, next.Namespaces[0].Workloads...)
	s.Update(snapshotMsg{next})
	require.Contains(t, s.here(), "gateway")
	gone := sick()
	gone.Namespaces[0].Workloads = gone.Namespaces[0].Workloads[:1]
	s.Update(snapshotMsg{gone})
	require.NotEmpty(t, s.here())
}

// Until it is moved, the cursor is on the first row, whatever was known first.
func TestTheCursorBeginsAtTheTop(t *testing.T) {
	first := sick()
	first.Stacks, first.Cluster, first.Namespaces = nil, status.Cluster{}, nil
	first.Applications, first.Services, first.Groups, first.Shadows = nil, nil, nil, nil
	s := open(t, 80, 30, false, first)
	require.Contains(t, s.here(), "releases")
	s.Update(snapshotMsg{sick()})
	require.Contains(t, s.here(), "0-foundation")
}

// Keys that are typed fast reach the program together.
func TestFastKeys(t *testing.T) {
	s := open(t, 100, 24, false, sick())
	s.send(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("/kafka")})
	require.Contains(t, s.text(), "/kafka▏")
	require.Contains(t, s.here(), "kafka")
}

func TestDrillingDown(t *testing.T) {
	s := open(t, 100, 24, false, sick())
	s.to("gateway")
	s.press("enter")
	require.Contains(t, s.text(), "overview › deployment gateway in chat")
	require.Contains(t, s.text(), "chat/gateway-2")
	require.NotContains(t, s.text(), "auth-1")
	s.press("enter")
	require.Contains(t, s.text(), "kind        pod")
	s.press("esc", "q")
	require.Contains(t, s.here(), "gateway", "the overview is as it was left")
	require.False(t, s.quit)
	s.press("q")
	require.True(t, s.quit)
}

func TestFilterAndSort(t *testing.T) {
	s := open(t, 100, 24, false, sick())
	s.press(":pods", "enter", "/GATE")
	require.Contains(t, s.text(), "/GATE▏")
	require.NotContains(t, s.text(), "kafka-0", "it filters while one types")
	s.press("enter")
	require.Contains(t, s.text(), "pods /GATE")
	s.press("esc")
	require.Contains(t, s.text(), "kafka-0")
	s.press("o", "o", "o", "o", "o") // RESTARTS
	require.Contains(t, s.text(), "RESTARTS↓")
	s.press("O", "g")
	require.Contains(t, s.here(), "gateway-2", "11 restarts are more than 2 and 3")
	s.press("/nothing of that kind", "enter")
	require.Contains(t, s.text(), "nothing matches nothing of that kind")
}

func TestCommands(t *testing.T) {
	s := open(t, 100, 24, false, sick())
	s.press(":po")
	require.Contains(t, s.text(), ":po▏  pods")
	s.press("tab", "enter")
	require.Contains(t, s.text(), "─ pods")
	s.press(":kitchen", "enter")
	require.Contains(t, s.text(), "there is no command kitchen; there are applications, components, events, groups,")
	s.press(":", "esc", ":q", "enter")
	require.True(t, s.quit)
}

func TestTextOfAPart(t *testing.T) {
	s := open(t, 100, 24, false, sick())
	s.to("deployment/auth  ")
	s.press("l")
	require.Contains(t, s.text(), "logs of deployment/chat/auth (follows)")
	require.Contains(t, s.text(), "of deployment/chat/auth\nred    line\n— end —")
	s.press("/red", "enter")
	require.NotContains(t, s.text(), "of deployment/chat/auth\n")
	s.press("esc", "esc")
	s.to("gateway")
	s.press("y")
	require.Contains(t, s.text(), "— the API does not answer —")
	s.press("esc", "g", "d")
	require.Contains(t, s.text(), "stack/0-foundation has no describe")
}

func TestCopy(t *testing.T) {
	var out bytes.Buffer
	s := open(t, 100, 24, false, sick())
	s.opts.Out = &out
	s.opts.Line = func(command string) string { return command + " -e local" }
	s.press("down", "c")
	require.Contains(t, s.text(), "copied: labctl up -e local")
	require.Equal(t, ansi.SetSystemClipboard("labctl up -e local"), out.String())
}

// What other programs say does not reach the terminal as it is.
func TestForeignText(t *testing.T) {
	s := sick()
	s.Namespaces[0].Workloads[0].Reason = "bad\x1b[2J\x07\nnews"
	s.Problems[0] = "\x1b]0;title\x07"
	v := open(t, 120, 40, false, s).View()
	require.NotContains(t, v, "\x1b")
	require.NotContains(t, v, "\x07")
	require.Contains(t, v, "bad[2J news")
}

// The real program gets a size, keys and snapshots, and gives the terminal back.
func TestRun(t *testing.T) {
	in, keys := io.Pipe()
	var out lockedBuffer
	snapshots := make(chan *status.Snapshot, 1)
	snapshots <- sick()
	ended := make(chan error, 1)
	go func() { ended <- Run(t.Context(), Options{Snapshots: snapshots, In: in, Out: &out, Color: true}) }()
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "0-foundation") }, 10*time.Second, 5*time.Millisecond)
	_, err := keys.Write([]byte("q"))
	require.NoError(t, err)
	require.NoError(t, <-ended)
	require.Contains(t, out.String(), "\x1b[?1049l")
	require.Contains(t, out.String(), "\x1b[?25h")
}

// An action is run after a yes only, goes on while other panes are looked at, and is not stopped without a question.
func TestActions(t *testing.T) {
	s := open(t, 100, 30, false, sick())
	said, in := io.Pipe()
	began := 0
	var ended context.Context
	s.opts.Actions = func(p status.Part) []Action {
		if p.Kind != status.KindDeployment {
			return nil
		}
		return []Action{
			{Name: "ship", Command: "labctl ship " + p.Name, Run: func(ctx context.Context) (io.ReadCloser, error) {
				began, ended = began+1, ctx
				return said, nil
			}},
			{Name: "restart", Command: "labctl kubectl rollout restart", Run: func(context.Context) (io.ReadCloser, error) { return nil, errors.New("no kubectl") }},
		}
	}
	s.press("a")
	require.Contains(t, s.text(), "there is nothing to do about stack/0-foundation")
	s.to("deployment/auth  ")
	s.press("a")
	require.Contains(t, s.text(), "actions on deployment/chat/auth")
	s.press("enter")
	require.Contains(t, s.text(), "Run labctl ship auth?\ny: yes, any other key: no")
	s.press("n")
	require.Contains(t, s.text(), "not done")
	require.Zero(t, began)

	first := make(chan tea.Msg, 1) // what the action prints is read beside
	s.press("enter")
	_, cmd := s.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("y")})
	go func() { first <- cmd() }()
	_, err := in.Write([]byte("0:01  building\n"))
	require.NoError(t, err)
	_, next := s.Update(<-first)
	require.Equal(t, 1, began)
	require.Contains(t, s.text(), "overview › labctl ship auth (follows)")
	require.Contains(t, s.text(), "0:01  building")

	s.press("esc")
	require.Contains(t, s.text(), "R running")
	require.NoError(t, ended.Err(), "it goes on")
	s.press("q")
	require.False(t, s.quit)
	require.Contains(t, s.text(), "Stop labctl ship auth, and leave?")
	s.press("n", "R")
	require.Contains(t, s.text(), "0:01  building")
	s.press("esc")
	require.NoError(t, in.CloseWithError(errors.New("exit status 1")))
	s.send(next())
	require.Contains(t, s.text(), "labctl ship auth: exit status 1")
	s.press("q")
	require.True(t, s.quit, "nothing runs any more")
}

// Who leaves while an action runs, and means it, ends it.
func TestLeavingStopsAnAction(t *testing.T) {
	s := open(t, 100, 30, false, sick())
	said, _ := io.Pipe()
	var of context.Context
	s.opts.Actions = func(status.Part) []Action {
		return []Action{{Name: "up", Command: "labctl up", Run: func(ctx context.Context) (io.ReadCloser, error) {
			of = ctx
			return said, nil
		}}}
	}
	s.press("a", "enter")
	_, cmd := s.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("y")})
	read := make(chan tea.Msg, 1)
	go func() { read <- cmd() }()
	s.press("esc", "ctrl+c")
	require.Contains(t, s.text(), "Stop labctl up, and leave?")
	s.press("y")
	require.True(t, s.quit)
	var out bytes.Buffer
	s.opts.Out = &out
	s.settle()
	require.Equal(t, "waiting for `labctl up` to end\n", out.String())
	require.Error(t, of.Err())
	<-read
}

func TestAnEventLeadsToItsObject(t *testing.T) {
	s := open(t, 100, 30, false, sick())
	s.press(":events", "enter", "enter")
	require.Contains(t, s.text(), "events › pod/chat/auth-1")
	require.Contains(t, s.text(), "reason      container main ended 3 times")
	s.press("esc", "down", "enter")
	require.Contains(t, s.text(), "events › node demo-1", "which consists of its pods")
	gone := sick()
	gone.Namespaces = nil
	s.Update(snapshotMsg{gone})
	s.press("esc", "g", "enter")
	require.Contains(t, s.text(), "Back-off restarting failed container main", "of what is gone, the event is all that is known")
	require.NotContains(t, s.text(), "it is gone")
}

func TestSpark(t *testing.T) {
	require.Empty(t, spark([]float64{1}))
	require.Equal(t, "▁▁▅█", spark([]float64{0, 0.1, 4, 8}))
	require.Equal(t, "▁▁", spark([]float64{0, 0}))
	require.Len(t, []rune(spark(make([]float64, 99))), 16)
}

func TestFigures(t *testing.T) {
	require.Equal(t, []string{"", "2.1 ms", "84 ms", "1.5s"}, []string{took(0), took(0.0021), took(0.084), took(1.5)})
	require.Equal(t, []string{"0", "1.2", "812"}, []string{rate(0), rate(1.2), rate(812.4)})
}
