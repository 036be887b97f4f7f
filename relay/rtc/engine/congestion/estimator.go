package congestion

import (
	"math"
	"time"
)

// Figures of the bound by delay (draft-ietf-rmcat-gcc-02 section 5.5).
const (
	backOff     = 0.85                   // of what arrives, at a queue
	growth      = 1.08                   // per second
	beyond      = 1.5                    // times what arrives, at most
	leastRate   = 50_000                 // bit/s: less is no video
	settle      = 200 * time.Millisecond // after a drop until the next: what was sent before it still arrives
	burstTime   = 2 * time.Millisecond   // what is sent within is one burst
	flightTime  = time.Second            // after which a packet is not under way any more, whatever became of it
	flightSpare = 200 * time.Millisecond // of the estimate may be under way, beside a round trip
)

// bursts is how many are remembered: as long as a report may take, where keyframes are paced in turns of 5 ms.
const bursts = 256

// burst is packets that were sent together.
type burst struct {
	first int64         // number of its first packet
	at    time.Duration // since the estimator began
	bytes int32
	count int32
}

// Link is what is known of a viewer's network.
type Link struct {
	Rate      int           // bit/s that it carries, estimated
	Delivered int           // bit/s that arrived in the last half second
	Loss      float64       // share of packets, of late
	Queue     time.Duration // that packets wait, beyond the shortest way of late
	Capacity  int           // bit/s that the link carries, measured while packets wait; zero while none do
	Over      bool          // a queue builds up
	Full      bool          // more is under way than the link takes in time: to send more would make a queue
}

// Estimator estimates what a viewer's network carries. Make one with NewEstimator.
type Estimator struct {
	begun time.Time
	ring  [bursts]burst
	n     int   // bursts so far
	next  int64 // number of the next packet

	heard   int64 // number of the last packet that was reported
	current int64 // first number of the burst whose head was seen last
	clock   clock

	delay     delay
	loss      loss
	delivered meter
	busy      busy
	rate      float64 // the bound by delay, bit/s
	dropped   time.Duration
	looked    time.Duration
	told      time.Duration // when a report last said something new
	trip      floor         // from sending to the report
}

// NewEstimator believes in start bit/s until it learns better. Times are of one clock, which does not go back.
func NewEstimator(start int, now time.Time) *Estimator {
	return &Estimator{
		begun: now, rate: float64(max(start, leastRate)), heard: -1, current: -1, loss: loss{rate: math.Inf(1)}, dropped: -settle,
	}
}

// Expect believes in rate bit/s, if nothing was heard yet that tells more.
func (e *Estimator) Expect(rate int) {
	if !e.trip.begun {
		e.rate = max(e.rate, float64(rate))
	}
}

// Sent notes that a packet of so many bytes goes out at now, and returns the transport-wide number it goes out with.
func (e *Estimator) Sent(bytes int, now time.Time) uint16 {
	at := now.Sub(e.begun)
	b := &e.ring[(e.n+bursts-1)%bursts]
	if e.n == 0 || at-b.at > burstTime {
		b = &e.ring[e.n%bursts]
		*b = burst{first: e.next, at: at}
		e.n++
	}
	b.count++
	b.bytes += int32(min(bytes, math.MaxUint16))
	e.next++
	return uint16(e.next - 1)
}

// Hear reads a report, a packet of transport-wide feedback that came at now. What it says of packets that were never
// sent, or long ago, is passed over.
func (e *Estimator) Hear(packet []byte, now time.Time) error {
	report, err := ParseReport(packet)
	if err != nil {
		return err
	}
	at := now.Sub(e.begun)
	reference := e.clock.at(report.Reference)
	i := -1 // of the burst
	for a, ok := report.Next(); ok; a, ok = report.Next() {
		seq := e.extend(a.Seq)
		if seq <= e.heard || seq >= e.next {
			continue // told already, or made up
		}
		if i = e.find(i, seq); i < 0 {
			continue
		}
		e.heard, e.told = seq, at
		e.loss.note(a.Arrived)
		b := &e.ring[i%bursts]
		if !a.Arrived {
			continue
		}
		arrived := reference + a.At
		e.delivered.note(arrived, int(b.bytes/b.count))
		e.trip.note(at-b.at, at)
		if b.first != e.current {
			e.current = b.first
			e.delay.head(b.at, arrived)
		}
		e.delay.follow(b.at, arrived)
		e.busy.note(e.delay.tail > shortWait, arrived, int(b.bytes/b.count))
	}
	e.move(at)
	return nil
}

// extend is the number with these low bits that was sent last.
func (e *Estimator) extend(low uint16) int64 {
	newest := e.next - 1
	return newest - int64(uint16(newest)-low)
}

// find is the burst that a packet is of, at or after burst i; negative where it is forgotten.
func (e *Estimator) find(i int, seq int64) int {
	oldest := max(0, e.n-bursts)
	if i < 0 { // most often it is one of the last
		for i = e.n - 1; i >= oldest; i-- {
			if e.ring[i%bursts].first <= seq {
				return i
			}
		}
		return -1
	}
	for i+1 < e.n && e.ring[(i+1)%bursts].first <= seq {
		i++
	}
	return i
}

