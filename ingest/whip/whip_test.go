package whip

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"banyan/ingest/whip/push"
	"banyan/relay"
	"banyan/relay/auth"
	"banyan/relay/frame"
	"banyan/relay/log"
	"banyan/relay/media"
	"banyan/relay/rtc"
	"banyan/relay/rtc/wish"
)

func TestMain(m *testing.M) {
	// Films run in real time and cost little: more at once than there are cores.
	flag.Parse()
	_ = flag.Set("test.parallel", "6")
	goleak.VerifyTestMain(m)
}

const (
	camera = media.Name("cup/cam1")
	// patience is how long a test waits for what must happen before it calls it missing.
	patience = 20 * time.Second
)

// node is a server with everything around it.
type node struct {
	*testing.T
	hub    *relay.Hub
	server *Server
	signal *wish.Server
	guard  *auth.Guard
	http   *httptest.Server
	net    *rtc.Network
	counts *prometheus.Registry
}

func newNode(t *testing.T, network rtc.Config) *node {
	t.Helper()
	return newLimitedNode(t, network, wish.Config{})
}

func newLimitedNode(t *testing.T, network rtc.Config, limits wish.Config) *node {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	n := &node{T: t, counts: prometheus.NewRegistry()}
	n.hub = relay.New(relay.Config{Logger: logger, Linger: time.Minute})
	network.Addr, network.Logger, limits.Logger = "127.0.0.1:0", logger, logger
	var err error
	if n.net, err = rtc.New(network); err != nil {
		t.Fatal(err)
	}
	if n.signal, err = wish.New(limits); err != nil {
		t.Fatal(err)
	}
	if n.guard, err = auth.NewGuard(auth.Config{Secret: []byte(strings.Repeat("k", 32))}); err != nil {
		t.Fatal(err)
	}
	n.server, err = New(Config{
		Hub: n.hub, Network: n.net, Signal: n.signal, Guard: n.guard, Metrics: n.counts, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/whip/", n.server)
	mux.Handle("/sessions/", n.signal)
	n.http = httptest.NewServer(mux)
	t.Cleanup(func() {
		n.http.Close()
		n.server.Close()
		n.signal.Close()
		if err := n.net.Close(); err != nil {
			t.Errorf("close the network: %v", err)
		}
		n.hub.Close()
	})
	return n
}

// token lets its holder publish what pattern matches.
func (n *node) token(user, pattern string) string {
	n.Helper()
	token, err := n.guard.Mint(auth.Grant{User: user, Publish: []string{pattern}, TTL: time.Hour})
	if err != nil {
		n.Fatal(err)
	}
	return token
}

// film is what a camera sends: a test picture of 320x180 at 15 frames per second with a keyframe each
// second, and a tone.
func film(seconds string, options ...string) []string {
	return append([]string{"-nostdin", "-loglevel", "error", "-re",
		"-f", "lavfi", "-i", "testsrc2=size=320x180:rate=15", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000",
		"-t", seconds, "-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency",
		"-g", "15", "-b:v", "300k", "-c:a", "libopus", "-b:a", "64k", "-ac", "2", "-flush_packets", "1"}, options...)
}

// publisher is a running camera.
type publisher struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

// stop takes the camera away and waits for it.
func (p *publisher) stop() {
	p.cancel()
	<-p.done
}

// publish starts a camera: FFmpeg, whose output our own publisher sends. It runs until stopped or for
// the length of the film.
func (n *node) publish(c push.Config, args ...string) *publisher {
	n.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	command := exec.CommandContext(ctx, "ffmpeg", append(args, "-f", "mpegts", "-muxdelay", "0", "-")...)
	command.WaitDelay = time.Second
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.StdoutPipe()
	if err != nil {
		n.Fatal(err)
	}
	if err := command.Start(); err != nil {
		n.Fatal(err)
	}
	if c.URL == "" {
		c.URL = n.http.URL + "/whip/" + string(camera)
	}
	if c.Token == "" {
		c.Token = n.token("ana", "cup/*")
	}
	c.Source, c.Logger = out, slog.New(slog.NewTextHandler(n.Output(), nil))
	p := &publisher{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = push.Run(ctx, c)
		cancel()
		_ = command.Wait() // killed, or out of film
		if stderr.Len() > 0 {
			n.Logf("ffmpeg: %s", stderr.String())
		}
	}()
	n.Cleanup(p.stop)
	return p
}

// poll waits until ok.
func (n *node) poll(what string, ok func() bool) {
	n.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			n.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// track waits for a source track of the camera that has begun.
func (n *node) track(kind media.Kind) *log.Log {
	n.Helper()
	var found *log.Log
	n.poll("a "+kind.String()+" track", func() bool {
		s, err := n.hub.Stream(camera)
		if err != nil {
			return false
		}
		for _, t := range s.Published() {
			if t.ID.Kind == kind && t.Params != nil && t.Log.NewestTime() != 0 {
				found = t.Log
			}
		}
		return found != nil
	})
	return found
}

// frames reads the next count frames.
func (n *node) frames(r *frame.Reader, count int) []*frame.Frame {
	n.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var all []*frame.Frame
	for len(all) < count {
		f, err := r.Read(ctx)
		if err != nil {
			n.Fatalf("after %d frames of %d: %v", len(all), count, err)
		}
		all = append(all, f)
	}
	return all
}

// metric is the value of the counters of a name that have all the given label values, added up.
func (n *node) metric(name string, values ...string) (sum float64) {
	n.Helper()
	families, err := n.counts.Gather()
	if err != nil {
		n.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			var have []string
			for _, label := range m.GetLabel() {
				have = append(have, label.GetValue())
			}
			if !slices.ContainsFunc(values, func(v string) bool { return !slices.Contains(have, v) }) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// live tells whether the camera has a publisher.
func (n *node) live() bool {
	s, err := n.hub.Stream(camera)
	return err == nil && s.Live()
}

// wantDecodable checks with FFmpeg that frames can be decoded, every one.
func (n *node) wantDecodable(frames []*frame.Frame) {
	n.Helper()
	var annexB bytes.Buffer
	for _, f := range frames {
		for _, unit := range f.Units {
			annexB.Write([]byte{0, 0, 0, 1})
			annexB.Write(unit)
		}
	}
	command := exec.Command("ffmpeg", "-nostdin", "-loglevel", "error", "-xerror", "-f", "h264", "-i", "-", "-f", "framemd5", "-")
	command.Stdin = &annexB
	out, err := command.CombinedOutput()
	decoded := 0
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "#") {
			decoded++
		}
	}
	if err != nil || decoded != len(frames) {
		n.Fatalf("FFmpeg decodes %d frames of %d: %v\n%s", decoded, len(frames), err, out)
	}
}

func TestPublish(t *testing.T) {
	for _, c := range []struct {
		name string
		push push.Config
	}{{"udp", push.Config{}}, {"tcp", push.Config{TCP: true}}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, rtc.Config{})
			began := time.Now()
			n.publish(c.push, film("60")...)
			video, audio := n.track(media.Video), n.track(media.Audio)
			frames := n.frames(frame.NewReader(video.Cursor(log.LastKeyframe())), 40)
			if !frames[0].Keyframe {
				t.Error("does not begin with a keyframe")
			}
			for i, f := range frames[1:] {
				// Until it is in step with audio, video is moved by up to a millisecond per frame, or by up to half
				// of its distance where a busy machine held one of the two back. Package ingest tests it to the tick.
				if step := f.Ticks - frames[i].Ticks; step < 2900 || step > 12100 || f.Lost || f.Discontinuity {
					t.Errorf("frame %d: %d ticks after the one before (want about 6000), lost %v, discontinuity %v", i+1, step, f.Lost, f.Discontinuity)
				}
			}
			n.wantDecodable(frames)
			if p := video.Params(); p.Width != 320 || p.Height != 180 || p.Reordered {
				t.Errorf("video params %+v", p)
			}
			if p := audio.Params(); p.Codec != media.Opus || p.Channels != 2 || p.SampleRate != 48000 {
				t.Errorf("audio params %+v", p)
			}
			last := frames[len(frames)-1].Time().Wall()
			if last.Before(began) || last.After(time.Now().Add(time.Second)) {
				t.Errorf("media time %v is not the time that it was sent", last)
			}
			sound := n.frames(frame.NewReader(audio.Cursor(log.Live())), 25)
			for i, f := range sound[1:] {
				if step := f.Ticks - sound[i].Ticks; step != 960 {
					t.Errorf("audio packet %d is %d ticks after the one before, want 960", i+1, step)
				}
			}
		})
	}
}

