package rtc

import (
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
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
