package transcoder

import (
	"sync"
	"time"

	"banyan/relay/media"
)

// progress tells a hung process from one that has nothing to do: it is stalled when it was fed
// enough to show something and has shown nothing for a while. Enough is some frames since it last showed anything, or
// that its pipe is full: what lies in there it has not even taken. One that uses the processor meanwhile may
// only be slow, on a machine that has too much to do, and killing it would make that worse: it has
// longer. Time comes in as an argument. It is safe for concurrent use.
type progress struct {
	patience time.Duration // for one that has shown something before and does nothing now
	grace    time.Duration // for its first output, and for one that is busy
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
	busy    time.Time  // when that last grew
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

// used notes how much processor time the process has used so far.
func (p *progress) used(cpu int64, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cpu > p.cpu {
		p.cpu, p.busy = cpu, now
	}
}

// stalled tells whether the process should be given up. One that is not fed any more is left in peace:
// it may hold back a few frames for ever.
func (p *progress) stalled(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	limit := p.patience
	if !p.shown || now.Sub(p.busy) < p.patience {
		limit = p.grace
	}
	fed := p.blocked || now.Sub(p.last) < p.patience
	due := p.due()
	return fed && !due.IsZero() && now.Sub(due) >= limit
}
