package rtc

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"banyan/relay/rtc/peertest"
	"banyan/relay/rtc/sdp"
)

// broadcast is a publisher, at both ends.
type broadcast struct {
	*testing.T
	client  *webrtc.PeerConnection
	video   *webrtc.TrackLocalStaticRTP
	server  *Publisher
	packets chan string // payloads that arrive; what nobody waits for is dropped

	sequence uint16
}

// newBroadcast connects a publisher of VP8.
func newBroadcast(t *testing.T, config Config) *broadcast {
	t.Helper()
	n := newTestNetwork(t, config)
	b := &broadcast{T: t, client: newClient(t), packets: make(chan string, 100)}
	b.video = addTrack(t, b.client, webrtc.MimeTypeVP8, "video")
	var err error
	b.server, err = n.NewPublisher(t.Context(), PeerConfig{Offer: parse(t, peertest.Offer(t, b.client, nil), sdp.Publish)}, b.read)
	if err != nil {
		t.Fatal(err)
	}
	peertest.Accept(t, b.client, b.server.Answer())
	wait(t, b.server.Connected(), "the connection")
	return b
}

func (b *broadcast) read(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
	for {
		packet, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		select {
		case b.packets <- string(packet.Payload):
		default:
		}
	}
}

// wantMedia sends packets with this payload until one of them arrives.
func (b *broadcast) wantMedia(payload string) {
	b.Helper()
	deadline := time.After(patience10)
	for {
		b.sequence++
		_ = b.video.WriteRTP(newPacket(b.sequence, payload))
		select {
		case got := <-b.packets:
			if got == payload {
				return
			}
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			b.Fatalf("no packet arrived %s", payload)
		}
	}
}

// restart is the fragment by which the client restarts ICE. It sends nothing until it has the answer.
func (b *broadcast) restart() *sdp.Fragment {
	b.Helper()
	f, err := sdp.ParseFragment(peertest.Restart(b, b.client))
	if err != nil {
		b.Fatal(err)
	}
	return f
}

// TestRestart restarts ICE by a fragment, as WHIP does.
func TestRestart(t *testing.T) {
	b := newBroadcast(t, Config{})
	first := b.server.Answer()
	if len(remoteCandidates(b.server)) == 0 {
		t.Fatal("the session knows no candidate of the peer")
	}
	f := b.restart()
	ctx, cancel := context.WithTimeout(t.Context(), patience10)
	defer cancel()
	ours, err := b.server.Restart(ctx, f)
	if err != nil {
		t.Fatal(err)
	}
	if ours.Ufrag == "" || strings.Contains(first, ours.Ufrag) || len(ours.Candidates) == 0 || len(ours.MIDs) != 1 {
		t.Fatalf("the restart answers %+v, want new credentials, candidates and the mid", ours)
	}
	options := "a=ice-options:trickle\r\n"
	if !strings.Contains(first, options) || !strings.Contains(ours.String(), options) || strings.Contains(first+ours.String(), "a=ice-lite") {
		t.Errorf("the restart answers\n%s, want what the answer said of the transport (W23):\n%s", ours, first)
	}
	for _, old := range remoteCandidates(b.server) { // what was known before the restart is discarded (W22)
		if !strings.Contains(strings.Join(f.Candidates, "\n"), fmt.Sprintf(" %d typ host", old)) {
			t.Errorf("the candidate with port %d, from before the restart, is still there", old)
		}
	}
	peertest.AcceptRestart(b, b.client, ours.String())
	b.wantMedia("after the restart")
}

// TestAbandonedRestart: whoever asks for a restart and leaves has either not asked, and its media goes on over the
// connection that it has, or has restarted, and its media goes on when it takes the answer after all (W24).
func TestAbandonedRestart(t *testing.T) {
	t.Run("before it is begun", func(t *testing.T) {
		t.Parallel()
		const consent = 2 * time.Second
		b := newBroadcast(t, Config{DisconnectTimeout: consent / 2, FailTimeout: consent})
		b.wantMedia("before the restart")
		ctx, leave := context.WithCancel(t.Context())
		leave()
		strange := &sdp.Fragment{Ufrag: "strange", Password: strings.Repeat("p", 22)}
		if _, err := b.server.Restart(ctx, strange); err == nil {
			t.Error("the restart came to something")
		}
		for left := time.Now(); time.Since(left) < 2*consent; {
			b.wantMedia("after the restart that was not")
		}
	})
	t.Run("in its midst", func(t *testing.T) {
		t.Parallel()
		b := newBroadcast(t, Config{})
		b.wantMedia("before the restart")
		for range 5 {
			ctx, leave := context.WithCancel(t.Context())
			b.server.pc.OnICEGatheringStateChange(func(webrtc.ICEGatheringState) { leave() }) // the old connection is gone then
			ours, err := b.server.Restart(ctx, b.restart())
			if err != nil || ctx.Err() == nil {
				t.Fatalf("the restart ended with %v (the peer has left: %v)", err, ctx.Err())
			}
			peertest.AcceptRestart(b, b.client, ours.String())
			b.wantMedia("after the restart")
		}
	})
	t.Run("for good", func(t *testing.T) {
		t.Parallel()
		const consent = 2 * time.Second
		b := newBroadcast(t, Config{DisconnectTimeout: consent / 2, FailTimeout: consent})
		if _, err := b.server.Restart(t.Context(), b.restart()); err != nil {
			t.Fatal(err)
		}
		wait(t, b.server.Done(), "the session to lose the peer's consent") // RFC 9725 section 4.3.3, RFC 7675 section 5.1
		if b.server.Err() != ErrLost {
			t.Errorf("the cause is %v, want %v", b.server.Err(), ErrLost)
		}
	})
}

// remoteCandidates are the ports of the peer's own candidates that the session would check.
func remoteCandidates(p *Publisher) (ports []int32) {
	for _, stat := range p.pc.GetStats() {
		if c, ok := stat.(webrtc.ICECandidateStats); ok && c.Type == webrtc.StatsTypeRemoteCandidate && c.CandidateType == webrtc.ICECandidateTypeHost {
			ports = append(ports, c.Port)
		}
	}
	return ports
}