// TestAudioAndVideoAreInStep knows of its film that frames are at whole 15ths of a second and audio packets
// 6.5 ms before each 50th, as Opus needs that long to begin (312 samples).
func TestAudioAndVideoAreInStep(t *testing.T) {
	t.Parallel()
	n := newNode(t, rtc.Config{})
	n.publish(push.Config{}, film("60")...)
	video := frame.NewReader(n.track(media.Video).Cursor(log.LastKeyframe()))
	audio := frame.NewReader(n.track(media.Audio).Cursor(log.Live()))
	const step, ahead, close = 20 * time.Millisecond, 6500 * time.Microsecond, 3 * time.Millisecond
	phase := func() time.Duration {
		frames, sound := n.frames(video, 15), n.frames(audio, 50) // a second of each
		keyframe := frames[slices.IndexFunc(frames, func(f *frame.Frame) bool { return f.Keyframe })]
		return (keyframe.Time().Sub(sound[0].Time()) + time.Hour) % step
	}
	// The anchors are where the first packets arrived; sender reports move video into step from there.
	var seen []time.Duration
	for range 12 {
		seen = append(seen, phase())
		if k := len(seen) - 1; k > 0 && (seen[k]-seen[k-1]).Abs() < time.Millisecond && (seen[k]-ahead).Abs() < close {
			return
		}
	}
	t.Errorf("video is %v ahead of the audio before it, second by second; want it to come to rest near %v", seen, ahead)
}

