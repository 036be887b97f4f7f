package link

import (
	"testing"
	"time"
)

// TestDefaults holds the limits that decide how long a viewer sees nothing when a node dies. Most tests of this
// project run with others, or on machines too busy to tell 350 ms from 4 s.
func TestDefaults(t *testing.T) {
	want := Limits{
		Heartbeat: 100 * time.Millisecond, Silence: 350 * time.Millisecond, Stale: 500 * time.Millisecond,
		Patience: 100 * time.Millisecond, Dial: time.Second, Children: 1024, Subscriptions: 2048,
	}
	if got := (Limits{}).withDefaults(); got != want {
		t.Errorf("the default limits are %+v, want %+v", got, want)
	}
	own := Limits{Heartbeat: 1, Silence: 2, Stale: 3, Patience: 4, Dial: 5, Children: 6, Subscriptions: 7}
	if got := own.withDefaults(); got != own {
		t.Errorf("%+v became %+v", own, got)
	}
	n, _ := node(t, "ingest", nil, Limits{})
	if n.limits != want {
		t.Errorf("a node without limits of its own has %+v, want %+v", n.limits, want)
	}
	if lived := 3 * want.Heartbeat; lived >= want.Silence {
		t.Errorf("silence of %v is not more than three heartbeats", want.Silence)
	}
	if resumeSpan != 2*time.Second || wholeSpan != 500*time.Millisecond || audioGroup != time.Second {
		t.Errorf("a replica looks back %v, a new one begins %v earlier, sound is grouped by %v", resumeSpan, wholeSpan, audioGroup)
	}
}
