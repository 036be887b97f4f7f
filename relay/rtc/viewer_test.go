package rtc

import (
	"crypto/rand"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"banyan/relay/media"
	"banyan/relay/rtc/peertest"
	"banyan/relay/rtc/sdp"
)

// watch connects a viewer with H.264 and Opus. What the client gets of video is delivered to the returned channel.
func watch(t *testing.T, n *Network) (*Viewer, *webrtc.PeerConnection, <-chan *rtp.Packet) {
	t.Helper()
	client := newClient(t)
	got := make(chan *rtp.Packet, 4096)
	var readers sync.WaitGroup
	t.Cleanup(readers.Wait) // after the client has closed: clean-ups run last to first
	client.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		readers.Go(func() {
			for {
				p, _, err := track.ReadRTP()
				if err != nil {
					return
				}
				if track.Kind() == webrtc.RTPCodecTypeVideo {
					got <- p
				}
			}
		})
	})
	t.Cleanup(func() { _ = client.GracefulClose() })
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		if _, err := client.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			t.Fatal(err)
		}
	}
	offer := parse(t, peertest.Offer(t, client, nil), sdp.Play)
	config := ViewerConfig{PeerConfig: PeerConfig{Offer: offer, Stream: "cup/cam1"}}
	for _, p := range []*media.Params{h264, {Codec: media.Opus, ClockRate: 48000}} {
		for _, m := range offer.Media {
			for _, c := range m.Codecs {
				if c.Takes(p) {
					config.Codecs = append(config.Codecs, c)
					break
				}
			}
		}
	}
	v, err := n.NewViewer(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	peertest.Accept(t, client, v.Answer())
	if err := v.Await(); err != nil {
		t.Fatal(err)
	}
	return v, client, got
}

func receive(t *testing.T, got <-chan *rtp.Packet) *rtp.Packet {
	t.Helper()
	select {
	case p := <-got:
		return p
	case <-time.After(patience10):
		t.Fatal("no packet arrived")
		return nil
	}
}

func TestAnswer(t *testing.T) {
	v, _, _ := watch(t, newTestNetwork(t, Config{}))
	answer := v.Answer()
	for _, want := range []string{"a=group:BUNDLE 0 1", "a=sendonly", "a=rtcp-mux", "a=setup:active", "H264/90000", "opus/48000/2", "a=end-of-candidates",
		"a=ice-options:trickle", "a=msid:banyan video", "a=msid:banyan audio"} {
		if !strings.Contains(answer, want) {
			t.Errorf("the answer lacks %q:\n%s", want, answer)
		}
	}
	for _, no := range []string{"VP8", "rtx", "PCMU", "a=recvonly", ".local", "transport-cc"} {
		if strings.Contains(answer, no) {
			t.Errorf("the answer has %q:\n%s", no, answer)
		}
	}
	if strings.Count(answer, "a=rtcp-mux-only\r\n") != 2 || strings.Count(answer, "a=msid:banyan ") != 2 {
		t.Errorf("an m-line is not rtcp-mux-only (W8), or in another MediaStream (W9):\n%s", answer)
	}
	if strings.Count(answer, "a=candidate:") == 0 || strings.Count(answer, "a=sendonly") != 2 {
		t.Errorf("the answer lacks candidates or tracks:\n%s", answer)
	}
}

// TestRollover sends over the wrap of sequence numbers, with a loss right there (RFC 3711 section 3.3.1).
func TestRollover(t *testing.T) {
	v, _, got := watch(t, newTestNetwork(t, Config{}))
	track := v.Track(media.Video)
	payload, err := track.PayloadType(h264)
	if err != nil {
		t.Fatal(err)
	}
	track.timeline = NewTimeline(media.VideoClockRate, 65400, 0)
	for n := range int64(300) { // one at a time: the client queues few until its reader runs
		lost := int64(0)
		p := *at(n)
		p.Flags, p.Payload = media.FrameEnd, []byte{0x41, byte(n), byte(n >> 8)}
		if n == 135 { // sequence number 65535 is the one that is missing
			lost = 1
		}
		if err := track.Send(&p, lost, payload); err != nil {
			t.Fatal(err)
		}
		got := receive(t, got)
		if got.Payload[1] != byte(n) || got.Payload[2] != byte(n>>8) {
			t.Fatalf("packet %d is %x with sequence number %d; want all of them decrypted in order", n, got.Payload, got.SequenceNumber)
		}
		if n == 135 && got.SequenceNumber != 0 {
			t.Errorf("the packet after the loss has sequence number %d, want 0", got.SequenceNumber)
		}
	}
}

