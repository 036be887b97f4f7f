package log

import (
	"math"
	"sync/atomic"

	"banyan/relay/media"
)

// bell wakes all who wait for something of a log. It is rung by the writer, after what they wait for has been
// stored, and costs nothing while nobody waits.
type bell struct {
	hung atomic.Pointer[chan struct{}] // nil while nobody waits
}

// ring wakes all who wait.
func (b *bell) ring() {
	if b.hung.Load() == nil {
		return
	}
	if ch := b.hung.Swap(nil); ch != nil {
		close(*ch)
	}
}

// wait returns a channel that is closed with the next ring. Who waits looks for what they wait for only afterwards:
// either they see it, or the writer sees them.
func (b *bell) wait() <-chan struct{} {
	for {
		if ch := b.hung.Load(); ch != nil {
			return *ch
		}
		ch := make(chan struct{})
		if b.hung.CompareAndSwap(nil, &ch) {
			return ch
		}
	}
}

// frameBell wakes those who wait for the end of a frame of a media time or later, each of a time of their own: all
// of them once the earliest of these times is reached, which costs those who wait for a later one a look.
type frameBell struct {
	bell
	from atomic.Int64 // the earliest time waited for, or earlier
}

const (
	anyTime = math.MinInt64
	noTime  = math.MaxInt64
)

// wait returns a channel that is closed with the end of the next frame of time from or later.
func (b *frameBell) wait(from media.Time) <-chan struct{} {
	rung := b.bell.wait()
	for {
		before := b.from.Load()
		if before <= int64(from) || b.from.CompareAndSwap(before, int64(from)) {
			return rung
		}
	}
}

// next makes the next frame wake everyone, whatever its time.
func (b *frameBell) next() { b.from.Store(anyTime) }

// ended tells that a frame of time at has ended.
func (b *frameBell) ended(at media.Time) {
	if b.from.Load() > int64(at) {
		return
	}
	b.from.Store(noTime) // first, as who comes after the ring has a time that counts
	b.ring()
}
