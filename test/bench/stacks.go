package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	stackCount  = 50
	stackRounds = 3
	// shimLog names the file into which the shim writes how long each terraform took.
	shimLog = "LABCTL_BENCH_SHIM_LOG"
	// shimOf names the real terraform.
	shimOf = "LABCTL_BENCH_SHIM_OF"
)

// benchStacks measures the engine on stacks of one terraform_data each, beside plain shell loops over the same stacks: the loop that people
// write, and a lean one that leaves init out.
func benchStacks(ctx context.Context, repository string) (results []result, err error) {
	dir, err := os.MkdirTemp("", "labctl-bench-stacks-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	terraform, err := exec.LookPath("terraform")
	if err != nil {
		return nil, fmt.Errorf("the peer is a loop of terraform: %w", err)
	}
	b := &stackBench{labctl: filepath.Join(repository, "bin", "labctl"), terraform: terraform, dir: dir}
	ratios, seconds := map[string][]float64{}, map[string][]float64{}
	for round := range stackRounds {
		if err := b.round(ctx, round, ratios, seconds); err != nil {
			return nil, err
		}
	}
	for _, m := range []struct {
		name string
		goal float64
	}{
		{"noop", 0.03}, {"middle", 0.06}, {"chain", 0.8}, {"fan_parallel4", 0.5},
		{"lean_plan_chain", 0.7}, {"lean_plan_fan", 0.5}, {"lean_up_chain", 0.55}, {"lean_up_fan", 0.45}, {"lean_down_chain", 0.8}, {"lean_down_fan", 0.5},
	} {
		peer := fmt.Sprintf("shell loop: %.2f s", median(seconds[m.name]))
		r := against("stacks."+m.name+"_ratio", median(ratios[m.name]), "x", m.goal)
		r.Peer, r.Ratio = peer, r.Value
		results = append(results, r)
	}
	results = append(results,
		against("stacks.engine_ms_per_stack", median(seconds["engine_ms"]), "ms", 10),
		against("stacks.memory_mb", median(seconds["memory_mb"]), "MB", 150))
	validate, err := b.validate(ctx)
	return append(results, validate), err
}

type stackBench struct{ labctl, terraform, dir string }

// round measures everything once. The loop and labctl take turns, so that a machine that slows down slows both.
func (b *stackBench) round(ctx context.Context, round int, ratios, seconds map[string][]float64) error {
	note := func(name string, ours, loops time.Duration) {
		ratios[name] = append(ratios[name], ours.Seconds()/loops.Seconds())
		seconds[name] = append(seconds[name], loops.Seconds())
	}
	chain, fan := filepath.Join(b.dir, fmt.Sprintf("chain%d", round)), filepath.Join(b.dir, fmt.Sprintf("fan%d", round))
	for dir, chained := range map[string]bool{chain: true, fan: false} {
		for _, sub := range []string{"lab", "loop"} {
			if err := writeStacks(filepath.Join(dir, sub), chained); err != nil {
				return err
			}
		}
	}
	for _, m := range []struct {
		name, dir string
		change    func(dir string) error
		args      []string
	}{
		{"chain", chain, nil, nil},
		{"noop", chain, nil, nil},
		{"middle", chain, changeMiddle, nil},
		{"fan_parallel4", fan, nil, []string{"--parallel", "4"}},
	} {
		if m.change != nil {
			for _, sub := range []string{"lab", "loop"} {
				if err := m.change(filepath.Join(m.dir, sub)); err != nil {
					return err
				}
			}
		}
		loops, err := b.loop(ctx, filepath.Join(m.dir, "loop"))
		if err != nil {
			return err
		}
		ours, rss, err := b.up(ctx, filepath.Join(m.dir, "lab"), nil, m.args...)
		if err != nil {
			return err
		}
		note(m.name, ours, loops)
		if m.name == "fan_parallel4" {
			seconds["memory_mb"] = append(seconds["memory_mb"], rss)
		}
	}
	for _, shape := range []string{"chain", "fan"} {
		lab, loop := filepath.Join(b.dir, fmt.Sprintf("lean-%s%d", shape, round), "lab"), filepath.Join(b.dir, fmt.Sprintf("lean-%s%d", shape, round), "loop")
		for _, dir := range []string{lab, loop} {
			if err := writeStacks(dir, shape == "chain"); err != nil {
				return err
			}
		}
		for _, m := range []struct {
			verb, script string
			code         int // with which labctl ends
		}{{"plan", leanPlan, 2}, {"up", leanUp, 0}, {"down", leanDown, 0}} {
			loops, err := b.script(ctx, loop, shape, m.script)
			if err != nil {
				return err
			}
			ours, _, err := b.labctlRun(ctx, lab, nil, m.code, m.verb, "--parallel", "4")
			if err != nil {
				return err
			}
			note("lean_"+m.verb+"_"+shape, ours, loops)
		}
	}
	outside, err := b.outside(ctx, filepath.Join(b.dir, fmt.Sprintf("outside%d", round)))
	seconds["engine_ms"] = append(seconds["engine_ms"], outside)
	return err
}

// writeStacks writes a lab. Each stack passes a value on: to the next one, or in a fan all take the first one's.
func writeStacks(dir string, chained bool) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "lab.hcl"), []byte("lab \"bench\" {}\nenvironment \"local\" { target = \"local\" }\n"), 0o600); err != nil {
		return err
	}
	for i := range stackCount {
		stack := filepath.Join(dir, "stacks", "local", fmt.Sprintf("%d-s%d", i, i))
		if err := os.MkdirAll(stack, 0o700); err != nil {
			return err
		}
		from := 0
		if chained {
			from = i - 1
		}
		wiring := fmt.Sprintf("inputs = { before = stack.s%d.value }\n", from)
		if i == 0 {
			wiring = "inputs = { before = \"nothing\" }\n"
		}
		const code = "variable \"before\" { type = string }\nresource \"terraform_data\" \"this\" { input = \"v\" }\n" +
			"output \"value\" { value = terraform_data.this.input }\n"
		if err := errors.Join(os.WriteFile(filepath.Join(stack, "stack.hcl"), []byte(wiring), 0o600), os.WriteFile(filepath.Join(stack, "main.tf"), []byte(code), 0o600)); err != nil {
			return err
		}
	}
	return nil
}

