package load

import (
	"maps"
	"os"
	"strconv"
	"strings"
	"time"
)

// memory gives the resident KiB of a process.
func memory(pid int) (kib int64, ok bool) {
	if pid == 0 {
		return 0, false
	}
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		if v, found := strings.CutPrefix(line, "VmRSS:"); found {
			n, err := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// ticks are what Linux counts processor time in, whatever its clock does.
const ticks = 100

// processors gives the processor time that processes have used, by name. Those that are gone are left out.
func processors(pids map[string]int) map[string]time.Duration {
	used := map[string]time.Duration{}
	for name, pid := range pids {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			continue
		}
		// The second field is the command in parentheses, and may hold anything. The 14th and 15th are user and system time.
		_, rest, _ := strings.Cut(string(b[max(strings.LastIndexByte(string(b), ')'), 0):]), " ")
		fields := strings.Fields(rest)
		if len(fields) < 13 {
			continue
		}
		user, err := strconv.ParseInt(fields[11], 10, 64)
		system, worse := strconv.ParseInt(fields[12], 10, 64)
		if err == nil && worse == nil {
			used[name] = time.Duration(user+system) * time.Second / ticks
		}
	}
	return used
}

// Generator is the name of this process among those that are measured.
const Generator = "generator"

// watched gives the processes whose time is measured: those of Options, and this one.
func (o Options) watched() map[string]int {
	if o.PIDs == nil {
		return nil
	}
	all := maps.Clone(o.PIDs)
	all[Generator] = os.Getpid()
	return all
}

// since gives the seconds that were used between two measurements.
func since(before, after map[string]time.Duration) map[string]float64 {
	used := map[string]float64{}
	for name, t := range after {
		if was, ok := before[name]; ok {
			used[name] = (t - was).Seconds()
		}
	}
	return used
}
