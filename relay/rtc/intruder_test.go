package rtc

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"banyan/relay/media"
	"banyan/relay/rtc/peertest"
	"banyan/relay/rtc/sdp"
)

// intruder is one with a session of a network, as a publisher or a viewer.
type intruder struct {
	*peertest.Intruder
	publisher *Publisher // one of them
	viewer    *Viewer
	peer      *Peer

	mu  sync.Mutex // guards got
	got map[string]int
}

// newIntruder gets a session and connects as far as ICE.
func newIntruder(t testing.TB, n *Network, role sdp.Role) *intruder {
	t.Helper()
	x := &intruder{got: map[string]int{}}
	lines := map[sdp.Role]string{sdp.Publish: peertest.Publishing, sdp.Play: peertest.Watching}[role]
	x.Intruder = peertest.NewIntruder(t, n.Addr().String(), lines, func(offer string) string {
		x.join(t, n, parse(t, offer, role), role)
		return x.peer.Answer()
	})
	x.Ended = func() { wait(t, x.peer.Done(), "the end of the session") }
	return x
}

func (x *intruder) join(t testing.TB, n *Network, offer *sdp.Offer, role sdp.Role) {
	t.Helper()
	var err error
	if role == sdp.Publish {
		x.publisher, err = n.NewPublisher(t.Context(), PeerConfig{Offer: offer, Stream: "cup/evil"}, x.read)
		if err == nil {
			x.peer = x.publisher.Peer
		}
	} else {
		x.viewer, err = n.NewViewer(t.Context(), ViewerConfig{
			PeerConfig: PeerConfig{Offer: offer, Stream: "cup/evil"}, Codecs: offer.Media[0].Codecs,
		})
		if err == nil {
			x.peer = x.viewer.Peer
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.peer.Close)
}

// handshake connects as a peer does who means well.
func (x *intruder) handshake() *intruder {
	x.Helper()
	x.Handshake()
	wait(x, x.peer.Connected(), "the connection")
	return x
}

// read notes the payloads that come through to whoever forwards them.
func (x *intruder) read(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
	const most = 100
	for failures := 0; failures < most; {
		p, _, err := track.ReadRTP()
		if err != nil {
			failures++
			continue
		}
		failures = 0
		x.mu.Lock()
		x.got[string(p.Payload)]++
		x.mu.Unlock()
	}
}

func (x *intruder) times(payload string) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.got[payload]
}

// lives wants the session of a publisher to go on: a sound packet, sent behind all else, comes through.
func (x *intruder) lives() {
	x.Helper()
	for n, deadline := 0, time.Now().Add(patience10); ; n++ {
		payload := fmt.Sprint("sound ", x.Sequence)
		x.Send(x.Packet(payload))
		for range 20 {
			if x.times(payload) == 1 {
				return
			}
			time.Sleep(time.Millisecond)
		}
		if err := x.peer.Err(); err != nil || time.Now().After(deadline) {
			x.Fatalf("sound packets no longer come through: %v", err)
		}
	}
}

// watches wants the session of a viewer to go on: a request for a keyframe, sent behind all else, comes through.
func (x *intruder) watches() {
	x.Helper()
	for len(x.viewer.KeyframeRequests()) > 0 {
		<-x.viewer.KeyframeRequests()
	}
	for deadline := time.Now().Add(patience10); ; {
		x.Send(x.Report(peertest.Feedback(206, 1, uint32(x.viewer.Track(media.Video).ssrc), nil)))
		select {
		case <-x.viewer.KeyframeRequests():
			return
		case <-time.After(20 * time.Millisecond):
		}
		if err := x.peer.Err(); err != nil || time.Now().After(deadline) {
			x.Fatalf("requests for keyframes no longer come through: %v", err)
		}
	}
}
