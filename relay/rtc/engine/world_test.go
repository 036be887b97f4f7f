package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"

	"banyan/relay/log"
	"banyan/relay/media"
	"banyan/relay/rtc"
	"banyan/relay/rtc/sdp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is an engine on loopback, and two logs of a stream.
type world struct {
	testing.TB
	engine       *Engine
	video, audio *tape
}

func newWorld(t testing.TB, config Config) *world {
	t.Helper()
	config.Addr = "127.0.0.1:0"
	if config.Logger == nil {
		config.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	e, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close the engine: %v", err)
		}
	})
	return &world{
		TB: t, engine: e,
		video: newTape(t, media.Params{Codec: media.H264, ClockRate: 90000}),
		audio: newTape(t, media.Params{Codec: media.Opus, ClockRate: 48000, Channels: 2}),
	}
}

const soon = 10 * time.Second // for what takes milliseconds when all is well

// eventually polls until ok.
func (w *world) eventually(what string, ok func() bool) {
	w.Helper()
	for deadline := time.Now().Add(soon); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("waited %v in vain for %s", soon, what)
		}
	}
}

// tape is a log that tests write.
type tape struct {
	testing.TB
	*log.Log
	writer *log.Writer
	params media.Params
	next   int64 // offset
	ticks  int64 // of the next frame
}

func newTape(t testing.TB, p media.Params) *tape {
	t.Helper()
	l := log.New(media.TrackID{Stream: "cup/cam1", Format: media.Source, Kind: p.Codec.Kind()}, 1000, log.Config{})
	w := l.Writer()
	if err := w.Begin(p); err != nil {
		t.Fatal(err)
	}
	return &tape{TB: t, Log: l, writer: w, params: p, next: 1000, ticks: time.Now().Unix() * int64(p.ClockRate)}
}

// frame writes one of n packets of the given size, each of which tells its offset.
func (t *tape) frame(key bool, n, size int) {
	t.Helper()
	now := media.TimeOf(time.Now())
	for i := range n {
		p := media.Packet{Offset: t.next, Ticks: t.ticks, Arrived: now, Payload: payloadOf(t.next, size)}
		if i == 0 && key {
			p.Flags |= media.Keyframe
		}
		if i == n-1 {
			p.Flags |= media.FrameEnd
		}
		if err := t.writer.Write(p); err != nil {
			t.Fatal(err)
		}
		t.next++
	}
	if t.params.Codec.Kind() == media.Audio {
		t.ticks += 960
	} else {
		t.ticks += 3000
	}
}

// payloadOf begins like the payload of H.264's slices or of Opus, so that clients do not stumble.
func payloadOf(offset int64, size int) []byte {
	b := bytes.Repeat([]byte{byte(offset)}, max(size, 12))
	binary.BigEndian.PutUint64(b[4:], uint64(offset))
	b[0] = 0x61
	return b
}

func offsetOf(payload []byte) int64 { return int64(binary.BigEndian.Uint64(payload[4:])) }

// reader is a Feed that sends all there is in two logs.
type reader struct {
	viewer   *Viewer
	cursors  []*log.Cursor
	payload  [2]uint8
	params   [2]*media.Params // that payload is for
	reported time.Time
}

func (w *world) reader(v *Viewer) *reader {
	r := &reader{viewer: v}
	for _, t := range []*tape{w.video, w.audio} {
		if track := v.Track(t.params.Codec.Kind()); track != nil {
			track.From(t.Log)
			r.cursors = append(r.cursors, t.Cursor(log.LastKeyframe()))
		}
	}
	return r
}

func (r *reader) Turn(now time.Time, due Due) (Next, error) {
	var next Next
	for i, c := range r.cursors {
		next.Logs[i] = c.Log()
		if !due.Has(i) {
			continue
		}
		track := r.viewer.Track(c.Log().ID().Kind)
		for n := 0; ; n++ {
			if n == 64 {
				next.More = true
				break
			}
			p, lost := c.Next()
			if p == nil {
				break
			}
			if p.Params != r.params[i] {
				var err error
				if r.payload[i], err = track.PayloadType(p.Params); err != nil {
					return next, err
				}
				r.params[i] = p.Params
			}
			if err := track.Send(p, lost, r.payload[i]); err != nil {
				return next, err
			}
		}
	}
	if now.Sub(r.reported) >= time.Second {
		r.reported = now
		return next, r.viewer.Report(media.TimeOf(now))
	}
	return next, nil
}

func (r *reader) Sent(time.Time) {}

func (r *reader) Look(time.Time) error { return nil }

// client is the peer at the other end: the WebRTC stack with its defaults.
type client struct {
	w  *world
	pc *webrtc.PeerConnection

	mu      sync.Mutex // guards all below
	packets map[media.Kind][]*rtp.Packet
	reports map[uint32][]rtcp.SenderReport
	ssrc    map[media.Kind]uint32
}

type clientOption func(*webrtc.SettingEngine, *webrtc.MediaEngine)

