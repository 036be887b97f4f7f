package link

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns, ctx := newTurns(), t.Context()
		const patience = 100 * time.Millisecond
		if turns.wait(ctx, 0, patience, nil) {
			t.Error("the first group had to wait")
		}
		second := make(chan bool)
		go func() { second <- turns.wait(ctx, 1, patience, nil) }()
		time.Sleep(patience / 2)
		turns.end(0)
		if <-second {
			t.Error("the second group overtook the first, which had ended")
		}
		began := time.Now()
		if !turns.wait(ctx, 5, patience, nil) || time.Since(began) != patience {
			t.Errorf("the sixth group waited %v, want to overtake after %v", time.Since(began), patience)
		}
		turns.end(1) // late
		if turns.wait(ctx, 4, patience, nil) {
			t.Error("a group that was overtaken has to wait")
		}
	})
}

func TestHopDelay(t *testing.T) {
	const rtt = 10 * time.Millisecond
	for _, offset := range []int64{0, 3_600_000_000, -3_600_000_000} { // clocks an hour apart
		var h hop
		at := func(sent, under int64) time.Duration { return h.delay(sent+offset, sent+under, rtt) }
		at(1_000_000, 7000)
		if got, want := at(1_100_000, 5000), 5*time.Millisecond; got != want {
			t.Errorf("the fastest packet took %v, want half a round trip, %v", got, want)
		}
		if got, want := at(1_200_000, 25_000), 25*time.Millisecond; got != want {
			t.Errorf("a packet that was 20 ms slower took %v, want %v", got, want)
		}
		for s := int64(1); s < 60; s++ { // the clocks drift by 100 ppm
			if got := at(1_200_000+s*1e6, 5000+s*100); got > 8*time.Millisecond {
				t.Fatalf("after %d s of drift a fast packet took %v", s, got)
			}
		}
	}
}
