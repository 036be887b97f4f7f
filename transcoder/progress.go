package transcoder

import (
	"sync"
	"time"

	"banyan/relay/media"
)

// progress tells a hung process from one that has nothing to do: it is stalled when it was fed
// enough to show something and has shown nothing for a while. Enough is some frames since it last showed anything, or
// that its pipe is full: what lies in there it has not even taken. One that uses the processor meanwhile, or waits for
// it, may only be slow, on a machine that has too much to do, and killing it would make that worse: it has slowFactor
// times as long. Time comes in as an argument. It is safe for concurrent use.
type progress struct {
	patience time.Duration // for one that has shown something before and does nothing now
	grace    time.Duration // for its first output, and at least for one that is slow
	hold     time.Duration // media time that a process may hold back

	mu      sync.Mutex
	shown   bool
	frames  int        // fed since the last output
	first   media.Time // of these, the first
	overdue time.Time  // when enough had been fed; zero if it has not
	last    time.Time  // when a frame was last fed
	output  time.Time  // when something was last made
	blocked bool       // it is being fed now
	cpu     int64      // processor time it has used, in whatever unit
	busy    time.Time  // when that last grew, or would have if the processor had been free
}

// leastFed is how many frames a process may hold back in its pipeline: one each in the demuxer, the
// parser, the rate filter and the encoder.
const leastFed = 4

// fed notes that a frame is about to be fed.
func (p *progress) fed(at media.Time, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frames == 0 {
		p.first = at
	}
	p.frames++
	p.last, p.blocked = now, true
	if p.overdue.IsZero() && p.frames > leastFed && at.Sub(p.first) >= p.hold {
		p.overdue = now
	}
}

// taken notes that the frame is in the pipe.
func (p *progress) taken() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blocked = false
}

// made notes output.
func (p *progress) made(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shown, p.frames, p.overdue, p.output = true, 0, time.Time{}, now
}

// due is since when it was fed enough to show something; zero where it was not.
func (p *progress) due() time.Time {
	switch {
	case !p.overdue.IsZero() || !p.blocked:
		return p.overdue
	case p.output.After(p.last):
		return p.output
	}
	return p.last
}

// owes tells whether the process was fed enough to show something, and has not for so long that its processor time
// is worth knowing: on a machine with much to do a process is a few frames late most of the time.
func (p *progress) owes(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	due := p.due()
	return !due.IsZero() && now.Sub(due) >= p.patience/16
}

// worked notes what the process is found to be at.
func (p *progress) worked(a activity, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a.used > p.cpu || a.runnable {
		p.cpu, p.busy = max(a.used, p.cpu), now
	}
}

// verdict is what progress says of a process.
type verdict uint8

const (
	verdictFine verdict = iota
	verdictSlow         // it would be taken for hung if it did not use the processor, or wait for it
	verdictHung         // it should be given up
)

// verdict judges the process. One that is not fed any more is left in peace: it may hold back a few frames for ever.
func (p *progress) verdict(now time.Time) verdict {
	p.mu.Lock()
	defer p.mu.Unlock()
	limit := p.patience
	if !p.shown {
		limit = p.grace
	}
	fed := p.blocked || now.Sub(p.last) < p.patience
	due := p.due()
	if !fed || due.IsZero() || now.Sub(due) < limit {
		return verdictFine
	}
	if busy := now.Sub(p.busy) < p.patience; busy && now.Sub(due) < max(p.grace, slowFactor*limit) {
		return verdictSlow
	}
	return verdictHung
}
