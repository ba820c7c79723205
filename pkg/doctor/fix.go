package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/labctl/labctl/pkg/event"
)

// Fix installs the packages that the findings lack, where labctl may. If anything is missing that it can't get, it
// begins nothing and returns ErrNotReady with all that there is to do: the user has to act first anyway.
func Fix(ctx context.Context, o Options, findings []Finding, report event.Report) error {
	missing := Missing(findings)
	if len(missing) == 0 {
		return nil
	}
	beyond := func(f Finding) bool { return len(f.Packages) == 0 }
	if o.UID != 0 || o.Run == nil || !o.apt() || slices.ContainsFunc(missing, beyond) {
		return &NotReadyError{Missing: missing}
	}
	var packages []string
	var commands [][]string
	for _, f := range missing {
		commands = append(commands, f.commands...)
		if len(f.commands) > 0 {
			if _, err := o.LookPath(f.commands[0][0]); err == nil {
				continue // its package is there, only the command was not run
			}
		}
		packages = append(packages, f.Packages...)
	}
	if len(packages) > 0 {
		slices.Sort(packages)
		if err := o.install(ctx, slices.Compact(packages), report); err != nil {
			return err
		}
	}
	for _, command := range commands {
		report.Doing("running %s", strings.Join(command, " "))
		if err := o.Run(ctx, report, command[0], command[1:]...); err != nil {
			return fmt.Errorf("run %s: %w", strings.Join(command, " "), err)
		}
	}
	return nil
}

// describe says what is missing and what to type.
func describe(missing []Finding) string {
	var text strings.Builder
	for _, f := range missing {
		fmt.Fprintf(&text, "\n  %s, needed: %s", f.Name, f.Need)
		if f.Have != "" {
			text.WriteString("; there is: " + f.Have)
		}
		for _, line := range f.Fix {
			text.WriteString("\n      " + line)
		}
	}
	return text.String()
}

func (o Options) install(ctx context.Context, packages []string, report event.Report) error {
	running := o.serviceThere()
	report.Doing("updating the list of packages")
	// Its failure is not the end: what is needed may be in the list already, or on the mirrors that did answer.
	updateErr := o.Run(ctx, report, "apt-get", "update", "-q")
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("update the list of packages: %w", err)
	}
	report.Doing("installing %s", strings.Join(packages, ", "))
	args := append([]string{"install", "-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120"}, packages...)
	if err := o.Run(ctx, report, "apt-get", args...); err != nil {
		if updateErr != nil && ctx.Err() == nil {
			return fmt.Errorf("install packages: %w (before it, the list of packages could not be updated: %w)", err, updateErr)
		}
		return fmt.Errorf("install packages (`apt-get install -f` completes what was begun): %w", err)
	}
	if !slices.Contains(packages, "containerd") || running || !o.Exists("/run/systemd/system") {
		return nil
	}
	// Debian's package starts a daemon; the machine shall run nothing that it did not run before.
	if err := o.Run(ctx, report, "systemctl", "disable", "--now", "containerd"); err != nil {
		return fmt.Errorf("stop the containerd that came with its package: %w", err)
	}
	report.Warn("the package containerd started a daemon, which was stopped: a lab has its own. `systemctl enable --now containerd` starts it again")
	return nil
}

// serviceThere says whether the machine has a containerd service of its own, such as Docker's.
func (o Options) serviceThere() bool {
	return slices.ContainsFunc([]string{"/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}, func(dir string) bool {
		return o.Exists(dir + "/containerd.service")
	})
}
