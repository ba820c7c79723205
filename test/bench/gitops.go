package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	argoRounds   = 3
	commitRounds = 5
	driftRounds  = 5
)

// healWithin is how long a change by hand may stand before the benchmark gives up.
const healWithin = time.Minute

// benchGitOps measures a lab whose chat Argo CD makes of what is in Git.
func benchGitOps(ctx context.Context, repository string) (results []result, err error) {
	l, err := newLab(ctx, repository, "gitops {}")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.end()) }()
	if _, err := l.run(ctx, "up"); err != nil { // fills the caches
		return nil, err
	}

	argo, err := repeat(argoRounds, func(int) (float64, error) {
		if _, err := l.run(ctx, "down", "argocd"); err != nil {
			return 0, err
		}
		return l.run(ctx, "up")
	})
	if err != nil {
		return results, err
	}
	results = append(results, against("gitops.argocd_seconds", argo, "s", 120))

	noop, err := repeat(noopRounds, func(int) (float64, error) { return l.run(ctx, "up") })
	if err != nil {
		return results, err
	}
	results = append(results, against("gitops.noop_seconds", noop, "s", 5))

	commit, err := l.commits(ctx)
	if err != nil {
		return results, err
	}
	results = append(results, against("gitops.commit_seconds", commit, "s", 20))

	drift, err := repeat(driftRounds, func(int) (float64, error) { return l.healed(ctx) })
	if err != nil {
		return results, err
	}
	results = append(results, against("gitops.drift_seconds", drift, "s", 10))

	argoMiB, err := l.podsMiB(ctx, "argocd")
	if err != nil {
		return results, err
	}
	memory, err := l.memoryGiB(ctx)
	if err != nil {
		return results, err
	}
	return append(results, against("gitops.argocd_mib", argoMiB, "MiB", 700), against("gitops.memory_gib", memory, "GiB", 3)), nil
}

// commits measures the time from a pushed commit until what it changes runs: every service gets another level of its log, and new pods.
func (l *ownLab) commits(ctx context.Context) (float64, error) {
	url, _, err := l.output(ctx, "gitops", "url")
	if err != nil {
		return 0, err
	}
	clone := filepath.Join(l.dir, "clone")
	helper := fmt.Sprintf("credential.helper=!'%s' --file '%s' gitops credential", l.labctl, filepath.Join(l.dir, "lab.hcl"))
	git := func(dir string, args ...string) error {
		cmd := l.command(ctx, "git", append([]string{"-c", "credential.helper=", "-c", helper, "-c", "user.name=bench", "-c", "user.email=bench@lab.test"}, args...)...)
		cmd.Dir = dir
		return cmd.Run()
	}
	if err := git(l.dir, "clone", "--quiet", strings.TrimSpace(string(url)), clone); err != nil {
		return 0, fmt.Errorf("clone the lab's repository: %w", err)
	}
	file := filepath.Join(clone, "environments", "local", "chat", "values.yaml")
	values, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return repeat(commitRounds, func(round int) (float64, error) {
		level := []string{"debug", "warn"}[round%2]
		if err := os.WriteFile(file, fmt.Appendf(nil, "logLevel: %s\n%s", level, values), 0o600); err != nil {
			return 0, err
		}
		if err := errors.Join(git(clone, "commit", "--quiet", "--all", "--message", "level "+level), git(clone, "push", "--quiet")); err != nil {
			return 0, fmt.Errorf("push a commit: %w", err)
		}
		return l.run(ctx, "gitops", "wait")
	})
}

// healed measures the time until a change by hand is undone.
func (l *ownLab) healed(ctx context.Context) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, healWithin)
	defer cancel()
	if _, err := l.run(ctx, "kubectl", "--", "--namespace", "chat", "scale", "deployment", "presence", "--replicas=0"); err != nil {
		return 0, err
	}
	start := time.Now()
	for {
		out, _, err := l.output(ctx, "kubectl", "--", "--namespace", "chat", "get", "deployment", "presence", "--output=jsonpath={.spec.replicas}")
		if err != nil {
			return 0, err
		}
		if string(out) == "1" {
			return time.Since(start).Seconds(), nil
		}
	}
}

// podsMiB is the memory of a namespace's pods, as the metrics API knows it.
func (l *ownLab) podsMiB(ctx context.Context, namespace string) (float64, error) {
	out, _, err := l.output(ctx, "kubectl", "--", "--namespace", namespace, "top", "pods", "--no-headers")
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		mib, err := strconv.ParseFloat(strings.TrimSuffix(fields[2], "Mi"), 64)
		if err != nil {
			return 0, fmt.Errorf("read what pods use: %q: %w", line, err)
		}
		sum += mib
	}
	return sum, nil
}
