//go:build linux

package fanout

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// usage is what a process has used.
type usage struct {
	cpu time.Duration // user and system
	rss int64         // bytes, now

	// Of its threads, by the scheduler's account: on a core, and in want of one.
	ran, waited time.Duration
}

// clockTick is the unit of CPU time in /proc, the same on all Linux systems.
const clockTick = 10 * time.Millisecond

// usageOf reads the usage of a process.
func usageOf(pid int) (usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, fmt.Errorf("read the CPU time of process %d: %w", pid, err)
	}
	const user, system, resident = 11, 12, 21 // fields after the name, which may hold anything but ")"
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) <= resident {
		return usage{}, fmt.Errorf("read the CPU time of process %d: only %d fields", pid, len(fields))
	}
	number := func(i int) int64 {
		n, _ := strconv.ParseInt(fields[i], 10, 64) // the kernel writes numbers
		return n
	}
	u := usage{
		cpu: time.Duration(number(user)+number(system)) * clockTick,
		rss: number(resident) * int64(os.Getpagesize()),
	}
	u.ran, u.waited = scheduleOf(pid)
	return u, nil
}

// scheduleOf reads the scheduler's account of a process; zero where the kernel keeps none.
func scheduleOf(pid int) (ran, waited time.Duration) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid)) // the pattern is sound
	for _, path := range threads {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		var r, w time.Duration
		if _, err := fmt.Sscan(string(text), &r, &w); err == nil {
			ran, waited = ran+r, waited+w
		}
	}
	return ran, waited
}
