package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	helpRounds = 21
	warmRounds = 3
	noopRounds = 5
	shipRounds = 3
	shipped    = "presence"
)

// benchUp measures a lab whose parts are built: up after down, up with nothing to do, ship, and what the lab needs.
func benchUp(ctx context.Context, repository string) (results []result, err error) {
	l, err := newLab(ctx, repository)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.end()) }()

	help, err := helpMillis(ctx, l.labctl, "--help")
	if err != nil {
		return nil, err
	}
	if terraform, lookErr := exec.LookPath("terraform"); lookErr == nil {
		peer, err := helpMillis(ctx, terraform, "-help")
		if err != nil {
			return results, err
		}
		results = append(results, beside("up.help_ms", help, "ms", 100, "terraform -help", peer))
	} else {
		results = append(results, against("up.help_ms", help, "ms", 100))
	}

	dearest, err := initialisers(ctx, l.labctl)
	if err != nil {
		return results, err
	}
	fmt.Fprintf(os.Stderr, "the dearest package initialisers of labctl --help:\n%s", dearest)

	if _, err := l.run(ctx, "up"); err != nil { // fills the caches
		return results, err
	}
	warm, err := repeat(warmRounds, func(int) (float64, error) {
		if _, err := l.run(ctx, "down"); err != nil {
			return 0, err
		}
		return l.run(ctx, "up")
	})
	if err != nil {
		return results, err
	}
	results = append(results, against("up.warm_seconds", warm, "s", 90))

	noop, err := repeat(noopRounds, func(int) (float64, error) { return l.run(ctx, "up") })
	if err != nil {
		return results, err
	}
	results = append(results, against("up.noop_seconds", noop, "s", 5))

	ship, err := repeat(shipRounds, func(round int) (float64, error) {
		if err := l.change(shipped, round); err != nil {
			return 0, err
		}
		return l.run(ctx, "ship", shipped)
	})
	if err != nil {
		return results, err
	}
	results = append(results, against("up.ship_seconds", ship, "s", 15))

	memory, err := l.memoryGiB(ctx)
	if err != nil {
		return results, err
	}
	results = append(results, against("up.memory_gib", memory, "GiB", 3))

	cache, err := cacheDir()
	if err != nil {
		return results, err
	}
	disk, err := diskUsage(filepath.Join(l.dir, ".lab"), cache)
	if err != nil {
		return results, err
	}
	return append(results, against("up.disk_gb", disk, "GB", 4)), nil
}

// benchCold measures the first `make up` of a machine: all caches are empty, of Go, npm and labctl. It needs the Go
// modules from where they are downloaded, and what `labctl doctor --fix` installs must be there already.
func benchCold(ctx context.Context, repository string) (results []result, err error) {
	l, err := newLab(ctx, repository)
	if err != nil {
		return nil, err
	}
	home := filepath.Join(l.dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		return nil, err
	}
	l.labctl = filepath.Join(l.source, "bin", "labctl")
	l.env = append(os.Environ(), "HOME="+home, "XDG_CACHE_HOME=", "LABCTL_CACHE=", "GOPATH="+filepath.Join(home, "go"),
		"GOMODCACHE="+filepath.Join(home, "go", "pkg", "mod"), "GOCACHE="+filepath.Join(home, ".cache", "go-build"))
	defer func() { err = errors.Join(err, l.end()) }()

	before, err := freeBytes(l.dir)
	if err != nil {
		return nil, err
	}
	peak := make(chan uint64)
	watching, stop := context.WithCancel(ctx)
	go func() { peak <- watchFree(watching, l.dir, before) }()

	cmd := l.command(ctx, "make", "-C", l.source, "up", "ARGS=--file "+filepath.Join(l.dir, "lab.hcl"))
	cmd.Stdout = os.Stderr
	start := time.Now()
	err = cmd.Run()
	seconds := time.Since(start).Seconds()
	stop()
	least := <-peak
	if err != nil {
		return nil, fmt.Errorf("make up: %w", err)
	}
	results = append(results, against("up.cold_seconds", seconds, "s", 20*60),
		against("up.cold_disk_peak_gb", float64(before-least)/1e9, "GB", 15))
	after, err := diskUsage(l.dir)
	if err != nil {
		return results, err
	}
	return append(results, against("up.cold_disk_after_gb", after, "GB", 4)), nil
}

