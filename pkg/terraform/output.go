package terraform

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/labctl/labctl/pkg/stack"
)

// Diagnostic is one error or warning of terraform.
type Diagnostic struct {
	Summary string
	Detail  string
	Address string // the resource or block, where it is about one
	File    string // the stack's source, as people know it
	Line    int
	Column  int
	Code    string // the line at fault
}

// Error is a run of terraform that failed, with terraform's own words. Sensitive values are masked.
type Error struct {
	Stack       string
	Command     string
	Diagnostics []Diagnostic
	Output      string // what terraform wrote where it gave no diagnostics
	Log         string // the file with everything

	err error
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "terraform %s failed", e.Command)
	for _, d := range e.Diagnostics {
		b.WriteString("\n" + d.String())
	}
	if len(e.Diagnostics) == 0 {
		b.WriteString(": " + e.Output)
	}
	if hint := hintFor(e.Stack, b.String()); hint != "" {
		b.WriteString("\nHint: " + hint)
	}
	fmt.Fprintf(&b, "\nEverything terraform said: %s\nTo look closer: labctl exec %s -- plan", e.Log, e.Stack)
	return b.String()
}

func (e *Error) Unwrap() error { return e.err }

// String shows a diagnostic with its place and the line at fault.
func (d Diagnostic) String() string {
	var b strings.Builder
	switch {
	case d.File != "" && d.Line > 0:
		fmt.Fprintf(&b, "%s:%d:%d: ", d.File, d.Line, d.Column)
	case d.File != "":
		b.WriteString(d.File + ": ")
	}
	if d.Address != "" {
		b.WriteString(d.Address + ": ")
	}
	b.WriteString(d.Summary)
	for i, line := range strings.Split(d.Code, "\n") {
		if d.Code != "" {
			fmt.Fprintf(&b, "\n  %d | %s", d.Line+i, line)
		}
	}
	if d.Detail != "" {
		b.WriteString("\n  " + strings.ReplaceAll(strings.TrimSpace(d.Detail), "\n", "\n  "))
	}
	return b.String()
}

// incompleteLock is how terraform says that it knows a provider's checksum for this platform alone.
const incompleteLock = "Incomplete lock file information for providers"

// ignoredBackend is how terraform says that a module's backend means nothing, which is as it should be.
const ignoredBackend = "Backend configuration ignored"

// variableName finds the variable that terraform complains about.
var variableName = regexp.MustCompile(`var\.([A-Za-z0-9_-]+)`)

// output takes terraform's JSON log apart, line by line.
type output struct {
	session *session
	buf     bytes.Buffer
	plain   []string // lines that were no JSON

	diagnostics []Diagnostic
	planned     []stack.Action
	drift       []stack.Action
	changes     stack.Changes
}

// message is what we read of one line of terraform's machine-readable log (version 1 of its "ui").
type message struct {
	Message    string `json:"@message"`
	Type       string `json:"type"`
	Diagnostic struct {
		Severity string `json:"severity"`
		Summary  string `json:"summary"`
		Detail   string `json:"detail"`
		Address  string `json:"address"`
		Range    *struct {
			Filename string `json:"filename"`
			Start    struct {
				Line   int `json:"line"`
				Column int `json:"column"`
			} `json:"start"`
		} `json:"range"`
		Snippet *struct {
			Context string `json:"context"`
			Code    string `json:"code"`
		} `json:"snippet"`
	} `json:"diagnostic"`
	Change struct {
		Resource struct {
			Addr string `json:"addr"`
		} `json:"resource"`
		Action string `json:"action"`
	} `json:"change"`
	Outputs map[string]struct {
		Action string `json:"action"`
	} `json:"outputs"`
	Changes struct {
		Add    int `json:"add"`
		Change int `json:"change"`
		Remove int `json:"remove"`
	} `json:"changes"`
}

func (o *output) Write(p []byte) (int, error) {
	o.buf.Write(p)
	for {
		line, err := o.buf.ReadString('\n')
		if err != nil { // no whole line yet
			o.buf.WriteString(line)
			return len(p), nil
		}
		o.line(strings.TrimSpace(line))
	}
}

func (o *output) flush() {
	if rest := strings.TrimSpace(o.buf.String()); rest != "" {
		o.line(rest)
	}
	o.buf.Reset()
}

