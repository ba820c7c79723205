package cluster

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// memoryOf is what the node's first process and all that it started use together, in bytes: the sum of their
// proportional set sizes (proc(5), smaps_rollup), in which shared pages count once. A control group would count page
// cache that the kernel gives up at need.
func memoryOf(pid int) int64 {
	var kib int64
	for _, p := range descendants(pid) {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p))
		if err != nil {
			continue // it ended while we looked
		}
		for line := range strings.Lines(string(content)) {
			if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "Pss:" {
				n, err := strconv.ParseInt(fields[1], 10, 64)
				if err == nil {
					kib += n
				}
			}
		}
	}
	return kib << 10
}

// descendants gives a process and all that it started, directly or not.
func descendants(root int) []int {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	children := map[int][]int{}
	for _, path := range stats {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // it ended while we looked
		}
		// The name, in parentheses, may hold anything; the parent is the second field after it (proc(5)).
		fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:]))
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || len(fields) < 2 {
			continue
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			children[parent] = append(children[parent], pid)
		}
	}
	out := []int{root}
	for i := 0; i < len(out); i++ {
		out = append(out, children[out[i]]...)
	}
	return out
}
