package rtsp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"banyan/relay/auth"
	"banyan/relay/log"
	"banyan/relay/media"
)

func TestPullWithDigestOverEachTransport(t *testing.T) {
	t.Parallel()
	camera := locked(t)
	push(t, camera.urlAs("ana", "s3cret-of-ana", "cup/cam1"), "tcp", picture, tone, x264("-bf", "2"), []string{"-c:a", "aac"})
	camera.track("cup/cam1", media.Video)
	camera.track("cup/cam1", media.Audio)
	for _, transport := range []string{"udp", "tcp", "auto"} {
		t.Run(transport, func(t *testing.T) {
			n := newNode(t, func(c *Config) {
				c.Pull = []Pull{{Stream: "cup/cam1", URL: camera.urlAs("ana", "s3cret-of-ana", "cup/cam1"), Transport: transport}}
			})
			checkVideo(t, n, media.H264, true)
			checkAudio(t, n, media.AAC)
			if strings.Contains(n.logs.String(), "s3cret") {
				t.Error("the password is in the log")
			}
		})
	}
}

// TestPullComesBack takes the whole camera away, which then returns at the same address.
func TestPullComesBack(t *testing.T) {
	t.Parallel()
	camera := newNode(t, nil)
	push(t, camera.url("cam"), "tcp", picture, x264())
	camera.track("cam", media.Video)
	wire := newCable(t, camera.server.Addr().String())
	n := newNode(t, func(c *Config) {
		c.Pull = []Pull{{Stream: "copy", URL: "rtsp://" + wire.Addr().String() + "/cam", Transport: "tcp"}}
	})
	reader := readFrom(n.track("copy", media.Video), log.LastKeyframe())
	before := frames(t, reader, 1)[0]
	wire.cut()
	for {
		f := frames(t, reader, 1)[0]
		if f.Params.Epoch != before.Params.Epoch {
			if f.Time() <= before.Time() || !f.Keyframe || !f.Discontinuity {
				t.Errorf("the new epoch begins with %+v", f)
			}
			break
		}
		before = f
	}
	if n.server.Stats().PullFailures != 1 {
		t.Errorf("%d failures were counted; want 1", n.server.Stats().PullFailures)
	}
}

// cable is a TCP proxy that can be cut.
type cable struct {
	net.Listener
	open sync.Map
}

func newCable(t *testing.T, to string) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{Listener: l}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			c.open.Store(near, true)
			c.open.Store(far, true)
			wg.Go(func() { _, _ = io.Copy(near, far); near.Close() })
			wg.Go(func() { _, _ = io.Copy(far, near); far.Close() })
		}
	})
	t.Cleanup(func() { l.Close(); c.cut(); wg.Wait() })
	return c
}

// cut breaks all connections; new ones work.
func (c *cable) cut() {
	c.open.Range(func(conn, _ any) bool { conn.(net.Conn).Close(); return true })
}

func TestPullOverTLS(t *testing.T) {
	t.Parallel()
	camera := secureNode(t)
	push(t, camera.url("cam"), "tcp", picture, x264())
	camera.track("cam", media.Video)
	n := newNode(t, func(c *Config) { c.Pull = []Pull{{Stream: "copy", URL: camera.url("cam"), Transport: "tcp"}} })
	frames(t, readFrom(n.track("copy", media.Video), log.LastKeyframe()), 10)
}

func TestPullFallsBackToTCP(t *testing.T) {
	t.Parallel()
	camera := newNode(t, func(c *Config) { c.UDPAddr = "off" })
	push(t, camera.url("cam"), "tcp", picture, x264())
	camera.track("cam", media.Video)
	n := newNode(t, func(c *Config) { c.Pull = []Pull{{Stream: "copy", URL: camera.url("cam")}} })
	n.track("copy", media.Video)
}