// move moves the bounds after a report.
func (e *Estimator) move(now time.Duration) {
	delivered := e.delivered.rate()
	past := min(max(now-e.looked, 0), time.Second)
	e.looked = now
	switch e.delay.state {
	case over:
		// What arrives while packets wait is what the link carries; less may have been sent.
		if target := max(backOff*e.busy.rate(), leastRate); e.busy.measured() && target < e.rate && (now-e.dropped >= settle || target < e.rate/2) {
			e.rate, e.dropped = target, now
		}
	case normal:
		grown := e.rate * math.Pow(growth, past.Seconds())
		e.rate = max(e.rate, min(grown, beyond*delivered+10_000), delivered) // what arrived is carried
	}
	e.loss.look(now, min(e.rate, e.loss.rate), delivered)
	e.loss.rate = max(e.loss.rate, leastRate)
}

// Link is what is known at now.
func (e *Estimator) Link(now time.Time) Link {
	rate := min(e.rate, e.loss.rate)
	capacity := e.busy.rate()
	return Link{
		Rate: int(rate), Delivered: int(e.delivered.rate()), Loss: e.loss.share, Queue: e.delay.queue, Capacity: int(capacity),
		Over: e.delay.state == over, Full: e.full(rate, capacity, now.Sub(e.begun)),
	}
}

// full tells whether enough is under way. A link that carries less than is thought shows that here, before the estimate
// moves.
func (e *Estimator) full(rate, capacity float64, now time.Duration) bool {
	flight := e.flight(now)
	switch {
	case !e.trip.begun: // no report yet: who sends none is not held back
		return false
	case now-e.told > flightTime/2: // nothing comes back: try a little from time to time
		return flight > paceLeast
	case capacity > 0:
		rate = min(rate, capacity)
	}
	return float64(8*flight) > rate*(min(e.trip.least, flightTime/2)+flightSpare).Seconds()
}

// flight is how many bytes are under way.
func (e *Estimator) flight(now time.Duration) (bytes int) {
	for i := e.n - 1; i >= max(0, e.n-bursts); i-- {
		b := &e.ring[i%bursts]
		if now-b.at > flightTime || b.first <= e.heard {
			break
		}
		bytes += int(b.bytes)
	}
	return bytes
}

// clock makes a reference time that wraps around, after 24 bits of 64 ms, one that does not.
type clock struct {
	last  int64
	begun bool
}

func (c *clock) at(reference int32) time.Duration {
	if !c.begun {
		c.begun, c.last = true, int64(reference)
	}
	c.last += int64(int32(uint32(reference)-uint32(c.last)) << 8 >> 8)
	return time.Duration(c.last) * referenceUnit
}

// meter measures a rate over the last half second of the receiver's clock.
type meter struct {
	bins   [10]int // bytes
	newest int64   // bin
	begun  bool
}

const binTime = 50 * time.Millisecond

func (m *meter) note(at time.Duration, bytes int) {
	bin := int64(at / binTime)
	switch {
	case !m.begun || bin-m.newest >= int64(len(m.bins)) || m.newest-bin >= 1<<20: // anew, also where the clock was set
		*m = meter{newest: bin, begun: true}
	case bin <= m.newest-int64(len(m.bins)):
		return
	}
	for ; m.newest < bin; m.newest++ {
		m.bins[m.index(m.newest+1)] = 0
	}
	m.bins[m.index(bin)] += bytes
}

func (m *meter) index(bin int64) int {
	n := int64(len(m.bins))
	return int((bin%n + n) % n)
}

// rate is in bit/s.
func (m *meter) rate() float64 {
	sum := 0
	for _, n := range m.bins {
		sum += n
	}
	return float64(8*sum) / (binTime * time.Duration(len(m.bins))).Seconds()
}

// busy measures what a link carries while it has something to carry all the time: while packets wait.
//
// Of that time the longest pause between two packets does not count, if it is longer than leastPause, nor does the
// packet behind it. A link that is narrow carries evenly, and the pause is one of many; but a machine that has no time, a radio that is away or a sender
// that was held up leaves one long pause, and what comes behind it comes at once: that says nothing of a narrow link.
type busy struct {
	since, until time.Duration // of the receiver's clock
	bytes        int           // after since
	pause        time.Duration // the longest
	behind       int           // bytes of the packet behind it
}

// busyTime is how long it takes to measure: shorter than a queue that hurts, longer than what networks carry at once.
const busyTime = 80 * time.Millisecond

// busyMemory is how long is measured at most, half of it at least: with a second, a link that is cut while a keyframe
// waits already was believed to be twice as wide a second later.
const busyMemory = 300 * time.Millisecond

// leastPause is what is not taken for the time that packets take on a narrow link, some of which may be lost.
const leastPause = 50 * time.Millisecond

func (b *busy) note(waits bool, at time.Duration, bytes int) {
	if !waits {
		*b = busy{}
		return
	}
	if b.since == 0 || at < b.since {
		*b = busy{since: at, until: at}
		return
	}
	if pause := at - b.until; pause > max(b.pause, leastPause) {
		b.pause, b.behind = pause, bytes
	}
	b.until = max(b.until, at)
	b.bytes += bytes
	if past := b.until - b.since; past > busyMemory { // the link may change
		b.since += past / 2
		b.bytes /= 2
		b.pause /= 2
		b.behind /= 2
	}
}

// time is how long the link carried.
func (b *busy) time() time.Duration { return b.until - b.since - b.pause }

func (b *busy) measured() bool { return b.time() >= busyTime }

// rate is in bit/s; zero while it is not measured.
func (b *busy) rate() float64 {
	if !b.measured() {
		return 0
	}
	return float64(8*(b.bytes-b.behind)) / b.time().Seconds()
}
