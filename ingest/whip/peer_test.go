package whip

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"banyan/deploy/e2e/impair"
	"banyan/ingest/whip/push"
	"banyan/relay/log"
	"banyan/relay/media"
	"banyan/relay/rtc"
	"banyan/relay/rtc/peertest"
)

// sender is a publisher that sends RTP packets as the test makes them.
type sender struct {
	*testing.T
	node    *node
	pc      *webrtc.PeerConnection
	video   *webrtc.TrackLocalStaticRTP
	socket  *net.UDPConn
	token   string
	session string        // address
	tag     string        // of the session
	closed  chan struct{} // closed when the server has said goodbye, by DTLS: a connection that is lost fails instead

	sequence  uint16
	timestamp uint32
}

// connect makes a publisher that is connected. It sends video, and has more tracks on request.
func (n *node) connect(t *testing.T, more ...webrtc.TrackLocal) *sender {
	t.Helper()
	s := &sender{T: t, node: n, token: n.token("ana", "cup/*"), closed: make(chan struct{})}
	var err error
	if s.socket, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.socket.Close() })
	settings := webrtc.SettingEngine{}
	settings.SetICEUDPMux(webrtc.NewICEUDPMux((&logging.DefaultLoggerFactory{Writer: io.Discard}).NewLogger("ice"), s.socket))
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	s.pc = peer(t, settings)
	s.video, err = webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}, "video", "camera")
	if err != nil {
		t.Fatal(err)
	}
	init := webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}
	transceiver, err := s.pc.AddTransceiverFromTrack(s.video, init)
	if err != nil {
		t.Fatal(err)
	}
	vp8 := []webrtc.RTPCodecParameters{{PayloadType: 96, RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}}}
	if err := transceiver.SetCodecPreferences(vp8); err != nil {
		t.Fatal(err)
	}
	for _, track := range more {
		if _, err := s.pc.AddTransceiverFromTrack(track, init); err != nil {
			t.Fatal(err)
		}
	}
	connected := make(chan struct{})
	connect := sync.OnceFunc(func() { close(connected) }) // an ICE restart connects again
	s.pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		switch state {
		case webrtc.PeerConnectionStateConnected:
			connect()
		case webrtc.PeerConnectionStateClosed:
			close(s.closed)
		}
	})
	r := n.post(s.token, peertest.Offer(t, s.pc, nil))
	if r.status != http.StatusCreated {
		t.Fatalf("answered %d: %s", r.status, r.body)
	}
	s.session, s.tag = r.header.Get("Location"), r.header.Get("ETag")
	peertest.Accept(t, s.pc, r.body)
	select {
	case <-connected:
	case <-time.After(patience):
		t.Fatal("not connected")
	}
	return s
}

// vanish takes the publisher's network away.
func (s *sender) vanish() { _ = s.socket.Close() }

// picture sends a VP8 frame in one packet: a keyframe of 16x16 pixels, or one that refers to it.
func (s *sender) picture(key bool) {
	s.Helper()
	payload := []byte{0x10, 0x01, 0, 0, 1}
	if key {
		payload = []byte{0x10, 0x00, 0, 0, 0x9d, 0x01, 0x2a, 16, 0, 16, 0, 1, 2}
	}
	s.send(payload)
}

func (s *sender) send(payload []byte) {
	s.Helper()
	s.sequence++
	s.timestamp += 3000
	if err := s.video.WriteRTP(&rtp.Packet{Header: rtp.Header{Version: 2, Marker: true, SequenceNumber: s.sequence, Timestamp: s.timestamp},
		Payload: payload}); err != nil {
		s.Fatal(err)
	}
}

// until sends pictures, a keyframe now and then, until ok.
func (s *sender) until(what string, ok func() bool) {
	s.Helper()
	n := 0
	s.node.poll(what, func() bool {
		s.picture(n%10 == 0)
		n++
		return ok()
	})
}

