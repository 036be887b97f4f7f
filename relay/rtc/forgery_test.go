package rtc

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"banyan/relay/rtc/peertest"
	"banyan/relay/rtc/sdp"
)

// TestForgedMedia: RTP that a publisher did not send, or sent before, does not come through (S6).
func TestForgedMedia(t *testing.T) {
	n := newTestNetwork(t, Config{})
	client := newClient(t)
	video := addTrack(t, client, webrtc.MimeTypeVP8, "video")
	tap := newTap(t, n.Addr().String())
	offer := parse(t, peertest.Offer(t, client, nil), sdp.Publish)
	blind := *offer
	blind.Text = withoutCandidates(offer.Text) // the client reaches us through the tap only

	var mu sync.Mutex
	got := map[string]int{}
	p, err := n.NewPublisher(t.Context(), PeerConfig{Offer: &blind}, func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		for {
			packet, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			mu.Lock()
			got[string(packet.Payload)]++
			mu.Unlock()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	peertest.Accept(t, client, tap.redirect(p.Answer()))
	wait(t, p.Connected(), "the connection")

	seq := uint16(65500) // wraps on the way
	send := func() {
		t.Helper()
		seq++
		payload := fmt.Sprint("packet ", seq)
		for deadline := time.Now().Add(patience10); ; time.Sleep(time.Millisecond) {
			_ = video.WriteRTP(newPacket(seq, payload)) // the client may not be ready to send at once
			mu.Lock()
			arrived := got[payload] > 0
			mu.Unlock()
			if arrived {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%q did not arrive", payload)
			}
			seq++
			payload = fmt.Sprint("packet ", seq)
		}
	}
	for range 100 {
		send()
	}
	isRTP := func(b []byte) bool { return len(b) > 12 && b[0] >= 128 && b[0] < 192 && (b[1] < 192 || b[1] >= 224) }
	stranger, err := net.Dial("udp", n.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stranger.Close() }()
	forgeries := 0
	tap.mu.Lock()
	for _, packet := range slices.Clone(tap.heard) {
		if !isRTP(packet) {
			continue
		}
		_, _ = stranger.Write(packet)
		_, _ = tap.far.Write(packet)                                 // replayed
		for _, at := range []int{1, 3, 7, 11, 12, len(packet) - 1} { // payload type, number, time, SSRC, payload, tag
			forged := bytes.Clone(packet)
			forged[at] ^= 1
			_, _ = tap.far.Write(forged)
			forgeries++
		}
	}
	tap.mu.Unlock()
	if forgeries < 100 {
		t.Fatalf("only %d forgeries were sent: the test proves nothing", forgeries)
	}
	for range 10 {
		send() // behind them, on the same way
	}
	mu.Lock()
	defer mu.Unlock()
	for payload, times := range got {
		if times != 1 || !strings.HasPrefix(payload, "packet ") {
			t.Errorf("%q came through %d times", payload, times)
		}
	}
}

// TestKeysAreFresh: no two sessions, of one network or of one peer, have the same secret (S26).
func TestKeysAreFresh(t *testing.T) {
	n := newTestNetwork(t, Config{})
	seen := map[string]bool{}
	for range 3 {
		secrets := &keyLog{}
		settings := webrtc.SettingEngine{LoggerFactory: logAdapter{slog.New(slog.DiscardHandler)}}
		settings.SetIncludeLoopbackCandidate(true)
		settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
		settings.SetDTLSKeyLogWriter(secrets)
		client, err := webrtc.NewAPI(webrtc.WithSettingEngine(settings)).NewPeerConnection(webrtc.Configuration{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.GracefulClose() })
		addTrack(t, client, webrtc.MimeTypeVP8, "video")
		p, err := n.NewPublisher(t.Context(), PeerConfig{Offer: parse(t, peertest.Offer(t, client, nil), sdp.Publish)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(p.Answer(), "a=crypto") {
			t.Error("the answer has keys in it")
		}
		peertest.Accept(t, client, p.Answer())
		wait(t, p.Connected(), "the connection")
		secret := secrets.master()
		if len(secret) != 96 || seen[secret] {
			t.Errorf("the master secret has %d digits, seen before: %v", len(secret), seen[secret])
		}
		seen[secret] = true
	}
}

// keyLog collects lines as of NSS: "CLIENT_RANDOM random secret".
type keyLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *keyLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *keyLog) master() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if fields := strings.Fields(l.text.String()); len(fields) == 3 {
		return fields[2]
	}
	return ""
}
