package whep_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/formats/mpegts"
	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"banyan/edge/whep"
	"banyan/relay"
	"banyan/relay/auth"
	"banyan/relay/frame"
	"banyan/relay/log"
	"banyan/relay/media"
	"banyan/relay/rtc"
	"banyan/relay/rtc/peertest"
	"banyan/relay/rtc/wish"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a node with a hub and WHEP for viewers, on loopback.
type world struct {
	testing.TB
	hub     *relay.Hub
	network *rtc.Network
	signal  *wish.Server
	server  *whep.Server
	http    *httptest.Server
	metrics *prometheus.Registry
	answer  time.Duration // whep.Config.AnswerTimeout
	logged  lines
	late    atomic.Bool // tokens called "short" no longer hold
}

// lines are what was logged.
type lines struct {
	mu   sync.Mutex
	text []string
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, string(line))
	return len(line), nil
}

// with is the last line that contains all parts, or nothing.
func (l *lines) with(parts ...string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range slices.Backward(l.text) {
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
			return line
		}
	}
	return ""
}

// user is who the bearer of a token of these tests is: the token itself. "bad" may not watch.
func (w *world) user(r *http.Request, _ media.Name) (auth.Claims, error) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if token == "bad" {
		return auth.Claims{}, &wish.Refusal{Status: http.StatusUnauthorized, Detail: "bad token", Header: http.Header{"Www-Authenticate": {"Bearer"}}}
	}
	if strings.HasPrefix(token, "short") && w.late.Load() {
		return auth.Claims{}, &wish.Refusal{Status: http.StatusUnauthorized, Detail: "token expired"}
	}
	if strings.HasPrefix(token, "short") || token == "open" { // they expire at once
		return auth.Claims{User: token, Expires: time.Now().Add(-auth.Leeway)}, nil
	}
	return auth.Claims{User: token}, nil
}

func newWorld(t testing.TB, options ...func(*whep.Config)) *world {
	t.Helper()
	return newLimitedWorld(t, rtc.Config{}, wish.Config{}, options...)
}

func newLimitedWorld(t testing.TB, network rtc.Config, limits wish.Config, options ...func(*whep.Config)) *world {
	t.Helper()
	w := &world{TB: t, metrics: prometheus.NewRegistry()}
	logger := slog.New(slog.NewTextHandler(io.MultiWriter(t.Output(), &w.logged), nil))
	w.hub = relay.New(relay.Config{Logger: logger})
	t.Cleanup(w.hub.Close)
	var err error
	network.Addr, network.Logger = "127.0.0.1:0", logger
	if w.network, err = rtc.New(network); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.network.Close() })
	limits.Logger, limits.Metrics = logger, w.metrics
	if w.signal, err = wish.New(limits); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.signal.Close)
	config := whep.Config{
		Hub: w.hub, Network: w.network, Signal: w.signal, Authorize: w.user, Metrics: w.metrics, Logger: logger,
	}
	for _, o := range options {
		o(&config)
	}
	w.answer = config.AnswerTimeout
	w.server, err = whep.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.server.Close)
	mux := http.NewServeMux()
	mux.Handle("/whep/", w.server.Handler())
	mux.Handle("/sessions/", w.signal)
	w.http = httptest.NewServer(mux)
	t.Cleanup(w.http.Close)
	return w
}