func TestHostilePackets(t *testing.T) {
	t.Parallel()
	n := newNode(t, rtc.Config{})
	s := n.connect(t)
	s.until("a track", func() bool {
		stream, err := n.hub.Stream(camera)
		return err == nil && len(stream.Published()) == 1 && stream.Published()[0].Params != nil
	})
	video := n.track(media.Video)
	if p := video.Params(); p.Codec != media.VP8 || p.Width != 16 || p.Height != 16 {
		t.Errorf("params %+v, want VP8 of 16x16 pixels", p)
	}
	for _, payload := range [][]byte{{}, {0xff}, {0x90}, {0x90, 0xff}, {0x90, 0x80}, {0x90, 0x80, 0xff, 0xff}, make([]byte, 1300)} {
		s.send(payload)
	}
	head := video.Head()
	s.until("the stream goes on", func() bool { return video.Head() > head+20 })
	if n.live() && n.net.Sessions() != 1 {
		t.Error("the session has ended")
	}
}

// TestFullPackets: packets as large as an Ethernet takes them, and larger, arrive whole.
func TestFullPackets(t *testing.T) {
	t.Parallel()
	n := newNode(t, rtc.Config{})
	s := n.connect(t)
	s.until("a track", func() bool {
		stream, err := n.hub.Stream(camera)
		return err == nil && len(stream.Published()) == 1 && stream.Published()[0].Params != nil
	})
	video := n.track(media.Video)
	reader := video.Cursor(log.Live())
	for _, size := range []int{1461, 1470, 1500, 1700, 1900} {
		payload := make([]byte, size)
		payload[0], payload[4] = 0x10, 1
		s.send(payload)
		n.poll("the packet", func() bool {
			for p, _ := reader.Next(); p != nil; p, _ = reader.Next() {
				if len(p.Payload) == size {
					return true
				}
			}
			return false
		})
	}
}

func TestSequenceAndTimestampLeaps(t *testing.T) {
	t.Parallel()
	n := newNode(t, rtc.Config{})
	s := n.connect(t)
	var video *log.Log
	s.until("a track", func() bool {
		stream, err := n.hub.Stream(camera)
		if err == nil && len(stream.Published()) == 1 && stream.Published()[0].Params != nil {
			video = stream.Published()[0].Log
		}
		return video != nil
	})
	for _, c := range []struct {
		name string
		leap func()
	}{
		{"sequence numbers", func() { s.sequence += 30000 }},
		{"timestamps", func() { s.timestamp += 1 << 31 }},
		{"both", func() { s.sequence += 20000; s.timestamp -= 900000 }},
	} {
		epoch, newest := video.Params().Epoch, video.NewestTime()
		c.leap()
		s.until("a new epoch after a leap of the "+c.name, func() bool { return video.Params().Epoch > epoch })
		head := video.Head()
		s.until("packets of it", func() bool { return video.Head() > head+5 })
		if d := video.NewestTime().Sub(newest); d <= 0 || d > time.Minute {
			t.Errorf("a leap of the %s moved media time by %v", c.name, d)
		}
	}
}

// TestNegotiatedTracksAreClaimed checks that all tracks are there as soon as the publisher is, so that edges can wait for
// sound that comes after the picture, and that one that never sends is no obstacle.
func TestNegotiatedTracksAreClaimed(t *testing.T) {
	t.Parallel()
	n := newNode(t, rtc.Config{})
	sound, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus}, "audio", "camera")
	if err != nil {
		t.Fatal(err)
	}
	s := n.connect(t, sound)
	kinds := func(known bool) (list []media.Kind) {
		stream, err := n.hub.Stream(camera)
		if err != nil {
			return nil
		}
		for _, track := range stream.Published() {
			if track.Live && (track.Params != nil) == known {
				list = append(list, track.ID.Kind)
			}
		}
		return list
	}
	n.poll("both tracks, before anything is sent", func() bool {
		return slices.Equal(kinds(false), []media.Kind{media.Video, media.Audio})
	})
	s.until("video, while audio is silent", func() bool {
		return slices.Equal(kinds(true), []media.Kind{media.Video}) && slices.Equal(kinds(false), []media.Kind{media.Audio})
	})
	n.poll("audio", func() bool {
		s.sequence++
		if err := sound.WriteRTP(&rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: s.sequence}, Payload: []byte{0xf8, 0xff, 0xfe}}); err != nil {
			t.Fatal(err)
		}
		return len(kinds(true)) == 2
	})
}

