package transcoder

import (
	"math/rand/v2"
	"time"
)

// breaker decides when a format that crashed may start again. It knows no clock; the zero value is
// ready. The wait doubles with each crash; too many within a minute open the circuit: nothing starts
// for a while, then one attempt is made, and one crash opens it again unless that attempt has lasted.
type breaker struct {
	crashes []time.Time // within the last minute
	backoff time.Duration
	until   time.Time // nothing starts before
	open    bool      // the circuit is open, or half open once until has passed
}

const (
	firstBackoff  = 100 * time.Millisecond
	mostBackoff   = 5 * time.Second
	crashWindow   = time.Minute
	crashesToOpen = 5
	openFor       = 30 * time.Second
	healthyAfter  = 10 * time.Second // of running, a start counts as a success
)

// crashed notes a crash after a run that began at started.
func (b *breaker) crashed(started, now time.Time) {
	if now.Sub(started) >= healthyAfter {
		b.backoff, b.open = 0, false
	}
	kept := b.crashes[:0]
	for _, at := range b.crashes {
		if now.Sub(at) < crashWindow {
			kept = append(kept, at)
		}
	}
	b.crashes = append(kept, now)
	if b.open || len(b.crashes) >= crashesToOpen {
		b.open, b.crashes = true, b.crashes[:0]
		b.until = now.Add(jitter(openFor))
		return
	}
	b.backoff = min(max(2*b.backoff, firstBackoff), mostBackoff)
	b.until = now.Add(jitter(b.backoff))
}

// wait is how long to wait before the next start.
func (b *breaker) wait(now time.Time) time.Duration { return max(0, b.until.Sub(now)) }

// jitter spreads d by up to a fifth, so that formats that crashed together do not start together.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration(rand.Int64N(int64(d)/5+1))
}
