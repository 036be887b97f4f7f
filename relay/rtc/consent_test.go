package rtc

import (
	"errors"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"banyan/relay/rtc/peertest"
	"banyan/relay/rtc/sdp"
)

func TestConsent(t *testing.T) {
	const patience = 30 * time.Second
	var c consent
	for _, look := range []struct {
		why     string
		second  int
		remote  string // of the pair in use; empty for none
		answers uint64
		want    bool
	}{
		{"the first look", 0, "a", 7, false},
		{"no answer, yet", 30, "a", 7, false},
		{"an answer at last", 31, "a", 8, false},
		{"no answer to that pair", 62, "a", 8, true},
		{"another pair, of as many answers", 63, "b", 8, false},
		{"no answer to that, yet", 93, "b", 8, false},
		{"ICE restarts", 94, "", 0, false},
		{"and takes its time", 200, "", 0, false},
		{"it comes back to the pair", 201, "b", 0, false},
		{"and then no answer", 232, "b", 0, true},
	} {
		pair := webrtc.ICECandidatePairStats{RemoteCandidateID: look.remote, ResponsesReceived: look.answers}
		if got := c.lost(pair, look.remote != "", time.Unix(int64(look.second), 0), patience); got != look.want {
			t.Errorf("after %d s, %s: lost is %v, want %v", look.second, look.why, got, look.want)
		}
	}
}

// TestConsentExpires ends the session of a viewer that falls silent without a word, and that of one that goes on talking
// and answers no checks (RFC 7675 section 5.1).
func TestConsentExpires(t *testing.T) {
	const patience = 2 * time.Second
	for _, c := range []struct {
		name   string
		config Config
		end    func(*tap)
		cause  error
	}{
		{"silence", Config{DisconnectTimeout: patience / 2, FailTimeout: patience}, (*tap).cut, ErrLost},
		{"no answers", Config{DisconnectTimeout: patience / 4, FailTimeout: time.Minute, ConsentTimeout: patience}, func(w *tap) { w.lose(checks) }, ErrConsent},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newTestNetwork(t, c.config)
			v, _, tap := watchThroughTap(t, n)
			select {
			case <-v.Ending():
				t.Fatalf("the session ended while the peer consents: %v", v.Err())
			case <-time.After(patience * 3 / 2): // for which consent lasts
			}
			c.end(tap)
			wait(t, v.Done(), "the end of a session whose peer does not consent")
			if v.Err() != c.cause || !errors.Is(v.Err(), ErrLost) {
				t.Errorf("the cause is %v, want %v", v.Err(), c.cause)
			}
		})
	}
}

// TestPublishersNeedNotAnswer: one that sends media and answers no checks, as FFmpeg 8.0 does, goes on.
func TestPublishersNeedNotAnswer(t *testing.T) {
	const patience = time.Second
	n := newTestNetwork(t, Config{DisconnectTimeout: patience / 2, FailTimeout: time.Minute, ConsentTimeout: patience})
	b := &broadcast{T: t, client: newClient(t), packets: make(chan string, 100)}
	b.video = addTrack(t, b.client, webrtc.MimeTypeVP8, "video")
	tap := newTap(t, n.Addr().String())
	blind := *parse(t, peertest.Offer(t, b.client, nil), sdp.Publish)
	blind.Text = withoutCandidates(blind.Text)
	var err error
	if b.server, err = n.NewPublisher(t.Context(), PeerConfig{Offer: &blind}, b.read); err != nil {
		t.Fatal(err)
	}
	peertest.Accept(t, b.client, tap.redirect(b.server.Answer()))
	wait(t, b.server.Connected(), "the connection")
	tap.lose(checks)
	for began := time.Now(); time.Since(began) < 2*patience; {
		b.wantMedia("without consent")
	}
	if err := b.server.Err(); err != nil {
		t.Errorf("the session has ended: %v", err)
	}
}

// checks picks Binding requests (RFC 8489 section 5).
func checks(b []byte) bool { return len(b) > 1 && b[0] == 0 && b[1] == 1 }