// TestStrangers sprays the ports with garbage from outside of any session while a viewer watches; see TestClassD.
func TestStrangers(t *testing.T) {
	n := newTestNetwork(t, Config{})
	v, _, got := watch(t, n)
	track := v.Track(media.Video)
	payload, _ := track.PayloadType(h264)

	garbage := make([]byte, 1400)
	_, _ = rand.Read(garbage)
	stunHeader := []byte{0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	datagrams := [][]byte{
		{}, {0}, {0x80}, stunHeader, append(stunHeader[:20:20], 0, 6, 0xff, 0xff, 'a', ':', 'b', 'c'),
		append(stunHeader[:20:20], 0, 6, 0, 4, 'a', ':', 'b', 'c'),
		{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 0xff, 0xff, 0xff}, // a DTLS fragment beyond its length
		{0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1},                                  // RTP, 12 bytes
		{0xbf, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1},                                  // CSRC count past the end
		{0x81, 206, 0xff, 0xff, 0, 0, 0, 1},                                       // PLI whose length lies
		append([]byte{0x80, 200}, garbage...), append([]byte{20}, garbage...), garbage,
	}
	stranger, err := net.Dial("udp", n.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stranger.Close() }()
	tcp, err := net.Dial("tcp", n.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tcp.Close() }()
	for i := range int64(100) {
		for _, d := range datagrams {
			_, _ = stranger.Write(d)
		}
		_, _ = tcp.Write(garbage)
		p := *at(i)
		p.Flags, p.Payload = media.FrameEnd, []byte{0x41, byte(i)}
		if err := track.Send(&p, 0, payload); err != nil {
			t.Fatal(err)
		}
		if p := receive(t, got); p.Payload[1] != byte(i) {
			t.Fatalf("packet %d is %x", i, p.Payload)
		}
	}
	_, _, _ = watch(t, n) // and others can still come
	if n.Sessions() != 2 {
		t.Errorf("%d sessions, want the two that were made", n.Sessions())
	}
}

// TestWrongFingerprint: whoever answers ICE with another certificate than the offer's gets nothing.
func TestWrongFingerprint(t *testing.T) {
	n := newTestNetwork(t, Config{ConnectTimeout: 2 * time.Second})
	client := newClient(t)
	if _, err := client.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		t.Fatal(err)
	}
	text := peertest.Offer(t, client, nil)
	i := strings.Index(text, "a=fingerprint:sha-256 ") + len("a=fingerprint:sha-256 ")
	forged := text[:i] + strings.Repeat("AB:", 31) + "AB" + text[i+95:]
	offer := parse(t, forged, sdp.Play)
	v, err := n.NewViewer(t.Context(), ViewerConfig{PeerConfig: PeerConfig{Offer: offer}, Codecs: offer.Media[0].Codecs[:1]})
	if err != nil {
		t.Fatal(err)
	}
	peertest.Accept(t, client, v.Answer())
	if err := v.Await(); err == nil {
		t.Fatal("a peer with another certificate is connected")
	}
	wait(t, v.Done(), "the end of the session")
}

// TestPeerLeaves ends the session when the client closes, well before its consent expires.
func TestPeerLeaves(t *testing.T) {
	n := newTestNetwork(t, Config{})
	v, client, _ := watch(t, n)
	for deadline := time.Now().Add(patience10); client.ConnectionState() != webrtc.PeerConnectionStateConnected; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the client is not connected") // it could not say goodbye
		}
	}
	_ = client.GracefulClose()
	wait(t, v.Done(), "the end of a session whose peer has closed")
	if n.Sessions() != 0 {
		t.Errorf("%d sessions are left", n.Sessions())
	}
}

// watchThroughTap connects a viewer of video that reaches us through a tap only.
func watchThroughTap(t *testing.T, n *Network) (*Viewer, *webrtc.PeerConnection, *tap) {
	t.Helper()
	client := newClient(t)
	if _, err := client.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		t.Fatal(err)
	}
	tap := newTap(t, n.Addr().String())
	offer := parse(t, peertest.Offer(t, client, nil), sdp.Play)
	blind := *offer
	blind.Text = withoutCandidates(offer.Text)
	v, err := n.NewViewer(t.Context(), ViewerConfig{PeerConfig: PeerConfig{Offer: &blind}, Codecs: offer.Media[0].Codecs[:1]})
	if err != nil {
		t.Fatal(err)
	}
	peertest.Accept(t, client, tap.redirect(v.Answer()))
	if err := v.Await(); err != nil {
		t.Fatal(err)
	}
	return v, client, tap
}

// TestReplay sends a peer's own SRTCP again (RFC 3711 section 3.3.2): nothing comes of it.
func TestReplay(t *testing.T) {
	n := newTestNetwork(t, Config{})
	v, client, tap := watchThroughTap(t, n)
	ssrc := uint32(v.Track(media.Video).ssrc)
	ask := func() {
		t.Helper()
		if err := client.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: ssrc}}); err != nil {
			t.Fatal(err)
		}
		wait(t, v.KeyframeRequests(), "the request for a keyframe")
	}
	// The client may not be ready to send at once; what it cannot send it forgets.
	for deadline := time.Now().Add(patience10); ; {
		_ = client.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: ssrc}})
		select {
		case <-v.KeyframeRequests():
		case <-time.After(10 * time.Millisecond):
			if time.Now().Before(deadline) {
				continue
			}
			t.Fatal("no request arrived")
		}
		break
	}
	ask()
	for late := true; late; { // those of the first round may come yet
		select {
		case <-v.KeyframeRequests():
		case <-time.After(100 * time.Millisecond):
			late = false
		}
	}
	isRTCP := func(b []byte) bool { return len(b) > 1 && b[0] >= 128 && b[0] < 192 && b[1] >= 192 && b[1] < 224 }
	if tap.replay(isRTCP) == 0 {
		t.Fatal("there was nothing to replay")
	}
	ask() // what comes after the replayed packets is heard, they are not
	select {
	case <-v.KeyframeRequests():
		t.Error("a replayed request was heard")
	case <-time.After(100 * time.Millisecond):
	}
}

// TestPanicEndsTheSessionAlone has the reading of a viewer's reports break, by a track that is not there: it costs the
// viewer its session, and nobody else.
func TestPanicEndsTheSessionAlone(t *testing.T) {
	n := newTestNetwork(t, Config{})
	v, _, _ := watch(t, n)
	v.handle(func() { v.readReports(nil, nil) })
	wait(t, v.Done(), "the end of the session")
	if v.Err() == nil || !strings.Contains(v.Err().Error(), "a packet broke it") {
		t.Errorf("the cause is %v", v.Err())
	}
	_, _, _ = watch(t, n)
}
