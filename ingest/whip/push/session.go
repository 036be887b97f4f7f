package push

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/format/rtph264"
	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"banyan/relay/media"
	"banyan/relay/rtc/sdp"
)

const (
	videoRate = 90000
	audioRate = 48000

	// Below 1200 bytes with header, extension and SRTP tag, as browsers do.
	maxPayload = 1150

	connectTimeout = 15 * time.Second
	reportInterval = time.Second
	// A server that is silent for so long is asked for a new session: sooner than the stack's 30 s, as
	// somebody watches.
	disturbedAfter, lostAfter, keepalive = 3 * time.Second, 4 * time.Second, time.Second
	// Samples this late mean that the source had stopped: go on from now.
	lateness = time.Second
)

var (
	errNotConnected = errors.New("no connection to the server's media address in time")
	errDisconnected = errors.New("the connection was lost or closed by the server")
)

// session is one connection to the server.
type session struct {
	pc           *webrtc.PeerConnection
	connected    chan struct{} // closed when media can flow
	disconnected chan struct{} // closed when it never will (again)
	video, audio *track

	anchor time.Time // wall clock at presentation time zero of the source
	begun  bool      // a keyframe was sent
}

// track is one track of a session.
type track struct {
	local           *webrtc.TrackLocalStaticRTP
	sender          *webrtc.RTPSender
	rate            int
	header          rtp.Header
	first           uint32 // RTP timestamp at presentation time zero
	packets, octets uint32
	reported        time.Time
}

// runSession publishes once, until the connection or the source ends; the latter is errEnded.
func runSession(ctx context.Context, c Config, source *source) error {
	s, err := newSession(c, source)
	if err != nil {
		return err
	}
	defer func() { _ = s.pc.GracefulClose() }()
	offer, err := s.offer(ctx)
	if err != nil {
		return err
	}
	answer, location, err := c.post(ctx, offer)
	if err != nil {
		return err
	}
	defer c.delete(ctx, location)
	description := webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}
	if err := s.pc.SetRemoteDescription(description); err != nil {
		return fmt.Errorf("use the server's answer: %w", err)
	}
	if err := s.connect(ctx, source); err != nil {
		return err
	}
	c.Logger.Info("publisher connected", "url", c.URL)
	err = s.send(ctx, source)
	if errors.Is(err, errDisconnected) {
		if why := c.whyEnded(ctx, location); why != nil {
			return why
		}
	}
	return err
}

// newSession prepares a connection that sends what the source has.
func newSession(c Config, source *source) (*session, error) {
	api, err := newAPI(c.TCP)
	if err != nil {
		return nil, err
	}
	pc, err := api.NewPeerConnection(webrtc.Configuration{BundlePolicy: webrtc.BundlePolicyMaxBundle})
	if err != nil {
		return nil, fmt.Errorf("make a peer connection: %w", err)
	}
	s := &session{pc: pc, connected: make(chan struct{}), disconnected: make(chan struct{})}
	s.watch()
	if source.video {
		s.video, err = s.add(webrtc.MimeTypeH264, videoRate)
	}
	if source.audio && err == nil {
		s.audio, err = s.add(webrtc.MimeTypeOpus, audioRate)
	}
	if err != nil {
		_ = pc.GracefulClose()
		return nil, err
	}
	return s, nil
}

// newAPI is a stack with our two codecs that answers requests for retransmission. Sender reports are our
// own, as ours know the source's clock.
func newAPI(tcp bool) (*webrtc.API, error) {
	engine := &webrtc.MediaEngine{}
	for _, codec := range []struct {
		kind webrtc.RTPCodecType
		webrtc.RTPCodecParameters
	}{
		{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecParameters{PayloadType: 96, RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: webrtc.MimeTypeH264, ClockRate: videoRate,
			SDPFmtpLine:  "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
			RTCPFeedback: []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}},
		}}},
		{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecParameters{PayloadType: 97, RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: webrtc.MimeTypeRTX, ClockRate: videoRate, SDPFmtpLine: "apt=96"}}},
		{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecParameters{PayloadType: 111, RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: webrtc.MimeTypeOpus, ClockRate: audioRate, Channels: 2, SDPFmtpLine: "minptime=10;useinbandfec=1",
			RTCPFeedback: []webrtc.RTCPFeedback{{Type: "nack"}},
		}}},
	} {
		if err := engine.RegisterCodec(codec.RTPCodecParameters, codec.kind); err != nil {
			return nil, fmt.Errorf("register %s: %w", codec.MimeType, err)
		}
	}
	responder, err := nack.NewResponderInterceptor(nack.ResponderSize(2048))
	if err != nil {
		return nil, fmt.Errorf("answer NACKs: %w", err)
	}
	registry := &interceptor.Registry{}
	registry.Add(responder)
	settings := webrtc.SettingEngine{}
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetICETimeouts(disturbedAfter, lostAfter, keepalive)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6})
	if tcp {
		settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeTCP4, webrtc.NetworkTypeTCP6})
	}
	return webrtc.NewAPI(webrtc.WithMediaEngine(engine), webrtc.WithInterceptorRegistry(registry),
		webrtc.WithSettingEngine(settings)), nil
}

// watch turns the connection's states into channels. The stack calls back one state after the other.
func (s *session) watch() {
	connected, disconnected := false, false
	s.pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		switch state {
		case webrtc.PeerConnectionStateConnected:
			if !connected {
				connected = true
				close(s.connected)
			}
		case webrtc.PeerConnectionStateFailed, webrtc.PeerConnectionStateClosed:
			if !disconnected {
				disconnected = true
				close(s.disconnected)
			}
		}
	})
}