// metric is the value of a counter or gauge, summed over its labels, of which one has the given value, if any.
func (w *world) metric(name string, label ...string) float64 {
	w.Helper()
	families, err := w.metrics.Gather()
	if err != nil {
		w.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.Metric {
			if len(label) > 0 && (len(m.GetLabel()) == 0 || m.GetLabel()[0].GetValue() != label[0]) {
				continue
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

const (
	fps      = 15
	keyEvery = fps // frames
	frameLen = media.VideoClockRate / fps
)

// picture is one encoded frame.
type picture [][]byte

// encoded are two seconds of a test picture, made by FFmpeg once per kind.
var encoded = struct {
	sync.Mutex
	made map[string][]picture
}{made: map[string][]picture{}}

// pictures encodes two seconds as H.264 with the given x264 profile and size.
func pictures(t testing.TB, profile, size string) []picture {
	t.Helper()
	encoded.Lock()
	defer encoded.Unlock()
	if p := encoded.made[profile+size]; p != nil {
		return p
	}
	out, err := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=rate=15:duration=2:size="+size,
		"-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-profile:v", profile, "-pix_fmt", "yuv420p",
		"-g", "15", "-keyint_min", "15", "-sc_threshold", "0", "-f", "mpegts", "-").Output()
	if err != nil {
		t.Fatalf("ffmpeg: %v", err)
	}
	r := &mpegts.Reader{R: bytes.NewReader(out)}
	if err := r.Initialize(); err != nil {
		t.Fatal(err)
	}
	var list []picture
	r.OnDataH264(r.Tracks()[0], func(_, _ int64, au [][]byte) error {
		p := make(picture, len(au))
		for i, unit := range au {
			p[i] = bytes.Clone(unit)
		}
		list = append(list, p)
		return nil
	})
	for r.Read() == nil {
	}
	if len(list) != 2*fps {
		t.Fatalf("ffmpeg made %d pictures, want %d", len(list), 2*fps)
	}
	encoded.made[profile+size] = list
	return list
}

// camera publishes video and, unless it has no writer for that, audio.
type camera struct {
	t           testing.TB
	publication *relay.Publication
	video       *frame.Writer
	audio       *frame.Writer
	source      *log.Writer
	pictures    []picture
	begin       int64 // ticks of the first frame
	ticks       int64 // of the next frame
	n           int
}

// newCamera publishes under name. Its time begins at the wall clock's, rounded so that keyframes fall on whole seconds.
func (w *world) newCamera(name media.Name, profile string) *camera {
	w.Helper()
	p, err := w.hub.Publish(name, "test")
	if err != nil {
		w.Fatal(err)
	}
	c := &camera{t: w, publication: p, pictures: pictures(w, profile, "320x180")}
	if c.source, err = p.Source(media.Video); err != nil {
		w.Fatal(err)
	}
	c.video = newWriter(w, c.source, media.Params{Codec: media.H264, ClockRate: media.VideoClockRate}, p)
	audio, err := p.Source(media.Audio)
	if err != nil {
		w.Fatal(err)
	}
	c.audio = newWriter(w, audio, media.Params{Codec: media.Opus, ClockRate: 48000, Channels: 2, SampleRate: 48000}, p)
	c.begin = time.Now().Unix() * media.VideoClockRate
	c.ticks = c.begin
	return c
}

func newWriter(t testing.TB, w *log.Writer, p media.Params, publication *relay.Publication) *frame.Writer {
	t.Helper()
	writer, err := frame.NewWriter(w, p)
	if err != nil {
		t.Fatal(err)
	}
	writer.OnParams = func(media.Params) { publication.Announce() }
	return writer
}

// silence is 20 ms of it in Opus.
var silence = []byte{0xf8, 0xff, 0xfe}

// shoot writes n frames at once, and the audio that belongs to them.
func (c *camera) shoot(n int) {
	c.t.Helper()
	for range n {
		arrived := media.TimeOf(time.Now())
		err := c.video.Write(frame.Frame{Ticks: c.ticks, Arrived: arrived, Units: c.pictures[c.n%len(c.pictures)]})
		if err != nil {
			c.t.Fatalf("write frame %d: %v", c.n, err)
		}
		from, to := media.Rescale(c.ticks, 90000, 48000), media.Rescale(c.ticks+frameLen, 90000, 48000)
		const opus = 960
		for at := (from + opus - 1) / opus * opus; c.audio != nil && at < to; at += opus {
			if err := c.audio.Write(frame.Frame{Ticks: at, Arrived: arrived, Units: [][]byte{silence}}); err != nil {
				c.t.Fatalf("write audio: %v", err)
			}
		}
		c.ticks += frameLen
		c.n++
	}
}

// roll shoots in real time, faster by speed, until the returned function is called.
func (c *camera) roll(speed int) (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(time.Second / time.Duration(fps*speed))
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				c.shoot(1)
			}
		}
	}()
	return sync.OnceFunc(func() { close(done); <-stopped })
}

// player is the viewer at the other end: the WebRTC stack with its defaults.
type player struct {
	w        *world
	pc       *webrtc.PeerConnection
	location string // of the session
	tag      string
	header   http.Header
	token    string
	answer   string

	mu      sync.Mutex
	packets map[string][]*rtp.Packet // by kind
	arrived map[string][]time.Time   // when each came
	reports map[uint32][]rtcp.SenderReport
	ssrc    map[string]uint32
}

type offerOption func(*offerSettings)

type offerSettings struct {
	engine func(*webrtc.MediaEngine) error
	kinds  []webrtc.RTPCodecType
}

// only offers a single codec.
func only(mime string, rate uint32, kind webrtc.RTPCodecType, fmtp ...string) offerOption {
	return func(s *offerSettings) {
		s.engine = func(e *webrtc.MediaEngine) error {
			return e.RegisterCodec(webrtc.RTPCodecParameters{
				RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: mime, ClockRate: rate, SDPFmtpLine: strings.Join(fmtp, ";")}, PayloadType: 96,
			}, kind)
		}
		s.kinds = []webrtc.RTPCodecType{kind}
	}
}

