package kind

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	kindexec "sigs.k8s.io/kind/pkg/exec"
	"sigs.k8s.io/kind/pkg/log"

	"github.com/labctl/labctl/pkg/event"
)

// errorLines is how much of a failed program's output an error holds.
const errorLines = 15

// logger turns what kind's library logs into events: what it does now, and warnings. Its deeper levels are the output of
// programs whose end explain shows where they fail.
type logger struct{ report event.Report }

var _ log.Logger = logger{}

// V gives the logger of a level, 0 being what a user should see.
func (l logger) V(level log.Level) log.InfoLogger {
	if level > 0 {
		return log.NoopInfoLogger{}
	}
	return l
}

// Enabled says that level 0 is shown.
func (l logger) Enabled() bool { return true }

// Info shows one step. The library says of each step that it begins and that it ended; the beginning is enough.
func (l logger) Info(message string) {
	message = strings.TrimSpace(message)
	if strings.HasPrefix(message, "✓") || strings.HasPrefix(message, "✗") {
		return
	}
	if message = plain(message); message != "" {
		l.report.Doing("%s", message)
	}
}

// Infof is Info with a format.
func (l logger) Infof(format string, a ...any) { l.Info(fmt.Sprintf(format, a...)) }

// Warn shows a warning.
func (l logger) Warn(message string) { l.report.Warn("%s", plain(message)) }

// Warnf is Warn with a format.
func (l logger) Warnf(format string, a ...any) { l.Warn(fmt.Sprintf(format, a...)) }

// Error shows an error that the library does not return.
func (l logger) Error(message string) { l.Warn(message) }

// Errorf is Error with a format.
func (l logger) Errorf(format string, a ...any) { l.Warn(fmt.Sprintf(format, a...)) }

// plain is a message without the library's bullets, dots and pictures.
func plain(message string) string {
	message = strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.So, unicode.Mn, unicode.Cf) {
			return -1
		}
		return r
	}, message)
	message = strings.TrimLeft(strings.TrimSpace(message), "• ")
	return strings.TrimRight(message, ". ")
}

// explain adds to an error of kind's library the end of what the failed program printed, which the library leaves out.
func explain(err error) error {
	var failed *kindexec.RunError
	if !errors.As(err, &failed) || len(failed.Output) == 0 {
		return err
	}
	return fmt.Errorf("%w\n    %s", err, lastLines(string(failed.Output), errorLines))
}

// lastLines is the end of a text, indented but for its first line.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	lines = lines[max(0, len(lines)-n):]
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], "\r ")
	}
	return strings.Join(lines, "\n    ")
}