func newClient(w *world, options ...clientOption) *client {
	w.Helper()
	engine := &webrtc.MediaEngine{}
	if err := engine.RegisterDefaultCodecs(); err != nil {
		w.Fatal(err)
	}
	engine.RegisterFeedback(webrtc.RTCPFeedback{Type: "nack"}, webrtc.RTPCodecTypeAudio)
	settings := webrtc.SettingEngine{}
	// What is sent again may be so many packets late, as in browsers (libsrtp). To the stack's default of 64 a repair on a
	// busy machine is a replay.
	settings.SetSRTPReplayProtectionWindow(1024)
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetReceiveMTU(2048)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	quiet := logging.NewDefaultLoggerFactory()
	quiet.Writer = io.Discard
	settings.LoggerFactory = quiet
	for _, o := range options {
		o(&settings, engine)
	}
	registry := &interceptor.Registry{}
	if err := webrtc.RegisterDefaultInterceptors(engine, registry); err != nil {
		w.Fatal(err)
	}
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(engine), webrtc.WithInterceptorRegistry(registry),
		webrtc.WithSettingEngine(settings)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		w.Fatal(err)
	}
	c := &client{w: w, pc: pc, packets: map[media.Kind][]*rtp.Packet{}, reports: map[uint32][]rtcp.SenderReport{}, ssrc: map[media.Kind]uint32{}}
	var readers sync.WaitGroup
	pc.OnTrack(func(track *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
		readers.Go(func() { c.read(track) })
		readers.Go(func() { c.readReports(receiver) })
	})
	w.Cleanup(func() {
		_ = pc.GracefulClose()
		readers.Wait()
	})
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		if _, err := pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			w.Fatal(err)
		}
	}
	return c
}

func (c *client) read(track *webrtc.TrackRemote) {
	kind := media.Video
	if track.Kind() == webrtc.RTPCodecTypeAudio {
		kind = media.Audio
	}
	for {
		p, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		c.mu.Lock()
		c.packets[kind] = append(c.packets[kind], p)
		c.ssrc[kind] = uint32(track.SSRC())
		c.mu.Unlock()
	}
}

func (c *client) readReports(receiver *webrtc.RTPReceiver) {
	for {
		packets, _, err := receiver.ReadRTCP()
		if err != nil {
			return
		}
		c.mu.Lock()
		for _, packet := range packets {
			if sr, ok := packet.(*rtcp.SenderReport); ok {
				c.reports[sr.SSRC] = append(c.reports[sr.SSRC], *sr)
			}
		}
		c.mu.Unlock()
	}
}

// got is what came so far of a kind.
func (c *client) got(kind media.Kind) []*rtp.Packet {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.packets[kind][:len(c.packets[kind]):len(c.packets[kind])]
}

// offer is checked as the server would.
func (c *client) offer() *sdp.Offer {
	c.w.Helper()
	offer, err := c.pc.CreateOffer(nil)
	if err != nil {
		c.w.Fatal(err)
	}
	gathered := webrtc.GatheringCompletePromise(c.pc)
	if err := c.pc.SetLocalDescription(offer); err != nil {
		c.w.Fatal(err)
	}
	<-gathered
	parsed, err := sdp.ParseOffer(c.pc.LocalDescription().SDP, sdp.Play)
	if err != nil {
		c.w.Fatal(err)
	}
	return parsed
}

// negotiate makes a viewer of the client's offer, with the first codec of each kind that fits the tapes.
func (c *client) negotiate() *Viewer {
	c.w.Helper()
	offer := c.offer()
	config := rtc.ViewerConfig{PeerConfig: rtc.PeerConfig{ID: "test", Offer: offer, Stream: "cup/cam1"}}
	for _, p := range []*media.Params{&c.w.video.params, &c.w.audio.params} {
		for _, codec := range offer.Of(p.Codec.Kind()).Codecs {
			if codec.Carries(p) {
				config.Codecs = append(config.Codecs, codec)
				break
			}
		}
	}
	v, err := c.w.engine.NewViewer(c.w.Context(), config)
	if err != nil {
		c.w.Fatal(err)
	}
	if err := c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: v.Answer()}); err != nil {
		c.w.Fatalf("the client refuses the answer: %v\n%s", err, v.Answer())
	}
	return v
}

// watch connects the client, and serves it with the tapes.
func (c *client) watch() *Viewer {
	c.w.Helper()
	v := c.negotiate()
	c.serve(v)
	return v
}

// serve serves the client with the tapes when it has connected.
func (c *client) serve(v *Viewer) {
	c.w.Helper()
	c.w.await(v)
	c.w.eventually("the client to notice", func() bool { return c.pc.ConnectionState() == webrtc.PeerConnectionStateConnected })
	served, feed := make(chan struct{}), c.w.reader(v) // it begins with what is there now
	go func() {
		defer close(served)
		_ = v.Serve(feed) // tests ask the viewer why it ended
	}()
	c.w.Cleanup(func() { v.Close(); <-served })
}

func (w *world) await(v *Viewer) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), soon)
	defer cancel()
	select {
	case <-v.Connected():
	case <-v.Ending():
		w.Fatalf("the session ended before it connected: %v", v.Err())
	case <-ctx.Done():
		w.Fatalf("not connected within %v", soon)
	}
}
