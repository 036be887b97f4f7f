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

// processorTime is how much processor time a process has used, in clock ticks; zero where that cannot
// be found out.
func processorTime(pid int) int64 {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// The name, in parentheses, may hold anything; utime and stime are fields 14 and 15, proc(5).
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const user, system = 14 - 3, 15 - 3
	if len(fields) <= system {
		return 0
	}
	u, _ := strconv.ParseInt(string(fields[user]), 10, 64)
	s, _ := strconv.ParseInt(string(fields[system]), 10, 64)
	return u + s
}