// watchFree gives the least free space that it saw until ctx ended.
func watchFree(ctx context.Context, dir string, least uint64) uint64 {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if free, err := freeBytes(dir); err == nil {
			least = min(least, free)
		}
		select {
		case <-ctx.Done():
			return least
		case <-tick.C:
		}
	}
}

func freeBytes(dir string) (uint64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return st.Bfree * uint64(st.Bsize), nil
}

func helpMillis(ctx context.Context, program, flag string) (float64, error) {
	return repeat(helpRounds, func(int) (float64, error) {
		start := time.Now()
		err := exec.CommandContext(ctx, program, flag).Run()
		return float64(time.Since(start).Microseconds()) / 1000, err
	})
}

// repeat gives the median of what measure gives.
func repeat(rounds int, measure func(round int) (float64, error)) (float64, error) {
	var values []float64
	for round := range rounds {
		v, err := measure(round)
		if err != nil {
			return 0, err
		}
		values = append(values, v)
	}
	return median(values), nil
}

// change changes a service so that its program differs: what nobody calls would be left out by the linker.
func (l *ownLab) change(service string, round int) error {
	path := filepath.Join(l.source, "services", service, "cmd", service, "bench.go")
	code := fmt.Sprintf(`package main

import "os"

func init() {
	if len(os.Args) > 1000 {
		println("bench round %d")
	}
}
`, round)
	return os.WriteFile(path, []byte(code), 0o644)
}

// memoryGiB is the memory of the node, all its processes and pods, as labctl itself counts it: the sum of their
// proportional set sizes.
func (l *ownLab) memoryGiB(ctx context.Context) (float64, error) {
	out, _, err := l.output(ctx, "cluster", "status", "--json")
	if err != nil {
		return 0, err
	}
	var status struct {
		MemoryBytes int64 `json:"memoryBytes"`
	}
	if err := json.Unmarshal(out, &status); err != nil {
		return 0, fmt.Errorf("read labctl cluster status: %w", err)
	}
	if status.MemoryBytes == 0 {
		return 0, fmt.Errorf("labctl cluster status names no memory: %s", out)
	}
	return float64(status.MemoryBytes) / (1 << 30), nil
}

// cacheDir is where labctl keeps what it built, as cli.Factory decides it.
func cacheDir() (string, error) {
	if dir := os.Getenv("LABCTL_CACHE"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "labctl"), err
}

// initialiser is a line of GODEBUG=inittrace=1 (package runtime): "init PACKAGE @0.5 ms, 0.02 ms clock, 1024 bytes, 3 allocs".
var initialiser = regexp.MustCompile(`(?m)^init (\S+) @\S+ ms, (\S+) ms clock, (\d+) bytes, \d+ allocs$`)

// initialisers lists the packages whose initialisation takes the longest, each with its time in ms and the bytes that it allocates.
func initialisers(ctx context.Context, labctl string) (string, error) {
	const most = 8
	cmd := exec.CommandContext(ctx, labctl, "--help")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	var trace strings.Builder
	cmd.Stderr = &trace
	if err := cmd.Run(); err != nil {
		return "", err
	}
	type cost struct {
		name, bytes string
		ms          float64
	}
	var all []cost
	for _, m := range initialiser.FindAllStringSubmatch(trace.String(), -1) {
		ms, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			return "", err
		}
		all = append(all, cost{m[1], m[3], ms})
	}
	if len(all) == 0 {
		return "", errors.New("the runtime traced no initialiser")
	}
	slices.SortFunc(all, func(a, b cost) int { return cmp.Compare(b.ms, a.ms) })
	var out strings.Builder
	for _, c := range all[:min(most, len(all))] {
		fmt.Fprintf(&out, "  %6.2f ms  %9s bytes  %s\n", c.ms, c.bytes, c.name)
	}
	return out.String(), nil
}