// changeMiddle changes a stack in the middle in a way that its output does not show.
func changeMiddle(dir string) error {
	path := filepath.Join(dir, "stacks", "local", fmt.Sprintf("%d-s%d", stackCount/2, stackCount/2), "main.tf")
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString("resource \"terraform_data\" \"more\" {}\n")
	return errors.Join(err, file.Close())
}

// theLoop is what people write: init, plan, apply and output in each directory, the value passed on by hand.
const theLoop = `set -euo pipefail
before=nothing
for i in $(seq 0 $((COUNT - 1))); do
  cd "$DIR/stacks/local/$i-s$i"
  terraform init -input=false >/dev/null
  terraform plan -input=false -out=plan -var "before=$before" >/dev/null
  terraform apply -input=false plan >/dev/null
  out=$(terraform output -json)
  out=${out#*\"value\": \"}
  before=${out%%\"*}
done
`

// The lean loops do what labctl does with the fewest starts of terraform: no init, because there is nothing to install, and an output is read
// where a later stack needs it. In a chain that is each stack's, in a fan the first one's.
const (
	leanPlan = `set -euo pipefail
before=nothing
for i in $(seq 0 $((COUNT - 1))); do
  cd "$DIR/stacks/local/$i-s$i"
  terraform plan -input=false -out=plan -var "before=$before" >/dev/null
  if [ "$SHAPE" = chain ] || [ "$i" = 0 ]; then
    out=$(terraform show -json plan)
    out=${out#*\"outputs\":{\"value\":{}
    out=${out#*\"value\":\"}
    before=${out%%\"*}
  fi
done
`
	leanUp = `set -euo pipefail
before=nothing
for i in $(seq 0 $((COUNT - 1))); do
  cd "$DIR/stacks/local/$i-s$i"
  terraform plan -input=false -out=plan -var "before=$before" >/dev/null
  terraform apply -input=false plan >/dev/null
  if [ "$SHAPE" = chain ] || [ "$i" = 0 ]; then
    before=$(terraform output -raw value)
  fi
done
`
	leanDown = `set -euo pipefail
cd "$DIR/stacks/local/0-s0"
before=$(terraform output -raw value)
for i in $(seq $((COUNT - 1)) -1 0); do
  if [ "$i" = 0 ]; then
    before=nothing
  elif [ "$SHAPE" = chain ]; then
    cd "$DIR/stacks/local/$((i - 1))-s$((i - 1))"
    before=$(terraform output -raw value)
  fi
  cd "$DIR/stacks/local/$i-s$i"
  terraform destroy -auto-approve -input=false -var "before=$before" >/dev/null
done
`
)

func (b *stackBench) loop(ctx context.Context, dir string) (time.Duration, error) {
	return b.script(ctx, dir, "", theLoop)
}