// TestEndOfThePublisher checks that its name is free within a second of its end being known (W13, W36).
func TestEndOfThePublisher(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		end    func(n *node, s *sender)
		reason string
	}{
		{"DTLS close", func(_ *node, s *sender) { _ = s.pc.GracefulClose() }, endLeft},
		{"DELETE", func(n *node, s *sender) { n.ask("DELETE", s.session, n.token("ana", "cup/*"), "") }, endClosed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, rtc.Config{})
			s := n.connect(t)
			n.poll("live", n.live)
			before, ended := n.metric("banyan_whip_sessions_ended_total", c.reason), time.Now()
			c.end(n, s)
			n.poll("the name is free", func() bool { return !n.live() })
			n.soon("the name is free", time.Since(ended))
			n.poll("the reason is counted", func() bool { return n.metric("banyan_whip_sessions_ended_total", c.reason) == before+1 })
			if s, err := n.hub.Stream(camera); err != nil || s.Closed() {
				t.Error("the stream has gone with its publisher: those who watch lose it")
			}
		})
	}
	t.Run("silence", func(t *testing.T) {
		t.Parallel()
		n := newNode(t, rtc.Config{DisconnectTimeout: time.Second, FailTimeout: 2 * time.Second})
		url, proxy := n.detour(impair.Faults{}, impair.Faults{})
		n.publish(push.Config{URL: url}, film("60")...)
		n.track(media.Video)
		proxy.Set(impair.Faults{Loss: 1}, impair.Faults{Loss: 1})
		n.poll("the name is free", func() bool { return !n.live() })
		n.poll("the reason is counted", func() bool { return n.metric("banyan_whip_sessions_ended_total", endLost) >= 1 })
		// The publisher notices, too, and connects again when it can.
		proxy.Set(impair.Faults{}, impair.Faults{})
		n.poll("live again", n.live)
	})
}

// soon checks that something that W13 and W36 want within a second took no longer than twice that: more is no slow
// machine.
func (n *node) soon(what string, took time.Duration) {
	n.Helper()
	if took > 2*time.Second {
		n.Errorf("%s only after %v; want a second", what, took)
	}
}

// TestKeyframeRequests checks that the readers' requests reach the publisher, and how often at most.
func TestKeyframeRequests(t *testing.T) {
	t.Parallel()
	n := newNode(t, rtc.Config{})
	n.publish(push.Config{}, film("60")...)
	video := n.track(media.Video)
	before, began := n.metric("banyan_whip_keyframe_requests_total"), time.Now()
	for time.Since(began) < 1200*time.Millisecond {
		video.RequestKeyframe() // a thousand readers could not ask for more
		time.Sleep(time.Millisecond)
	}
	asked := n.metric("banyan_whip_keyframe_requests_total") - before
	if most := float64(time.Since(began)/keyframeInterval) + 1; asked < 1 || asked > most {
		t.Errorf("the publisher was asked %v times in %v, want 1 to %v", asked, time.Since(began), most)
	}
}

func TestRestore(t *testing.T) {
	for _, c := range []struct {
		name    string
		payload []byte
		fmtp    string
		ok      bool
	}{
		{"a repair", []byte{0x12, 0x34, 1, 2, 3}, "apt=102", true},
		{"with other parameters", []byte{0x12, 0x34, 1, 2, 3}, "rtx-time=3000; apt=102", true},
		{"padding", nil, "apt=102", false},
		{"one byte", []byte{1}, "apt=102", false},
		{"a sequence number alone", []byte{0x12, 0x34}, "apt=102", false},
		{"of nothing", []byte{0x12, 0x34, 1}, "", false},
		{"of nonsense", []byte{0x12, 0x34, 1}, "apt=x", false},
		{"of too much", []byte{0x12, 0x34, 1}, "apt=128", false},
	} {
		p := &rtp.Packet{Header: rtp.Header{PayloadType: 103, SequenceNumber: 7, Timestamp: 9}, Payload: c.payload}
		ok := restore(p, c.fmtp)
		if ok != c.ok || ok && (p.PayloadType != 102 || p.SequenceNumber != 0x1234 || p.Timestamp != 9 || len(p.Payload) != 3) {
			t.Errorf("%s: %v, %v", c.name, ok, p)
		}
	}
}