// fresh has nothing to offer and waits for an offer.
func fresh(s *offerSettings) { s.kinds = nil }

func newPlayer(w *world, options ...offerOption) *player {
	w.Helper()
	s := offerSettings{
		engine: (*webrtc.MediaEngine).RegisterDefaultCodecs,
		kinds:  []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio},
	}
	for _, o := range options {
		o(&s)
	}
	engine := &webrtc.MediaEngine{}
	if err := s.engine(engine); err != nil {
		w.Fatal(err)
	}
	registry := &interceptor.Registry{}
	if err := webrtc.RegisterDefaultInterceptors(engine, registry); err != nil {
		w.Fatal(err)
	}
	// A burst may bring more packets between two looks than pion's defaults allow for, which are 512 packets to ask again
	// for, and 64 packets by which one may be late.
	const late = 1024 // as in browsers (libsrtp)
	generator, err := nack.NewGeneratorInterceptor(nack.GeneratorSize(late))
	if err != nil {
		w.Fatal(err)
	}
	registry.Add(generator)
	settings := webrtc.SettingEngine{}
	settings.SetSRTPReplayProtectionWindow(late)
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetReceiveMTU(2048) // a packet may be larger than the stack's 1460 bytes
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(engine), webrtc.WithInterceptorRegistry(registry),
		webrtc.WithSettingEngine(settings)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		w.Fatal(err)
	}
	p := &player{w: w, pc: pc, packets: map[string][]*rtp.Packet{}, arrived: map[string][]time.Time{}, reports: map[uint32][]rtcp.SenderReport{}, ssrc: map[string]uint32{}}
	var readers sync.WaitGroup
	pc.OnTrack(func(track *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
		readers.Go(func() { p.read(track) })
		readers.Go(func() { p.readReports(receiver) })
	})
	w.Cleanup(func() {
		_ = pc.GracefulClose()
		readers.Wait()
	})
	for _, kind := range s.kinds {
		if _, err := pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			w.Fatal(err)
		}
	}
	return p
}

func (p *player) read(track *webrtc.TrackRemote) {
	for {
		packet, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		p.mu.Lock()
		kind := track.Kind().String()
		p.ssrc[kind] = uint32(track.SSRC())
		p.packets[kind] = append(p.packets[kind], packet)
		p.arrived[kind] = append(p.arrived[kind], time.Now())
		p.mu.Unlock()
	}
}

func (p *player) readReports(receiver *webrtc.RTPReceiver) {
	for {
		packets, _, err := receiver.ReadRTCP()
		if err != nil {
			return
		}
		p.mu.Lock()
		for _, packet := range packets {
			if sr, ok := packet.(*rtcp.SenderReport); ok {
				p.reports[sr.SSRC] = append(p.reports[sr.SSRC], *sr)
			}
		}
		p.mu.Unlock()
	}
}

// offer is the SDP with all candidates.
func (p *player) offer() string {
	p.w.Helper()
	return peertest.Offer(p.w, p.pc, nil)
}

// do sends a request and reads the answer.
func (w *world) do(method, path, contentType, body string, header ...string) (*http.Response, string) {
	w.Helper()
	r, err := http.NewRequest(method, w.http.URL+path, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	response, err := w.http.Client().Do(r)
	if err != nil {
		w.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		w.Fatal(err)
	}
	return response, string(text)
}

// watch posts the offer and uses the answer.
func (p *player) watch(path string) {
	p.w.Helper()
	var header []string
	if p.token != "" {
		header = []string{"Authorization", "Bearer " + p.token}
	}
	response, answer := p.w.do("POST", path, "application/sdp", p.offer(), header...)
	if response.StatusCode != http.StatusCreated {
		p.w.Fatalf("POST %s: %s\n%s", path, response.Status, answer)
	}
	p.location, p.tag, p.header, p.answer = response.Header.Get("Location"), response.Header.Get("ETag"), response.Header, answer
	peertest.Accept(p.w, p.pc, answer)
}

// got is what came so far of a kind, as a jitter buffer hands it on: in order, and up to the first packet that is
// missing and may still be repaired.
func (p *player) got(kind string) []*rtp.Packet {
	p.mu.Lock()
	packets := slices.Clone(p.packets[kind])
	p.mu.Unlock()
	slices.SortStableFunc(packets, func(a, b *rtp.Packet) int { return int(int16(a.SequenceNumber - b.SequenceNumber)) })
	packets = slices.CompactFunc(packets, func(a, b *rtp.Packet) bool { return a.SequenceNumber == b.SequenceNumber })
	for i := 1; i < len(packets); i++ {
		if packets[i].SequenceNumber != packets[i-1].SequenceNumber+1 {
			return packets[:i]
		}
	}
	return packets
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