// script gives the time that a loop took.
func (b *stackBench) script(ctx context.Context, dir, shape, text string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, "bash", "-c", text)
	cmd.Env = append(os.Environ(), "DIR="+dir, "SHAPE="+shape, "COUNT="+strconv.Itoa(stackCount), "CHECKPOINT_DISABLE=1")
	start := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("the loop: %w: %s", err, out)
	}
	return time.Since(start), nil
}

// up gives the time and the most memory, in MB, that labctl up took.
func (b *stackBench) up(ctx context.Context, dir string, env []string, args ...string) (time.Duration, float64, error) {
	return b.labctlRun(ctx, dir, env, 0, append([]string{"up"}, args...)...)
}

// labctlRun gives the time and the most memory, in MB, that a command of labctl took, which has to end with that code.
func (b *stackBench) labctlRun(ctx context.Context, dir string, env []string, code int, args ...string) (time.Duration, float64, error) {
	cmd := exec.CommandContext(ctx, b.labctl, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start)
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
		return 0, 0, fmt.Errorf("labctl %s: %w: %s", args[0], err, out.Bytes())
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0, 0, errors.New("the system does not say how much memory labctl took")
	}
	return took, float64(usage.Maxrss) * 1024 / 1e6, nil
}

// outside gives the milliseconds a stack that labctl takes beside terraform: the time of a chain from nothing without the
// time in terraform processes, which this program measures in terraform's place, and without what that itself costs.
func (b *stackBench) outside(ctx context.Context, dir string) (float64, error) {
	if err := writeStacks(dir, true); err != nil {
		return 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	bin := filepath.Join(dir, "bin")
	if err := errors.Join(os.Mkdir(bin, 0o700), os.Symlink(self, filepath.Join(bin, "terraform"))); err != nil {
		return 0, err
	}
	times := filepath.Join(dir, "times")
	took, _, err := b.up(ctx, dir, []string{"PATH=" + bin + ":" + os.Getenv("PATH"), shimLog + "=" + times, shimOf + "=" + b.terraform})
	if err != nil {
		return 0, err
	}
	inside, calls, err := readShimLog(times)
	if err != nil {
		return 0, err
	}
	own, err := shimCost(ctx, filepath.Join(bin, "terraform"), filepath.Join(dir, "trial"))
	return float64((took - inside - time.Duration(calls)*own).Microseconds()) / 1000 / stackCount, err
}

// shimCost is what the shim itself adds to a process.
func shimCost(ctx context.Context, path, log string) (time.Duration, error) {
	var took time.Duration
	const rounds = 20
	for range rounds {
		cmd := exec.CommandContext(ctx, path)
		cmd.Env = append(os.Environ(), shimLog+"="+log, shimOf+"=/bin/true")
		start := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("try the shim: %w: %s", err, out)
		}
		took += time.Since(start)
	}
	inside, _, err := readShimLog(log)
	return (took - inside) / rounds, err
}

// readShimLog sums up what the shim noted.
func readShimLog(path string) (sum time.Duration, calls int, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(content)) {
		n, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("read the shim's log: %w", err)
		}
		sum += time.Duration(n)
		calls++
	}
	return sum, calls, nil
}

// shim runs the real terraform and notes how long it took. It gives the exit code.
func shim(args []string) int {
	start := time.Now()
	cmd := exec.Command(os.Getenv(shimOf), args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	line := fmt.Sprintf("%d\n", time.Since(start).Nanoseconds())
	file, openErr := os.OpenFile(os.Getenv(shimLog), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if openErr == nil {
		_, openErr = file.WriteString(line)
		openErr = errors.Join(openErr, file.Close())
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode()
	case errors.Join(err, openErr) != nil:
		fmt.Fprintln(os.Stderr, "bench: the shim:", errors.Join(err, openErr))
		return 1
	}
	return 0
}

// validate measures labctl validate over the stacks.
func (b *stackBench) validate(ctx context.Context) (result, error) {
	dir := filepath.Join(b.dir, "validate")
	if err := writeStacks(dir, true); err != nil {
		return result{}, err
	}
	var millis []float64
	for range 11 {
		cmd := exec.CommandContext(ctx, b.labctl, "validate")
		cmd.Dir = dir
		start := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return result{}, fmt.Errorf("labctl validate: %w: %s", err, out)
		}
		millis = append(millis, float64(time.Since(start).Microseconds())/1000)
	}
	return against("stacks.validate_50_ms", median(millis), "ms", 200), nil
}