func TestPushGoesBeforePull(t *testing.T) {
	t.Parallel()
	camera := newNode(t, nil)
	push(t, camera.url("cam"), "tcp", picture, x264())
	camera.track("cam", media.Video)
	n := newNode(t, func(c *Config) {
		c.Pull = []Pull{{Stream: "copy", URL: camera.url("cam"), Transport: "tcp"}}
	})
	n.track("copy", media.Video)
	pusher := push(t, n.url("copy"), "tcp", picture, x264())
	origin := func() string {
		stream, err := n.hub.Stream("copy")
		if err != nil {
			return ""
		}
		origin, _, _ := stream.Publisher()
		return origin
	}
	eventually(t, "the push to take over", func() bool { return strings.HasPrefix(origin(), "rtsp 127") })
	eventually(t, "the pull to wait", func() bool { return n.server.Stats().PullFailures > 0 })
	pusher.kill()
	eventually(t, "the pull to go on", func() bool { return strings.HasPrefix(origin(), "rtsp pull") })
}

func TestPullsAreChecked(t *testing.T) {
	t.Parallel()
	for _, p := range []Pull{
		{Stream: "a//b", URL: "rtsp://192.168.1.2/x"}, {Stream: "a", URL: "http://192.168.1.2/x"}, {Stream: "a", URL: "file:///etc/passwd"},
		{Stream: "a", URL: "rtsp://192.168.1.2/x", Transport: "pigeon"}, {Stream: "a", URL: "rtsp://192.168.1.2/x", Public: true},
		{Stream: "a", URL: "rtsp://127.0.0.1:8554/x", Public: true}, {Stream: "a", URL: "rtsp://0.0.0.0/x"},
	} {
		_, err := New(Config{Hub: newNode(t, nil).hub, Guard: newGuard(t, auth.Open), Pull: []Pull{p}})
		if err == nil || !strings.Contains(err.Error(), "item 1") {
			t.Errorf("%+v: %v; want an error that names the item", p, err)
		}
	}
}

// camera is a hostile RTSP server: for each connection it does what serve says.
type camera struct {
	net.Listener
	conns atomic.Int32
	seen  logBook // all that clients sent
}

func newCamera(t *testing.T, serve func(*camera, net.Conn)) *camera {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &camera{Listener: l}
	var wg sync.WaitGroup
	var open sync.Map
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.conns.Add(1)
			open.Store(conn, true)
			wg.Go(func() { defer conn.Close(); serve(c, conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		open.Range(func(conn, _ any) bool { conn.(net.Conn).Close(); return true })
		wg.Wait()
	})
	return c
}

// answer reads requests and answers each by what reply makes of its method and CSeq.
func (c *camera) answer(conn net.Conn, reply func(method, cseq string) string) {
	buffer, text := make([]byte, 4096), ""
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		_, _ = c.seen.Write(buffer[:n])
		text += string(buffer[:n])
		for {
			request, rest, whole := strings.Cut(text, "\r\n\r\n")
			if !whole {
				break
			}
			text = rest
			method, _, _ := strings.Cut(request, " ")
			_, cseq, _ := strings.Cut(request, "CSeq: ")
			cseq, _, _ = strings.Cut(cseq, "\r\n")
			if _, err := io.WriteString(conn, reply(method, cseq)); err != nil {
				return
			}
		}
	}
}

func fine(cseq string, more ...string) string {
	return "RTSP/1.0 200 OK\r\nCSeq: " + cseq + "\r\n" + strings.Join(more, "")
}

// described answers DESCRIBE with body and all else with 200.
func described(headers, body string) func(method, cseq string) string {
	return func(method, cseq string) string {
		if method != "DESCRIBE" {
			return fine(cseq, "\r\n")
		}
		return fine(cseq, headers, "Content-Type: application/sdp\r\n", fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)), body)
	}
}

func redirect(to string) func(method, cseq string) string {
	return func(method, cseq string) string {
		if method != "DESCRIBE" {
			return fine(cseq, "\r\n")
		}
		return "RTSP/1.0 301 Moved\r\nCSeq: " + cseq + "\r\nLocation: " + to + "\r\n\r\n"
	}
}