// FuzzRestore gives restore what a publisher may send on a retransmission stream, and may say of it in its offer. It
// takes two bytes off the payload and touches nothing else, or refuses and changes nothing.
func FuzzRestore(f *testing.F) {
	for _, fmtp := range []string{"apt=102", "rtx-time=3000; apt=102", "apt=128", "apt=-1", "apt=", ";;apt=1;apt=2", ""} {
		f.Add([]byte{0x12, 0x34, 1, 2, 3}, fmtp)
	}
	f.Add([]byte{0x12, 0x34}, "apt=102")
	f.Fuzz(func(t *testing.T, payload []byte, fmtp string) {
		before := bytes.Clone(payload)
		p := &rtp.Packet{Header: rtp.Header{PayloadType: 103, SequenceNumber: 7, Timestamp: 9, SSRC: 5, Marker: true}, Payload: payload}
		ok := restore(p, fmtp)
		want := rtp.Header{PayloadType: 103, SequenceNumber: 7, Timestamp: 9, SSRC: 5, Marker: true}
		rest := before
		if ok {
			if len(before) < 3 || p.PayloadType > 127 || !strings.Contains(fmtp, "apt=") {
				t.Fatalf("%d bytes with %q were taken for a repair of type %d", len(before), fmtp, p.PayloadType)
			}
			want.PayloadType, want.SequenceNumber, rest = p.PayloadType, uint16(before[0])<<8|uint16(before[1]), before[2:]
		}
		if p.PayloadType != want.PayloadType || p.SequenceNumber != want.SequenceNumber || p.Timestamp != want.Timestamp ||
			p.SSRC != want.SSRC || p.Marker != want.Marker || !bytes.Equal(p.Payload, rest) {
			t.Fatalf("%v: %x, %+v; want %x, %+v", ok, p.Payload, p.Header, rest, want)
		}
	})
}

// TestPanicEndsTheSessionAlone breaks each goroutine of a session, by a track without its stack: what a packet may bring
// to light costs its publisher the session, and nobody else.
func TestPanicEndsTheSessionAlone(t *testing.T) {
	t.Parallel()
	n := newNode(t, rtc.Config{})
	broken := func(x *session) *track {
		return &track{session: x, kind: media.Audio, keyframe: make(chan struct{}, 1), ended: make(chan struct{})}
	}
	for i, c := range []struct {
		name string
		run  func(*session) // returns, or takes the process with it
	}{
		{"packets", func(x *session) { broken(x).run() }},
		{"reports", func(x *session) { broken(x).readReports() }},
		{"requests for keyframes", func(x *session) { broken(x).requestKeyframes() }},
		{"repairs", func(x *session) { x.readRepairs(nil) }},
		{"all at once", func(x *session) {
			t := broken(x)
			t.kind = media.Video
			t.run()
		}},
	} {
		s := n.connect(t)
		s.until("the stream", n.live)
		x := n.session(t)
		over := make(chan struct{})
		go func() {
			defer close(over)
			c.run(x)
		}()
		n.poll("the session to end, its "+c.name+" being broken", func() bool {
			return n.metric("banyan_whip_sessions_ended_total", "other") == float64(i+1)
		})
		<-over
	}
	n.connect(t).until("another publisher", n.live)
}

// session is the only one, when those before it are gone.
func (n *node) session(t *testing.T) (only *session) {
	t.Helper()
	n.poll("one session", func() bool {
		n.server.mu.Lock()
		defer n.server.mu.Unlock()
		for only = range n.server.sessions {
		}
		return len(n.server.sessions) == 1
	})
	return only
}