func TestPublishVideoOrAudioAlone(t *testing.T) {
	for _, c := range []struct {
		option string
		kind   media.Kind
	}{{"-an", media.Video}, {"-vn", media.Audio}} {
		t.Run(c.kind.String()+" alone", func(t *testing.T) {
			t.Parallel()
			n := newNode(t, rtc.Config{})
			n.publish(push.Config{}, film("60", c.option)...)
			n.frames(frame.NewReader(n.track(c.kind).Cursor(log.Live())), 10)
			s, _ := n.hub.Stream(camera)
			if got := len(s.Published()); got != 1 {
				t.Errorf("the stream has %d tracks, want one", got)
			}
		})
	}
}

// TestPublisherLeavesAndReturns checks that a reader stays at one log through it all.
func TestPublisherLeavesAndReturns(t *testing.T) {
	t.Parallel()
	n := newNode(t, rtc.Config{})
	first := n.publish(push.Config{}, film("60")...)
	n.track(media.Video)
	stream, err := n.hub.Stream(camera)
	if err != nil {
		t.Fatal(err)
	}
	subscription, err := stream.Subscribe(media.Source, media.Video)
	if err != nil {
		t.Fatal(err)
	}
	defer subscription.Close()
	reader := frame.NewReader(subscription.Log().Cursor(log.LastKeyframe()))
	before := n.frames(reader, 15)

	left := time.Now()
	first.stop()
	n.poll("the name is free", func() bool { return !n.live() })
	if took := time.Since(left); took > 3*time.Second {
		t.Logf("the name was free only after %v", took)
	}
	if subscription.Log().Closed() {
		t.Fatal("the log was closed under its reader")
	}

	n.publish(push.Config{}, film("60")...)
	n.poll("a publisher again", n.live)
	var after []*frame.Frame
	for len(after) == 0 || !after[len(after)-1].Discontinuity {
		after = append(after, n.frames(reader, 1)...)
	}
	f := after[len(after)-1]
	if !f.Keyframe || f.Params.Epoch != before[0].Params.Epoch+1 {
		t.Errorf("the new epoch %d (after %d) begins with keyframe %v", f.Params.Epoch, before[0].Params.Epoch, f.Keyframe)
	}
	if gap := f.Time().Wall().Sub(left); gap < 0 {
		t.Errorf("media time went back by %v", -gap)
	}
	n.wantDecodable(append([]*frame.Frame{f}, n.frames(reader, 14)...))
}