// attemptAt tries the camera once, as if with a password.
func attemptAt(t *testing.T, c *camera, userinfo string) error {
	t.Helper()
	n := newNode(t, func(config *Config) {
		config.Silence, config.RequestTimeout = 700*time.Millisecond, time.Second
	})
	p, err := n.server.newPull(Pull{Stream: "cam", URL: "rtsp://" + userinfo + c.Addr().String() + "/live", Transport: "tcp"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err = p.once(ctx)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Error("the attempt is not bounded in time")
	}
	if err == nil {
		t.Fatal("the attempt succeeded")
	}
	if text := p.scrub(err); strings.Contains(text, "hunter2") || len(text) > 310 {
		t.Errorf("the error tells too much: %s", text)
	}
	if len(n.hub.Streams()) > 0 && n.hub.Streams()[0].Live() {
		t.Error("the stream still has a publisher")
	}
	return err
}

// TestHostileCameras is R24: slow, huge, endless and wrong answers are bounded, and tell the cause.
func TestHostileCameras(t *testing.T) {
	t.Parallel()
	endless := func(unit string, pause time.Duration) func(*camera, net.Conn) {
		return func(_ *camera, conn net.Conn) {
			for range 100000 {
				if _, err := io.WriteString(conn, unit); err != nil {
					return
				}
				time.Sleep(pause)
			}
		}
	}
	replies := func(reply func(method, cseq string) string) func(*camera, net.Conn) {
		return func(c *camera, conn net.Conn) { c.answer(conn, reply) }
	}
	track := announcement[strings.Index(announcement, "m="):]
	for name, serve := range map[string]func(*camera, net.Conn){
		"closes at once":    func(*camera, net.Conn) {},
		"never answers":     func(_ *camera, conn net.Conn) { _, _ = io.Copy(io.Discard, conn) },
		"one byte a time":   endless("R", 20*time.Millisecond),
		"endless headers":   endless("RTSP/1.0 200 OK\r\n"+strings.Repeat("A: b\r\n", 100), 0),
		"endless responses": endless("RTSP/1.0 200 OK\r\nCSeq: 99999\r\n\r\n", time.Millisecond),
		"endless requests":  endless("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n", time.Millisecond),
		"garbage":           endless("\x00\xff$\x00", 0),
		"frames too early":  endless("$\x00\x00\x04abcd", time.Millisecond),
		"wrong CSeq":        replies(func(_, cseq string) string { return fine(cseq+"9", "\r\n") }),
		"huge SDP": replies(func(method, cseq string) string {
			return fine(cseq, "Content-Type: application/sdp\r\nContent-Length: 1073741824\r\n\r\n", strings.Repeat("a=x\r\n", 40000))
		}),
		"SDP of nonsense":     replies(described("", "nonsense")),
		"SDP of 17 tracks":    replies(described("", announcement+strings.Repeat(track, 16))),
		"SDP without a codec": replies(described("", strings.ReplaceAll(announcement, "H264/90000", "theora/90000"))),
		"no transport":        replies(described("", announcement)),
		"foreign source": replies(func(method, cseq string) string {
			if method == "SETUP" {
				return fine(cseq, "Transport: RTP/AVP;unicast;source=192.0.2.1;client_port=5000-5001;server_port=53-54\r\nSession: 1\r\n\r\n")
			}
			return described("", announcement)(method, cseq)
		}),
		"silent after PLAY": replies(func(method, cseq string) string {
			if method == "SETUP" {
				return fine(cseq, "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n\r\n")
			}
			return described("", announcement)(method, cseq)
		}),
		"redirects to a file":   replies(redirect("file:///etc/passwd")),
		"redirects to nonsense": replies(redirect("rtsp://%zz")),
		"wants a password again and again": replies(func(_, cseq string) string {
			return "RTSP/1.0 401 Unauthorized\r\nCSeq: " + cseq + "\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\r\n"
		}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			attemptAt(t, newCamera(t, serve), "ana:hunter2@")
		})
	}
}

