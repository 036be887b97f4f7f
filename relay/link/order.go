package link

import (
	"context"
	"sync"
	"time"
)

// turns puts the groups of a subscription in order. They come on streams of their own, of which a lost datagram may
// hold one up and not the next; written in order the log sees no hole that is about to be filled.
type turns struct {
	mu   sync.Mutex
	next uint64        // the oldest group that has neither ended nor been given up
	bell chan struct{} // closed and replaced when next moves
}

func newTurns() *turns { return &turns{bell: make(chan struct{})} }

// wait returns when group n may be written: when all before it have ended, or, with overtook set, when patience is at
// its end. Those before it are then given up as predecessors; they still fill their holes.
func (t *turns) wait(ctx context.Context, n uint64, patience time.Duration, stop <-chan struct{}) (overtook bool) {
	var late <-chan time.Time
	for {
		t.mu.Lock()
		bell, turn := t.bell, t.next >= n
		t.mu.Unlock()
		if turn {
			return false
		}
		if late == nil {
			timer := time.NewTimer(patience)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-bell:
		case <-ctx.Done():
			return true
		case <-stop:
			return true
		case <-late:
			t.advance(n)
			return true
		}
	}
}

// end tells that group n, whose turn had come, has ended.
func (t *turns) end(n uint64) { t.advance(n + 1) }

// advance gives up waiting for all groups before n.
func (t *turns) advance(n uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n > t.next {
		t.next = n
		close(t.bell)
		t.bell = make(chan struct{})
	}
}

// hop estimates how long records are under way. Neither clock is told the other's time: the fastest record of the last
// ten to twenty seconds is taken to have needed half the least round trip, and all others are compared with it. So a
// queue on the line shows as delay, and a drift of the clocks (100 ppm: 2 ms in that time) hardly.
type hop struct {
	least, before int64 // received minus sent, in microseconds: of this span, and of the one before
	until         int64
}

const hopSpan = 10 * int64(time.Second/time.Microsecond)

// delay takes when a record was sent, by the sender's clock, and received, by ours, in microseconds.
func (h *hop) delay(sent, received int64, rtt time.Duration) time.Duration {
	d := received - sent
	switch {
	case h.until == 0:
		h.least, h.before, h.until = d, d, received+hopSpan
	case received >= h.until:
		h.least, h.before, h.until = d, h.least, received+hopSpan
	default:
		h.least = min(h.least, d)
	}
	over := d - min(h.least, h.before)
	return time.Duration(over)*time.Microsecond + rtt/2
}
