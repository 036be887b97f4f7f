package cluster

import (
	"testing"
	"time"

	"banyan/relay/tree"
)

func TestOdds(t *testing.T) {
	var o odds
	step := func(ms int, differs, want bool, why string) {
		t.Helper()
		if got := o.differs(epoch.Add(time.Duration(ms)*time.Millisecond), differs, 5); got != want {
			t.Errorf("after %d ms: %v, want %v: %s", ms, got, want, why)
		}
	}
	step(0, true, false, "news may be on its way")
	step(400, true, false, "still")
	step(450, false, false, "it arrived")
	step(600, true, false, "another one")
	step(1100, true, true, "half a second at odds with all")
	step(1200, true, false, "the exchange has just been")
	step(1800, true, false, "less than a second after the last")
	step(2200, true, true, "it did not help")
}

// What gossip lost is there after a probe or two, long before the next regular exchange.
func TestLostRecordIsMended(t *testing.T) {
	all := family(t, 3)
	agree(t, all...)
	// A record that nobody is told of, as if each packet with it were lost.
	all[0].mu.Lock()
	all[0].registry.announce([]tree.Track{video("silent")})
	all[0].touch()
	all[0].mu.Unlock()
	for _, n := range all {
		t.Logf("%s has it after %v more", n.self.Name, n.eventually("the silent track", tracks(1)).Round(time.Millisecond))
	}
}
