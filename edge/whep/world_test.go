package whep_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
	"banyan/relay/media"
	"banyan/relay/rtc"
	"banyan/relay/rtc/engine"
	"banyan/relay/rtc/peertest"
	"banyan/relay/rtc/wish"
)

// native tells the tests to have the fan-out engine connect viewers, and not the WebRTC stack.
var native bool

// both runs all tests with either.
type both struct{ *testing.M }

func (b both) Run() int {
	plainly := b.M.Run()
	native = true
	return max(plainly, b.M.Run())
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(both{m}) }

// world is a node with a hub and WHEP for viewers, on loopback.
type world struct {
	testing.TB
	hub     *relay.Hub
	network *rtc.Network
	engine  *engine.Engine // nil where network connects viewers
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
	if native {
		t.Log("with the fan-out engine")
		if w.engine, err = engine.New(engine.Config{
			Addr: "127.0.0.1:0", Estimate: true, ConnectTimeout: network.ConnectTimeout, ConsentTimeout: network.FailTimeout, StallTimeout: network.StallTimeout, Logger: logger,
		}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = w.engine.Close() })
	}
	config := whep.Config{
		Hub: w.hub, Network: w.network, Engine: w.engine, Signal: w.signal, Authorize: w.user, Metrics: w.metrics, Logger: logger,
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

// connections is how many there are, of either engine.
func (w *world) connections() int {
	n := w.network.Sessions()
	if w.engine != nil {
		n += w.engine.Sessions()
	}
	return n
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

// player is the viewer at the other end: the WebRTC stack with its defaults.
type player struct {
	w        *world
	pc       *webrtc.PeerConnection
	location string // of the session
	tag      string
	header   http.Header
	token    string
	answer   string
	way      func(answer string) string // to the server; nil for the direct one

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

	network webrtc.NetworkType
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

		network: webrtc.NetworkTypeUDP4,
	}
	for _, o := range options {
		o(&s)
	}
	engine := &webrtc.MediaEngine{}
	if err := s.engine(engine); err != nil {
		w.Fatal(err)
	}
	registry := &interceptor.Registry{}
	asDefault(w, engine, registry)
	settings := webrtc.SettingEngine{}
	settings.SetSRTPReplayProtectionWindow(late)
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetReceiveMTU(2048) // a packet may be larger than the stack's 1460 bytes
	settings.SetNetworkTypes([]webrtc.NetworkType{s.network})
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

// late is how many packets later than others one may come, as in browsers (libsrtp). pion's default is 64: a burst may
// bring more packets between two looks.
const late = 1024

// asDefault has the stack do what it does by default, but looks further back for what is missing: its default is 512.
func asDefault(w *world, engine *webrtc.MediaEngine, registry *interceptor.Registry) {
	w.Helper()
	if err := webrtc.RegisterDefaultInterceptors(engine, registry); err != nil {
		w.Fatal(err)
	}
	generator, err := nack.NewGeneratorInterceptor(nack.GeneratorSize(late))
	if err != nil {
		w.Fatal(err)
	}
	registry.Add(generator)
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
	if p.way != nil {
		answer = p.way(answer)
	}
	if e := p.w.engine; e != nil && e.Sessions() == 0 && p.w.network.Sessions() > 0 {
		p.w.Fatal("the fan-out engine is there, and the WebRTC stack connects viewers")
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
	w.within(soon, what, ok)
}

// within is eventually for what takes longer.
func (w *world) within(limit time.Duration, what string, ok func() bool) {
	w.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("waited %v in vain for %s", limit, what)
		}
	}
}