func (s *session) add(mimeType string, rate int) (*track, error) {
	local, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: mimeType}, mimeType[:5], "banyan")
	if err != nil {
		return nil, fmt.Errorf("make a track: %w", err)
	}
	transceiver, err := s.pc.AddTransceiverFromTrack(local, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
	if err != nil {
		return nil, fmt.Errorf("add a track: %w", err)
	}
	t := &track{local: local, sender: transceiver.Sender(), rate: rate, first: rand.Uint32()}
	t.header = rtp.Header{Version: 2, SequenceNumber: uint16(rand.Uint32N(1 << 15))}
	return t, nil
}

// offer is the offer with all candidates: one request suffices.
func (s *session) offer(ctx context.Context) (string, error) {
	offer, err := s.pc.CreateOffer(nil)
	if err != nil {
		return "", fmt.Errorf("make an offer: %w", err)
	}
	gathered := webrtc.GatheringCompletePromise(s.pc)
	if err := s.pc.SetLocalDescription(offer); err != nil {
		return "", fmt.Errorf("use the offer: %w", err)
	}
	select {
	case <-gathered:
		return sdp.MuxOnly(s.pc.LocalDescription().SDP), nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// connect waits for the connection. What the source has until then nobody could get.
func (s *session) connect(ctx context.Context, source *source) error {
	deadline := time.Now().Add(connectTimeout)
	for {
		const step = 20 * time.Millisecond
		if err := source.discard(ctx, step); err != nil {
			return err
		}
		select {
		case <-s.connected:
			return nil
		case <-s.disconnected:
			return errDisconnected
		default:
		}
		if time.Now().After(deadline) {
			return errNotConnected
		}
	}
}

// send publishes samples until the connection or the source ends.
func (s *session) send(ctx context.Context, source *source) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer func() { _ = s.pc.GracefulClose() }() // ends the readers of reports
	defer cancel(nil)
	wg.Go(func() {
		select {
		case <-s.disconnected:
			cancel(errDisconnected)
		case <-ctx.Done():
		}
	})
	for _, t := range []*track{s.video, s.audio} {
		if t != nil {
			wg.Go(t.readReports)
		}
	}
	encoder := &rtph264.Encoder{PayloadMaxSize: maxPayload, PacketizationMode: 1}
	if err := encoder.Init(); err != nil {
		return fmt.Errorf("packetise H.264: %w", err)
	}
	for {
		x, err := source.next(ctx)
		if err != nil {
			return err
		}
		if err := s.pace(ctx, x.at); err != nil {
			return err
		}
		if err := s.sendSample(encoder, x); err != nil {
			return err
		}
	}
}

// pace waits until a sample is due.
func (s *session) pace(ctx context.Context, at time.Duration) error {
	now := time.Now()
	if s.anchor.IsZero() || now.Sub(s.anchor.Add(at)).Abs() > lateness {
		s.anchor = now.Add(-at)
	}
	wait := s.anchor.Add(at).Sub(now)
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// sendSample sends one sample. Video begins with a keyframe; audio waits for it.
func (s *session) sendSample(encoder *rtph264.Encoder, x sample) error {
	if s.begun = s.begun || x.key && (x.video || s.video == nil); !s.begun {
		return nil
	}
	if !x.video {
		return s.audio.send(s, x.at, []*rtp.Packet{{Payload: x.units[0]}})
	}
	packets, err := encoder.Encode(x.units)
	if err != nil {
		return nil //nolint:nilerr // an access unit without NAL units: nothing to send
	}
	return s.video.send(s, x.at, packets)
}

// send writes packets of one presentation time, and a report when one is due.
func (t *track) send(s *session, at time.Duration, packets []*rtp.Packet) error {
	t.header.Timestamp = t.first + ticks(at, t.rate)
	for _, p := range packets {
		t.header.SequenceNumber++
		t.header.Marker = p.Marker
		if err := t.local.WriteRTP(&rtp.Packet{Header: t.header, Payload: p.Payload}); err != nil {
			return errDisconnected
		}
		t.packets++
		t.octets += uint32(len(p.Payload))
	}
	if now := time.Now(); now.Sub(t.reported) >= reportInterval {
		t.reported = now
		return t.report(s, at)
	}
	return nil
}

// report tells which wall-clock time the timestamp of a sample stands for (RFC 3550, section 6.4.1).
func (t *track) report(s *session, at time.Duration) error {
	err := s.pc.WriteRTCP([]rtcp.Packet{&rtcp.SenderReport{
		SSRC: uint32(t.sender.GetParameters().Encodings[0].SSRC), NTPTime: media.TimeOf(s.anchor.Add(at)).NTP(),
		RTPTime: t.header.Timestamp, PacketCount: t.packets, OctetCount: t.octets,
	}})
	if err != nil {
		return errDisconnected
	}
	return nil
}

// ticks converts a duration, which may be negative, rounded to the nearest.
func ticks(d time.Duration, rate int) uint32 {
	whole, rest := int64(d/time.Second), int64(d%time.Second)
	if rest < 0 {
		whole, rest = whole-1, rest+int64(time.Second)
	}
	return uint32(whole*int64(rate) + (rest*int64(rate)+int64(time.Second)/2)/int64(time.Second))
}

// readReports reads what the server reports, on which retransmission rests, until the connection ends.
func (t *track) readReports() {
	for {
		if _, _, err := t.sender.ReadRTCP(); err != nil {
			return
		}
	}
}
