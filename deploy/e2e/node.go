// Package e2e runs Banyan as its users do: the built binary as a process, real publishers (FFmpeg,
// GStreamer, Chromium), real players (Chromium, FFmpeg, GStreamer), and looks at what the viewer gets.
//
// Node is a running server, Browser a page in headless Chromium, Process any other program. Each ends
// with its test, and what it said is printed if the test failed.
package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Node is a server process with all its doors on loopback ports of its own.
type Node struct {
	*Process
	HTTP, RTSP, RTC, Admin string // host:port
	dir                    string
	config                 []string // flags that token needs as well
}

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "banyan-e2e")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "banyan")
	out, err := exec.Command("go", "build", "-o", binary, "banyan/deploy/banyan").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return binary, nil
})

// RemoveBinary deletes what the nodes of this test process ran; call it once all tests are over.
func RemoveBinary() {
	if binary, err := build(); err == nil {
		_ = os.RemoveAll(filepath.Dir(binary))
	}
}

// StartNode starts a server and waits until it is ready.
func StartNode(t testing.TB, flags ...string) *Node {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return startNode(t, binary, nil, flags)
}

// startNode starts a server; config are flags that tokens need as well.
func startNode(t testing.TB, binary string, config, flags []string) *Node {
	t.Helper()
	const tries = 3 // ports that were free a moment ago may be another test's by now
	for range tries {
		n := launch(t, binary, config, flags)
		Eventually(t, 30*time.Second, "the server is ready or has ended", func() error {
			select {
			case <-n.done:
				return nil
			default:
			}
			_, err := n.Get("/readyz")
			return err
		})
		select {
		case <-n.done:
			if !strings.Contains(n.Output(), "address already in use") {
				t.Fatalf("the server ended: %v", n.err)
			}
		default:
			return n
		}
	}
	t.Fatalf("in %d tries another program took a port that was free before", tries)
	return nil
}

// launch starts a server on ports that nobody uses.
func launch(t testing.TB, binary string, config, flags []string) *Node {
	t.Helper()
	n := &Node{HTTP: freePort(t), RTSP: freePort(t), RTC: freePort(t), Admin: freePort(t), dir: t.TempDir()}
	if i := slices.Index(flags, "--http.addr"); i >= 0 {
		n.HTTP = flags[i+1] // a test that needs a certain one
	}
	n.config = append([]string{"--data.dir", n.dir}, config...)
	args := append([]string{"serve", "--http.addr", n.HTTP, "--rtsp.addr", n.RTSP, "--rtc.addr", n.RTC,
		"--admin.addr", n.Admin, "--rtsp.udp_addr", "127.0.0.1:0", "--rtc.loopback"}, n.config...)
	n.Process = StartProcess(t, binary, append(args, flags...)...)
	return n
}

// freePort finds a port that nobody uses, for TCP and UDP.
func freePort(t testing.TB) string {
	t.Helper()
	for range 20 {
		if addr, free := isFree("127.0.0.1:0"); free {
			return addr
		}
	}
	t.Fatal("found no port that is free for TCP and UDP")
	return ""
}

// isFree tells whether nobody uses the port of an address, for TCP and UDP, and which it is if that was left open.
func isFree(addr string) (string, bool) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return addr, false
	}
	addr = l.Addr().String()
	_ = l.Close()
	u, err := net.ListenPacket("udp", addr)
	if err != nil {
		return addr, false
	}
	_ = u.Close()
	return addr, true
}

// SharedPort finds a port that nobody uses on any of some addresses. Edges share a port, as they do where they have machines of
// their own: content steering names hosts only.
func SharedPort(t testing.TB, hosts ...string) string {
	t.Helper()
	for range 20 {
		_, port, _ := net.SplitHostPort(freePort(t))
		free := true
		for _, host := range hosts {
			l, err := net.Listen("tcp", net.JoinHostPort(host, port))
			if free = free && err == nil; err == nil {
				_ = l.Close()
			}
		}
		if free {
			return port
		}
	}
	t.Fatalf("found no port that is free on %q", hosts)
	return ""
}

// URL is an address on the node's public door.
func (n *Node) URL(path string) string { return "http://" + n.HTTP + path }

// Get fetches a path of the public door; any status but 200 is an error.
func (n *Node) Get(path string) ([]byte, error) { return get(n.URL(path)) }

func get(url string, header ...string) ([]byte, error) {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	client := http.Client{Timeout: 20 * time.Second}
	r, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<20))
	if err != nil {
		return nil, err
	}
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s: %s", url, r.Status, bytes.TrimSpace(body))
	}
	return body, nil
}

// Token makes a token with the binary, as an operator does.
func (n *Node) Token(t testing.TB, grant ...string) string {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, append(append([]string{"token"}, n.config...), grant...)...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("banyan token: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// Metric adds up all series of a metric whose name and labels contain every one of the given parts.
func (n *Node) Metric(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	body, err := get("http://" + n.Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for line := range strings.Lines(string(body)) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if base, _, _ := strings.Cut(series, "{"); !ok || base != name {
			continue
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil && containsAll(series, labels) {
			sum += v
		}
	}
	return sum
}

// wants tells why a metric, added up like Metric, is not at least that.
func (n *Node) wants(t testing.TB, least float64, name string, labels ...string) error {
	t.Helper()
	if got := n.Metric(t, name, labels...); got < least {
		return fmt.Errorf("%s %v is %v, want at least %v", name, labels, got, least)
	}
	return nil
}

// Quantile is the upper bound of the histogram bucket in which the quantile q of a metric lies.
func (n *Node) Quantile(t testing.TB, name string, q float64) float64 {
	t.Helper()
	body, err := get("http://" + n.Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	total := n.Metric(t, name+"_count")
	bucket := regexp.MustCompile(name + `_bucket\{.*le="([0-9.e+-]+)".*\} (\d+)`)
	for _, m := range bucket.FindAllStringSubmatch(string(body), -1) {
		bound, _ := strconv.ParseFloat(m[1], 64)
		if count, _ := strconv.ParseFloat(m[2], 64); count >= q*total {
			return bound
		}
	}
	return math.Inf(1)
}

// PID is the process id of the node.
func (n *Node) PID() int { return n.cmd.Process.Pid }

func containsAll(s string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}

// Stream is what the API tells of a stream.
type Stream struct {
	Name    string
	Live    bool
	Viewers int
	Formats []struct {
		Name, Kind, Codec string
		Width, Height     int
		FPS               float64
		Running           bool
	}
}

// Stream asks the API for a stream.
func (n *Node) Stream(name string) (Stream, error) {
	var s Stream
	body, err := n.Get("/api/v1/streams/" + name)
	if err == nil {
		err = json.Unmarshal(body, &s)
	}
	return s, err
}

// WaitLive waits until a stream has a publisher and all its source formats are known.
func (n *Node) WaitLive(t testing.TB, name string) {
	t.Helper()
	Eventually(t, 30*time.Second, "stream "+name+" is live", func() error {
		s, err := n.Stream(name)
		known := err == nil && s.Live && len(s.Formats) > 0
		for _, f := range s.Formats {
			known = known && f.Codec != ""
		}
		if err == nil && !known {
			err = fmt.Errorf("it is %+v", s)
		}
		return err
	})
}

// Children are the ids of FFmpeg processes that the node runs, by what their arguments contain.
func (n *Node) Children(t testing.TB, argument string) []int {
	t.Helper()
	var found []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	parent := regexp.MustCompile(`^(\d+) \(ffmpeg\) \S (\d+) `)
	for _, stat := range stats {
		text, _ := os.ReadFile(stat)
		m := parent.FindStringSubmatch(string(text))
		if m == nil || m[2] != strconv.Itoa(n.cmd.Process.Pid) {
			continue
		}
		args, _ := os.ReadFile("/proc/" + m[1] + "/cmdline")
		if strings.Contains(string(args), argument) {
			pid, _ := strconv.Atoi(m[1])
			found = append(found, pid)
		}
	}
	return found
}

// Process is a program that ends with its test.
type Process struct {
	cmd  *exec.Cmd
	out  *tail
	done chan struct{} // closed when it has ended
	err  error         // valid after done
}

// StartProcess starts a program in a process group of its own.
func StartProcess(t testing.TB, name string, args ...string) *Process {
	t.Helper()
	p := &Process{cmd: exec.Command(name, args...), out: &tail{}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(name), p.out.String())
		}
	})
	return p
}

// Stop ends the program with SIGTERM, and with SIGKILL if it does not go.
func (p *Process) Stop() {
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(15 * time.Second):
		p.Kill()
	}
}

// Kill ends the program and its children at once.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// Signal sends a signal to the program and its children.
func (p *Process) Signal(s syscall.Signal) { _ = syscall.Kill(-p.cmd.Process.Pid, s) }

// Wait waits until the program has ended by itself.
func (p *Process) Wait(t testing.TB, within time.Duration) {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(within):
		t.Fatalf("%s did not end within %v", filepath.Base(p.cmd.Path), within)
	}
	if p.err != nil {
		t.Fatalf("%s: %v", filepath.Base(p.cmd.Path), p.err)
	}
}

// Output is what the program printed lately.
func (p *Process) Output() string { return p.out.String() }

// tail keeps the last bytes written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (w *tail) Write(p []byte) (int, error) {
	const most = 64 << 10
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(w.buf, p...)
	if len(w.buf) > most {
		w.buf = append(w.buf[:0], w.buf[len(w.buf)-most:]...)
	}
	return len(p), nil
}

func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.buf)
}

// Eventually calls check until it returns nil.
func Eventually(t testing.TB, within time.Duration, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s: %v", within, what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
