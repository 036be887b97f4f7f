package transcoder

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// isolate puts the child into a group of its own, out of reach of signals to ours, and lets it die
// with us however we die.
func isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// confine bounds a child that has started: memory, no files written, no core dumps, few descriptors,
// and a lower claim on the processor than the relay's. Where the system refuses, the child goes on
// without.
func confine(pid int, l limits) {
	set := func(resource int, most uint64) {
		_ = unix.Prlimit(pid, resource, &unix.Rlimit{Cur: most, Max: most}, nil)
	}
	if l.memory > 0 {
		set(unix.RLIMIT_AS, l.memory)
	}
	set(unix.RLIMIT_FSIZE, 0) // pipes do not count as files
	set(unix.RLIMIT_CORE, 0)
	set(unix.RLIMIT_NOFILE, 256)
	_ = unix.Setpriority(unix.PRIO_PROCESS, pid, l.nice)
}

func killGroup(p *os.Process) {
	// The group has the child's number as long as the child has not been waited for; after that
	// Process.Kill knows better than to send a signal to a stranger.
	if err := p.Signal(syscall.Signal(0)); err == nil {
		_ = syscall.Kill(-p.Pid, syscall.SIGKILL)
	}
	_ = p.Kill()
}

// activityOf is how much processor time a process has used, in clock ticks, and whether any of its threads would use more
// now if it got it: on a machine with much to do it may wait for long, and one that is stopped or waits for something
// else does not. Zero and false where that cannot be found out.
func activityOf(pid int) activity {
	process := "/proc/" + strconv.Itoa(pid)
	a, err := readActivity(process + "/stat")
	if err != nil || a.runnable {
		return a
	}
	threads, _ := os.ReadDir(process + "/task") // the process's own state is that of its first thread
	for _, thread := range threads {
		if one, err := readActivity(process + "/task/" + thread.Name() + "/stat"); err == nil && one.runnable {
			a.runnable = true
			break
		}
	}
	return a
}

// readActivity reads a file as proc(5) describes /proc/PID/stat.
func readActivity(path string) (activity, error) {
	stat, err := os.ReadFile(path)
	if err != nil {
		return activity{}, err
	}
	// The name, in parentheses, may hold anything; after it come the state, field 3, and others; utime and stime are 14 and 15.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const state, user, system = 0, 14 - 3, 15 - 3
	if len(fields) <= system {
		return activity{}, nil
	}
	u, _ := strconv.ParseInt(string(fields[user]), 10, 64)
	s, _ := strconv.ParseInt(string(fields[system]), 10, 64)
	return activity{used: u + s, runnable: string(fields[state]) == "R"}, nil
}