func TestRedirectsAreBounded(t *testing.T) {
	t.Parallel()
	c := newCamera(t, func(c *camera, conn net.Conn) { c.answer(conn, redirect("rtsp://"+c.Addr().String()+"/again")) })
	attemptAt(t, c, "")
	if n := c.conns.Load(); n > maxDials {
		t.Errorf("%d connections were made; want at most %d", n, maxDials)
	}
}

// TestRedirectsStayOutsideOfPrivateNetworks is R23: where a camera sends us to passes the guard, by address and by name.
// A test has no camera on the internet: this one's guard turns into that of a public pull when it is connected to.
func TestRedirectsStayOutsideOfPrivateNetworks(t *testing.T) {
	t.Parallel()
	canary := newCamera(t, func(c *camera, conn net.Conn) { c.answer(conn, described("", announcement)) })
	_, port, _ := net.SplitHostPort(canary.Addr().String())
	for _, c := range []struct {
		name, to string
		public   bool
		want     string
	}{
		{"a private address", "rtsp://" + canary.Addr().String() + "/x", true, "private network"},
		{"a name with a private address", "rtsp://inside.example:" + port + "/x", true, "private network"},
		{"a service of the cloud, by the operator's own camera", "rtsp://169.254.169.254:8554/x", false, "not one that streams come from"},
		{"another service, by the operator's own camera", "rtsp://127.0.0.1:25/x", false, "port 25 is not allowed"},
	} {
		for way, reply := range map[string]func(method, cseq string) string{
			"redirect": redirect(c.to), "Content-Base": described("Content-Base: "+c.to+"/\r\n", announcement),
		} {
			t.Run(c.name+" by "+way, func(t *testing.T) {
				n := newNode(t, nil)
				var p *puller
				sender := newCamera(t, func(sender *camera, conn net.Conn) {
					sender.answer(conn, func(method, cseq string) string {
						p.guard.Private = !c.public
						return reply(method, cseq)
					})
				})
				var err error
				if p, err = n.server.newPull(Pull{Stream: "cam", URL: "rtsp://" + sender.Addr().String() + "/live", Transport: "tcp"}); err != nil {
					t.Fatal(err)
				}
				p.guard.Lookup = func(context.Context, string) ([]netip.Addr, error) {
					return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
				}
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				// After a Content-Base requests stay on their connection, whatever host it names.
				if err := p.once(ctx); err == nil || way == "redirect" && !strings.Contains(err.Error(), c.want) {
					t.Errorf("the attempt ended with %v; want %q", err, c.want)
				}
				if got := sender.conns.Load(); got != 1 {
					t.Errorf("the camera was connected to %d times", got)
				}
			})
		}
	}
	if n := canary.conns.Load(); n != 0 {
		t.Errorf("the address inside was connected to %d times: %s", n, canary.seen.String())
	}
}

// TestPublicPullsStayOutside: a name of the internet that means an address inside.
func TestPublicPullsStayOutside(t *testing.T) {
	t.Parallel()
	canary := newCamera(t, func(c *camera, conn net.Conn) { c.answer(conn, described("", announcement)) })
	_, port, _ := net.SplitHostPort(canary.Addr().String())
	n := newNode(t, nil)
	p, err := n.server.newPull(Pull{Stream: "cam", URL: "rtsp://cam.example:" + port + "/live", Transport: "tcp", Public: true})
	if err != nil {
		t.Fatal(err)
	}
	p.guard.Lookup = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("93.184.215.14"), netip.MustParseAddr("127.0.0.1")}, nil
	}
	if err := p.once(t.Context()); err == nil || !strings.Contains(err.Error(), "private network") {
		t.Errorf("the attempt ended with %v", err)
	}
	if n := canary.conns.Load(); n != 0 {
		t.Errorf("the address inside was connected to %d times", n)
	}
}

