package impair

import (
	"math/rand/v2"
	"time"
)

// Faults are what a line does to the packets that it carries. The zero value is a perfect line.
type Faults struct {
	Loss      float64 // share of packets that never arrive, 0 to 1
	Burst     float64 // mean length of a run of losses, in packets; up to 1 they are independent
	Duplicate float64 // share of packets that arrive twice
	Reorder   float64 // share of packets that are overtaken by those up to ReorderBy behind them
	ReorderBy time.Duration
	Delay     time.Duration // of every packet
	Jitter    time.Duration // added to Delay, evenly spread from zero; packets keep their order

	Rate  int           // bits per second; zero for no limit
	Queue time.Duration // that wait for a limited line at most; what is beyond is lost. If zero, 200 ms
}

const defaultQueue = 200 * time.Millisecond

// Line decides the fate of packets that are sent one after the other. It is a value without socket and
// clock: equal seeds and equal packets have equal fates.
type Line struct {
	faults Faults
	random *rand.Rand

	losing bool
	last   time.Time // when the latest packet in order arrives
	free   time.Time // when a line of limited rate has sent what is queued
}

// NewLine makes a line.
func NewLine(faults Faults, seed uint64) *Line {
	return &Line{faults: faults, random: rand.New(rand.NewPCG(seed, 0x1157))}
}

// Set changes the faults from the next packet on.
func (l *Line) Set(faults Faults) { l.faults = faults }

// Send tells when a packet of size bytes that is sent at now arrives: never, once or twice.
func (l *Line) Send(now time.Time, size int) []time.Time {
	// Every packet draws the same numbers, so that a changed fault leaves the others as they were.
	loss, twice, overtaken, jitter := l.random.Float64(), l.random.Float64(), l.random.Float64(), l.random.Float64()
	sent, ok := l.queue(now, size)
	if l.loses(loss) || !ok {
		return nil
	}
	at := sent.Add(l.faults.Delay + time.Duration(jitter*float64(l.faults.Jitter)))
	switch {
	case overtaken < l.faults.Reorder:
		at = at.Add(time.Duration(jitter*float64(l.faults.ReorderBy)) + 1)
	case at.Before(l.last):
		at = l.last
		fallthrough
	default:
		l.last = at
	}
	if twice < l.faults.Duplicate {
		return []time.Time{at, at.Add(time.Millisecond)}
	}
	return []time.Time{at}
}

// loses draws losses one by one, or, where they come in bursts, from a Gilbert model: runs of the given
// mean length that make up the given share.
func (l *Line) loses(draw float64) bool {
	if l.faults.Burst <= 1 || l.faults.Loss <= 0 || l.faults.Loss >= 1 {
		l.losing = draw < l.faults.Loss
		return l.losing
	}
	leave := 1 / l.faults.Burst
	enter := l.faults.Loss * leave / (1 - l.faults.Loss)
	if l.losing {
		l.losing = draw >= leave
	} else {
		l.losing = draw < enter
	}
	return l.losing
}

// queue is when the last bit of a packet leaves; ok is false where the queue is full.
func (l *Line) queue(now time.Time, size int) (sent time.Time, ok bool) {
	if l.faults.Rate <= 0 {
		return now, true
	}
	most := l.faults.Queue
	if most <= 0 {
		most = defaultQueue
	}
	if l.free.Before(now) {
		l.free = now
	}
	if l.free.Sub(now) > most {
		return now, false
	}
	l.free = l.free.Add(time.Duration(int64(size) * 8 * int64(time.Second) / int64(l.faults.Rate)))
	return l.free, true
}