func TestTakeover(t *testing.T) {
	t.Parallel()
	n := newNode(t, rtc.Config{})
	first := n.publish(push.Config{}, film("60")...)
	video := n.track(media.Video)
	epoch := video.Params().Epoch
	// The first camera does not come back: its token is gone by then. Here its process is stopped as soon
	// as the second has the name.
	n.publish(push.Config{}, film("60")...)
	n.poll("a second epoch", func() bool { return video.Params().Epoch > epoch })
	first.stop()
	n.poll("the replaced session has ended", func() bool {
		return n.metric("banyan_whip_sessions_ended_total", endReplaced) >= 1
	})
	n.poll("one session is left", func() bool { return n.net.Sessions() == 1 })
	n.frames(frame.NewReader(video.Cursor(log.LastKeyframe())), 15)
	stream, err := n.hub.Stream(camera)
	if err != nil {
		t.Fatal(err)
	}
	stream.Kick()
	n.poll("the session that was sent away has ended", func() bool {
		return n.metric("banyan_whip_sessions_ended_total", endKicked) >= 1
	})
}

func TestTokens(t *testing.T) {
	t.Parallel()
	n := newNode(t, rtc.Config{})
	for _, c := range []struct {
		name, token string
	}{{"wrong", "nonsense"}, {"for another stream", n.token("eve", "other/*")}} {
		t.Run(c.name, func(t *testing.T) {
			p := n.publish(push.Config{Token: c.token}, film("60")...)
			select {
			case <-p.done:
			case <-time.After(patience):
				t.Fatal("the publisher goes on trying with a token that will never do")
			}
			if p.err == nil || errors.Is(p.err, context.Canceled) {
				t.Errorf("ended with %v, want the server's refusal", p.err)
			}
		})
	}
	if n.live() {
		t.Error("somebody publishes")
	}
}

// TestPublisherWaitsForTheServer has a server that takes nobody at first.
func TestPublisherWaitsForTheServer(t *testing.T) {
	t.Parallel()
	n := newNode(t, rtc.Config{})
	gate := make(chan struct{})
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-gate:
			n.http.Config.Handler.ServeHTTP(w, r)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer front.Close()
	p := n.publish(push.Config{URL: front.URL + "/whip/" + string(camera)}, film("60")...)
	time.AfterFunc(time.Second, func() { close(gate) })
	n.frames(frame.NewReader(n.track(media.Video).Cursor(log.LastKeyframe())), 5)
	p.stop()
	if !errors.Is(p.err, context.Canceled) {
		t.Errorf("ended with %v, want the context's end", p.err)
	}
}

func TestSourceEnds(t *testing.T) {
	t.Parallel()
	n := newNode(t, rtc.Config{})
	p := n.publish(push.Config{}, film("2")...)
	<-p.done
	if p.err != nil {
		t.Errorf("ended with %v, want nil at the end of the source", p.err)
	}
	n.poll("the name is free", func() bool { return !n.live() })

	if err := push.Run(context.Background(), push.Config{URL: n.http.URL, Source: io.LimitReader(zeros{}, 1<<20)}); err == nil {
		t.Error("a source that is not MPEG-TS was taken")
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }
