package rtsp

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"banyan/relay"
	"banyan/relay/auth"
	"banyan/relay/frame"
	"banyan/relay/log"
	"banyan/relay/media"
)

func TestMain(m *testing.M) {
	// Cameras run in real time and cost little: more at once than there are cores.
	flag.Parse()
	_ = flag.Set("test.parallel", "6")
	forget, err := trustOurselves()
	if err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { forget(); os.Exit(code) }))
}

// certificate is that of all servers here. Clients of this process trust it.
var certificate tls.Certificate

// trustOurselves makes the certificate, and has Go take it for one of the system's.
func trustOurselves() (forget func(), err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	file, err := os.CreateTemp("", "banyan-rtsp-*.pem")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(pem.Encode(file, &pem.Block{Type: "CERTIFICATE", Bytes: der}), file.Close()); err != nil {
		return nil, err
	}
	return func() { os.Remove(file.Name()) }, os.Setenv("SSL_CERT_FILE", file.Name())
}

func selfSigned() *tls.Config { return &tls.Config{Certificates: []tls.Certificate{certificate}} }

// patience bounds every wait of these tests, for a busy machine.
const patience = 20 * time.Second

// node is a server with its hub.
type node struct {
	t      *testing.T
	hub    *relay.Hub
	server *Server
	guard  *auth.Guard
	logs   *logBook
	secure bool // url and dial go by TLS
}

// newNode starts a server that is open to all unless config has a guard.
func newNode(t *testing.T, change func(*Config)) *node {
	t.Helper()
	n := &node{t: t, logs: &logBook{}}
	logger := slog.New(slog.NewTextHandler(n.logs, nil))
	n.hub = relay.New(relay.Config{Logger: logger})
	t.Cleanup(n.hub.Close)
	n.guard = newGuard(t, auth.Open)
	config := Config{Hub: n.hub, Guard: n.guard, Addr: "127.0.0.1:0", UDPAddr: "127.0.0.1:0", Logger: logger}
	if change != nil {
		change(&config)
	}
	var err error
	if n.server, err = New(config); err != nil {
		t.Fatal(err)
	}
	run(t, n.server.Run)
	select {
	case <-n.server.Listening():
	case <-time.After(patience):
		t.Fatal("the server does not listen")
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(n.logs.String())
		}
	})
	return n
}

// run starts something that is to end, without an error, when the test does.
func run(t *testing.T, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run does not return")
		}
	})
}

func newGuard(t *testing.T, mode auth.Mode) *auth.Guard {
	t.Helper()
	g, err := auth.NewGuard(auth.Config{Secret: bytes.Repeat([]byte("k"), 32), Publish: mode, Play: mode})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (n *node) token(publish, play string) string {
	n.t.Helper()
	token, err := n.guard.Mint(auth.Grant{Publish: []string{publish}, Play: []string{play}, TTL: time.Hour})
	if err != nil {
		n.t.Fatal(err)
	}
	return token
}

func (n *node) url(path string) string {
	if n.secure {
		return fmt.Sprintf("rtsps://%s/%s", n.server.TLSAddr(), path)
	}
	return fmt.Sprintf("rtsp://%s/%s", n.server.Addr(), path)
}

// track waits for a source track to have begun.
func (n *node) track(name media.Name, kind media.Kind) *log.Log {
	n.t.Helper()
	var found *log.Log
	eventually(n.t, fmt.Sprintf("%s to have %v", name, kind), func() bool {
		stream, err := n.hub.Stream(name)
		if err != nil {
			return false
		}
		for _, t := range stream.Published() {
			if t.ID.Kind == kind && t.Params != nil && t.Log.NewestTime() != 0 {
				found = t.Log
			}
		}
		return found != nil
	})
	return found
}

// began tells whether a track of a stream has begun.
func (n *node) began(name media.Name) bool {
	stream, err := n.hub.Stream(name)
	return err == nil && slices.ContainsFunc(stream.Published(), func(t relay.Track) bool { return t.Params != nil })
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("waited %v in vain for %s", patience, what)
}

// frames reads n frames from where c stands.
func frames(t *testing.T, r *frame.Reader, n int) []*frame.Frame {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var all []*frame.Frame
	for len(all) < n {
		f, err := r.Read(ctx)
		if err != nil {
			t.Fatalf("after %d of %d frames: %v", len(all), n, err)
		}
		all = append(all, f)
	}
	return all
}

func readFrom(l *log.Log, start log.Start) *frame.Reader { return frame.NewReader(l.Cursor(start)) }

// process is a child that is killed with the test.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	output *logBook
	done   chan struct{}
	once   sync.Once
}

func start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(name, args...), output: &logBook{}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v (install ffmpeg and gstreamer1.0-tools, gstreamer1.0-rtsp)", name, err)
	}
	go func() { _ = p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s %s:\n%s", name, strings.Join(args, " "), p.output)
		}
	})
	return p
}

// kill is kill -9.
func (p *process) kill() {
	p.once.Do(func() { _ = p.cmd.Process.Kill() })
	<-p.done
}

// ended waits for the process to end by itself and tells whether it was content.
func (p *process) ended() bool {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.Success()
	case <-time.After(patience):
		p.t.Fatalf("%s does not end", p.cmd.Path)
		return false
	}
}

// picture and tone are FFmpeg's test inputs, in real time.
var (
	picture = []string{"-re", "-f", "lavfi", "-i", "testsrc=size=320x180:rate=15"}
	tone    = []string{"-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"}
)

func x264(more ...string) []string {
	return append([]string{"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "15", "-threads", "1"}, more...)
}

// push runs FFmpeg as a publisher.
func push(t *testing.T, url, transport string, args ...[]string) *process {
	t.Helper()
	all := []string{"-hide_banner", "-loglevel", "warning", "-nostdin"}
	for _, a := range args {
		all = append(all, a...)
	}
	return start(t, "ffmpeg", append(all, "-f", "rtsp", "-rtsp_transport", transport, url)...)
}

// logBook collects what is logged.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// raw speaks RTSP by hand.
type raw struct {
	t    *testing.T
	conn net.Conn
}

func (n *node) dial(t *testing.T) *raw {
	t.Helper()
	var c net.Conn
	var err error
	if n.secure {
		c, err = tls.Dial("tcp", n.server.TLSAddr().String(), nil)
	} else {
		c, err = net.Dial("tcp", n.server.Addr().String())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &raw{t: t, conn: c}
}

// ask sends bytes and reads until the peer answers or closes; closed connections answer "".
func (r *raw) ask(request string) string {
	r.t.Helper()
	_ = r.conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(r.conn, request); err != nil {
		return ""
	}
	buffer := make([]byte, 64<<10)
	n := 0
	for n < len(buffer) {
		m, err := r.conn.Read(buffer[n:])
		n += m
		if err != nil || complete(string(buffer[:n])) {
			break
		}
	}
	return string(buffer[:n])
}

// complete tells whether text holds a whole response.
func complete(text string) bool {
	head, body, found := strings.Cut(text, "\r\n\r\n")
	if !found {
		return false
	}
	length := 0
	for _, line := range strings.Split(head, "\r\n") {
		if value, is := strings.CutPrefix(line, "Content-Length: "); is {
			_, _ = fmt.Sscan(value, &length)
		}
	}
	return len(body) >= length
}
