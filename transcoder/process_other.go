//go:build !linux

package transcoder

import (
	"os"
	"os/exec"
)

func isolate(*exec.Cmd) {}

func confine(int, limits) {}

func killGroup(p *os.Process) { _ = p.Kill() }

func activityOf(int) activity { return activity{} }
