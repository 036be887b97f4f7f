// Package peertest speaks for the peer at the other end of a session, in tests of WHIP and WHEP: it makes the bodies of
// a peer connection's requests, and uses those of the answers. An Intruder is a peer that means ill, and knows no more of
// the server than the wire: it tries the same things, those of class D of the checklists (inputs.go), on whatever engine
// answers. Whatever goes wrong there ends the test.
package peertest

import (
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"banyan/relay/rtc/sdp"
)

const patience = 10 * time.Second // for what takes milliseconds when all is well

// Offer is the offer of pc, with all candidates.
func Offer(t testing.TB, pc *webrtc.PeerConnection, options *webrtc.OfferOptions) string {
	t.Helper()
	offer, err := pc.CreateOffer(options)
	if err != nil {
		t.Fatal(err)
	}
	return gather(t, pc, offer)
}

// Answer is what pc answers to an offer, with all candidates.
func Answer(t testing.TB, pc *webrtc.PeerConnection, offer string) string {
	t.Helper()
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		t.Fatalf("the peer refuses the offer: %v\n%s", err, offer)
	}
	answer, err := pc.CreateAnswer(nil)
	if err != nil {
		t.Fatal(err)
	}
	return gather(t, pc, answer)
}

func gather(t testing.TB, pc *webrtc.PeerConnection, ours webrtc.SessionDescription) string {
	t.Helper()
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(ours); err != nil {
		t.Fatal(err)
	}
	select {
	case <-gathered:
	case <-time.After(patience):
		t.Fatalf("the peer has no candidates after %v", patience)
	}
	return pc.LocalDescription().SDP
}

// Accept makes pc use the answer to its offer.
func Accept(t testing.TB, pc *webrtc.PeerConnection, answer string) {
	t.Helper()
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		t.Fatalf("the peer refuses the answer: %v\n%s", err, answer)
	}
}

// Restart restarts the ICE of pc, which made the offer, and is the fragment that says so: the new credentials and all
// candidates. Nothing goes through until AcceptRestart.
func Restart(t testing.TB, pc *webrtc.PeerConnection) string {
	t.Helper()
	var fragment strings.Builder
	for line := range strings.Lines(Offer(t, pc, &webrtc.OfferOptions{ICERestart: true})) {
		for _, name := range []string{"ice-ufrag:", "ice-pwd:", "candidate:"} {
			if strings.HasPrefix(line, "a="+name) {
				fragment.WriteString(line)
			}
		}
	}
	return fragment.String()
}

// AcceptRestart makes pc use the fragment that answers its restart.
func AcceptRestart(t testing.TB, pc *webrtc.PeerConnection, fragment string) {
	t.Helper()
	theirs, err := sdp.ParseFragment(fragment)
	if err != nil {
		t.Fatalf("the answer to the restart: %v\n%s", err, fragment)
	}
	// No m-line but the first has candidates in what is bundled.
	head, media, _ := strings.Cut(theirs.Restarted(pc.CurrentRemoteDescription().SDP), "\r\na=mid:")
	for _, candidate := range theirs.Candidates {
		head += "\r\na=" + candidate
	}
	Accept(t, pc, head+"\r\na=mid:"+media)
}