// TestRetriesHaveJitter is R23: from 0.5 to 5 s, growing, and not the same for all.
func TestRetriesHaveJitter(t *testing.T) {
	t.Parallel()
	for name, random := range map[string]func(time.Duration) time.Duration{
		"least": func(time.Duration) time.Duration { return 0 }, "most": func(below time.Duration) time.Duration { return below - 1 },
	} {
		p, pause := &puller{random: random}, retryFirst
		for i := range 10 {
			if got := p.jittered(pause); got < 500*time.Millisecond || got > 5*time.Second {
				t.Errorf("%s: pause %d is %v; want 0.5 to 5 s", name, i, got)
			}
			if next := longer(pause); next < pause || i < 2 && next != 2*pause {
				t.Errorf("after %v comes %v", pause, next)
			}
			pause = longer(pause)
		}
	}
	refused := newCamera(t, func(*camera, net.Conn) {})
	n := newNode(t, nil)
	p, err := n.server.newPull(Pull{Stream: "cam", URL: "rtsp://" + refused.Addr().String() + "/live", Transport: "tcp"})
	if err != nil {
		t.Fatal(err)
	}
	if first, other := p.random(time.Hour), p.random(time.Hour); first == other || first >= time.Hour {
		t.Errorf("of an hour, at random: %v and %v", first, other)
	}
	asked := make(chan time.Duration, 10)
	p.random = func(below time.Duration) time.Duration {
		asked <- below
		return 0
	}
	run(t, func(ctx context.Context) error { p.run(ctx); return nil })
	for _, want := range []time.Duration{retryFirst / 2, retryFirst} {
		select {
		case got := <-asked:
			if got != want {
				t.Errorf("a pause has jitter of up to %v; want %v", got, want)
			}
		case <-time.After(patience):
			t.Fatal("there is no jitter")
		}
	}
}

// TestPullSaysWhatToDoAboutPasswords has the operator of a pull read what to change, and no secret.
func TestPullSaysWhatToDoAboutPasswords(t *testing.T) {
	t.Parallel()
	n := locked(t)
	token := n.token("elsewhere", "elsewhere")
	for _, c := range []struct{ url, want string }{
		{n.url("cup/cam1"), "put user:password@ (or ?token="},
		{n.urlAs("ana", "hunter2", "cup/cam1"), "does not take the user and password"},
		{n.url("cup/cam1?token=x" + token), "does not take the user and password (or the token)"},
		{n.url("cup/cam1?token=" + token), "403 (Forbidden: You may not play this stream"},
	} {
		p, err := n.server.newPull(Pull{Stream: "copy", URL: c.url, Transport: "tcp"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		err = p.once(ctx)
		cancel()
		if err == nil {
			t.Fatalf("%s was played", c.url)
		}
		if text := p.scrub(err); !strings.Contains(text, c.want) || strings.Contains(text, "hunter2") || strings.Contains(text, token[:20]) {
			t.Errorf("the pull tells %q; want %q and no secret", text, c.want)
		}
	}
	p, err := n.server.newPull(Pull{Stream: "copy", URL: n.url("cup/cam1?token=" + token)})
	if err != nil {
		t.Fatal(err)
	}
	if text := p.scrub(fmt.Errorf("dial %s: refused", p.url)); strings.Contains(text, token[:20]) {
		t.Errorf("the token is told: %s", text)
	}
}

func TestPasswordStaysWithItsHost(t *testing.T) {
	t.Parallel()
	canary := newCamera(t, func(c *camera, conn net.Conn) {
		c.answer(conn, func(_, cseq string) string {
			return "RTSP/1.0 401 Unauthorized\r\nCSeq: " + cseq + "\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\r\n"
		})
	})
	for _, reply := range []func(method, cseq string) string{
		redirect("rtsp://" + canary.Addr().String() + "/steal"),
		described("Content-Base: rtsp://"+canary.Addr().String()+"/steal/\r\n", announcement),
	} {
		c := newCamera(t, func(c *camera, conn net.Conn) { c.answer(conn, reply) })
		attemptAt(t, c, "ana:hunter2@")
	}
	if n := canary.conns.Load(); n != 0 {
		t.Errorf("the other host was connected to %d times: %s", n, canary.seen.String())
	}
}