func (o *output) line(line string) {
	if line == "" {
		return
	}
	s := o.session
	var m message
	if json.Unmarshal([]byte(line), &m) != nil || m.Message == "" && m.Type == "" {
		line = s.work.Secrets.Redact(line)
		o.plain = append(o.plain, line)
		s.log.line(line)
		return
	}
	if m.Type == "diagnostic" {
		o.diagnostic(m)
		return
	}
	// Of a plan in part, what is said of the root that it is made in would only puzzle.
	if text := s.work.Secrets.Redact(s.outer(m.Message)); !s.inner || m.Type != "change_summary" && !strings.Contains(text, ownPrefix) {
		s.log.line(text)
		s.report.Line(text)
	}
	switch m.Type {
	case "planned_change":
		o.planned = append(o.planned, stack.Action{Address: s.outer(m.Change.Resource.Addr), Verb: m.Change.Action})
	case "resource_drift":
		o.drift = append(o.drift, stack.Action{Address: s.outer(m.Change.Resource.Addr), Verb: m.Change.Action})
	case "outputs":
		for _, name := range slices.Sorted(maps.Keys(m.Outputs)) {
			if verb := m.Outputs[name].Action; verb != "" && verb != "noop" {
				o.planned = append(o.planned, stack.Action{Address: "output." + name, Verb: verb})
			}
		}
	case "change_summary":
		o.changes = stack.Changes{Added: m.Changes.Add, Changed: m.Changes.Change, Destroyed: m.Changes.Remove}
	case "apply_start":
		s.report.Doing("%s", s.work.Secrets.Redact(m.Message))
	}
}

// outer is what the stack is without the module that a partial plan makes of it.
func (s *session) outer(text string) string {
	if !s.inner {
		return text
	}
	return strings.NewReplacer(innerPrefix, "", "../"+s.work.Stack.ID+"/", "").Replace(text)
}

func (o *output) diagnostic(m message) {
	s, in := o.session, m.Diagnostic
	if in.Summary == ignoredBackend && s.inner {
		return
	}
	redact := s.work.Secrets.Redact
	d := Diagnostic{Summary: redact(in.Summary), Detail: redact(s.outer(in.Detail)), Address: s.outer(in.Address)}
	if in.Snippet != nil {
		d.Code = redact(in.Snippet.Code)
		if d.Address == "" {
			d.Address = in.Snippet.Context // resource "terraform_data" "a"
		}
	}
	switch {
	case in.Range == nil:
	case filepath.Base(in.Range.Filename) == inputsNote || s.inner && in.Range.Filename == rootFile: // our own file: name the expression that the value came from
		d.Code = ""
		d.File = s.work.Path(filepath.Join(s.work.Stack.Dir, "stack.hcl"))
		if m := variableName.FindStringSubmatch(in.Detail); m != nil {
			for _, input := range s.work.Stack.Inputs {
				if input.Name == m[1] {
					d.Line, d.Column = input.Expr.Range().Start.Line, input.Expr.Range().Start.Column
				}
			}
		}
	default: // terraform runs in a mirror: name the file that the user can edit
		d.File = s.work.Path(filepath.Join(s.work.Stack.Dir, filepath.FromSlash(s.outer(in.Range.Filename))))
		d.Line, d.Column = in.Range.Start.Line, in.Range.Start.Column
	}
	s.log.line(in.Severity + ": " + d.String())
	if in.Severity == "error" {
		if !slices.Contains(o.diagnostics, d) { // terraform says some things twice
			o.diagnostics = append(o.diagnostics, d)
		}
		return
	}
	if d.Summary != incompleteLock { // that lock file is the working directory's own and goes nowhere else
		s.report.Warn("%s", d.String())
	}
}

// wantsInit says whether terraform refused to work before an init.
func (o *output) wantsInit() bool {
	for _, d := range o.diagnostics {
		if strings.Contains(d.Detail, "terraform init") || strings.Contains(d.Detail, "tofu init") {
			return true
		}
	}
	return false
}

// failure makes the error of a run that terraform ended with err.
func (s *session) failure(command string, out *output, err error) error {
	text := s.work.Secrets.Redact(strings.TrimSpace(err.Error()))
	s.log.line(text)
	if len(out.plain) > 0 {
		text += "\n" + strings.Join(out.plain, "\n")
	}
	return &Error{Stack: s.work.Stack.ID, Command: command, Diagnostics: out.diagnostics, Output: text, Log: s.log.path, err: err}
}

// logFile is the log of one stack; every run adds to it. Sensitive values are masked.
type logFile struct {
	mu     sync.Mutex
	file   *os.File
	path   string
	redact func(string) string
	rest   string
}

func openLog(dir string, w stack.RunRequest) (*logFile, error) {
	logs := filepath.Join(dir, "logs")
	if err := os.MkdirAll(logs, 0o700); err != nil {
		return nil, fmt.Errorf("open the stack's log: %w", err)
	}
	path := filepath.Join(logs, w.Stack.ID+".log")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the stack's log: %w", err)
	}
	return &logFile{file: f, path: path, redact: w.Secrets.Redact}, nil
}

func (l *logFile) line(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.put(text)
}

func (l *logFile) put(text string) {
	// A log that cannot be written must not stop the run that it tells of.
	_, _ = fmt.Fprintf(l.file, "%s %s\n", time.Now().UTC().Format(time.RFC3339), l.redact(text))
}

// Write takes terraform's stderr.
func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest += string(p)
	for {
		line, rest, whole := strings.Cut(l.rest, "\n")
		if !whole {
			return len(p), nil
		}
		l.rest = rest
		l.put(line)
	}
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rest != "" {
		l.put(l.rest)
	}
	_ = l.file.Close()
}
