package transcoder

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"
)

// process is an FFmpeg child with its pipes. Whoever starts one calls wait, which returns when the
// child is gone and all that served it has ended.
type process struct {
	cmd    *exec.Cmd
	stdin  *os.File // our end; closing it tells the child that there is no more
	stdout *os.File // our end; it ends when the child does
	stderr *tail

	exited chan struct{} // closed when the child is gone and err is set
	err    error
}

// limits bound what a child may take.
type limits struct {
	memory uint64 // bytes of address space; zero for no bound
	nice   int
}

// environment lists the variables that children get: what drivers of hardware encoders need.
var environment = []string{"PATH", "LD_LIBRARY_PATH", "LIBVA_DRIVER_NAME", "LIBVA_DRIVERS_PATH",
	"CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"}

func childEnvironment() []string {
	var env []string
	for _, name := range environment {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// startProcess starts path with args: no shell, a process group of its own, an empty environment but
// for what drivers need, the root as its directory.
func startProcess(path string, args []string, l limits) (*process, error) {
	childIn, stdin, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe to FFmpeg: %w", err)
	}
	stdout, childOut, err := os.Pipe()
	if err != nil {
		childIn.Close()
		stdin.Close()
		return nil, fmt.Errorf("make a pipe from FFmpeg: %w", err)
	}
	p := &process{stdin: stdin, stdout: stdout, stderr: &tail{}, exited: make(chan struct{})}
	p.cmd = exec.Command(path, args...)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = childIn, childOut, p.stderr
	p.cmd.Env, p.cmd.Dir = childEnvironment(), "/"
	p.cmd.WaitDelay = time.Second // for a grandchild that holds stderr
	isolate(p.cmd)

	started := make(chan error)
	go p.serve(l, started)
	err = <-started
	childIn.Close()
	childOut.Close()
	if err != nil {
		stdin.Close()
		stdout.Close()
		<-p.exited
		return nil, fmt.Errorf("start FFmpeg: %w", err)
	}
	return p, nil
}

// serve starts the child and waits for it on one thread, as Linux sends the signal of a parent's
// death when the thread ends that started the child.
func (p *process) serve(l limits, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.exited)
	if err := p.cmd.Start(); err != nil {
		started <- err
		return
	}
	confine(p.pid(), l)
	started <- nil
	p.err = p.cmd.Wait()
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// kill ends the child and all of its group at once, stopped or not.
func (p *process) kill() { killGroup(p.cmd.Process) }

// wait closes the pipes once the child is gone, and says how it ended. Kill it, or close stdin, first.
func (p *process) wait() error {
	<-p.exited
	p.stdin.Close()
	p.stdout.Close()
	return p.err
}

// tail keeps the end of what a child says. It is safe for concurrent use.
type tail struct {
	mu    sync.Mutex
	buf   []byte
	fresh int // bytes at the end of buf that nobody has taken
}

// tailBytes bounds what is kept of a child's complaints.
const tailBytes = 4 << 10

// Write never fails and never blocks.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b[max(0, len(b)-tailBytes):]...)
	if over := len(t.buf) - tailBytes; over > 0 {
		t.buf = t.buf[:copy(t.buf, t.buf[over:])]
	}
	t.fresh = min(t.fresh+len(b), len(t.buf))
	return len(b), nil
}

// take is the last line said since the call before; empty for none.
func (t *tail) take() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	fresh := t.buf[len(t.buf)-t.fresh:]
	t.fresh = 0
	return lastLine(fresh)
}

// last is the last line said.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return lastLine(t.buf)
}

func lastLine(b []byte) string {
	b = bytes.TrimSpace(b)
	if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
		b = b[i+1:]
	}
	const most = 300
	line := strings.ToValidUTF8(string(b[:min(len(b), most)]), "?")
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, line)
}

// activity is what the system knows of the work of a process.
type activity struct {
	used     int64 // processor time so far, in whatever unit
	runnable bool  // it would use more now
}

// slowFactor is how many times as long as one that does nothing a child has that uses the processor, or waits for it: on a
// machine that has too much to do it is only slow.
const slowFactor = 4

// expire kills the child after limit, unless stop is called before, or after slowFactor times that if it is only slow.
func (p *process) expire(limit time.Duration) (stop func()) {
	look := limit / 2
	done, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		ticker := time.NewTicker(look)
		defer ticker.Stop()
		used := int64(0)
		for age := look; ; age += look {
			select {
			case <-ticker.C:
			case <-done:
				return
			}
			now := activityOf(p.pid())
			if age >= slowFactor*limit || age >= limit && now.used <= used && !now.runnable {
				p.kill()
				return
			}
			used = now.used
		}
	}()
	return func() { close(done); <-watched }
}

// runOnce runs a short-lived child on input and returns at most most bytes of its output. It is
// killed when it takes too long (expire), or says more.
func runOnce(path string, args []string, l limits, input []byte, limit time.Duration, most int64) ([]byte, error) {
	p, err := startProcess(path, args, l)
	if err != nil {
		return nil, err
	}
	defer p.expire(limit)()
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		_, _ = p.stdin.Write(input) // a child that has enough may close its end
		p.stdin.Close()
	}()
	out, err := io.ReadAll(io.LimitReader(p.stdout, most+1))
	if int64(len(out)) > most {
		err = fmt.Errorf("it says more than %d bytes", most)
		p.kill()
	}
	p.stdout.Close()
	exit := p.wait()
	<-fed
	if err == nil {
		err = exit
	}
	if err != nil {
		return nil, fmt.Errorf("FFmpeg failed: %w: %s", err, p.stderr.last())
	}
	return out, nil
}
