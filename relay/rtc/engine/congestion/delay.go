package congestion

import "time"

// usage is what the delay of packets says of the network.
type usage uint8

const (
	normal usage = iota
	over         // a queue builds up
	under        // a queue empties
)

// Figures of the trend line. Delays are in milliseconds.
const (
	points      = 20  // that the line is drawn through: bursts, so two thirds of a second at 30 frames per second
	smoothing   = 0.7 // share of the past in the smoothed delay; bursts are further apart than the draft's groups
	gain        = 4   // what makes a slope comparable with a threshold
	overTime    = 100 // for so long, at least: a keyframe is a queue that goes away by itself
	mostNoise   = 15  // a trend that is so far beyond the threshold does not move it
	slowest     = 6   // the threshold's bounds
	fastest     = 600
	startOfOver = 12.5
	upward      = 0.0087 // per millisecond, how fast the threshold follows the trend
	downward    = 0.039
)

// A wait of longWait at the tail of one burst and the head of the next is a queue, however short the line still is.
const longWait = 100 * time.Millisecond

// A wait of shortWait is a queue, and not yet a bad one.
const shortWait = 15 * time.Millisecond

// delay watches how long bursts take.
type delay struct {
	state usage
	queue time.Duration // wait of the last burst's head, beyond the shortest way lately

	floor    floor
	tail     time.Duration // wait of the last packet before this burst
	begun    bool
	first    time.Duration // arrival of the first burst
	origin   time.Duration // way of the first burst
	last     time.Duration // arrival of the last burst
	smoothed float64

	line      [points]struct{ x, y float64 }
	n         int
	trend     float64
	threshold float64
	overFor   float64
	overs     int
}

// head hears when the first packet of a burst arrived. The clocks need not agree: only differences count.
func (d *delay) head(sent, arrived time.Duration) {
	way := arrived - sent
	d.floor.note(way, sent)
	before := d.queue
	d.queue = way - d.floor.least
	if !d.begun {
		d.begun, d.first, d.origin, d.last, d.threshold = true, arrived, way, arrived, startOfOver
	}
	gap := milliseconds(arrived - d.last)
	if gap < 0 { // overtaken, or made up
		return
	}
	d.last = arrived
	d.draw(milliseconds(arrived-d.first), milliseconds(way-d.origin))
	d.detect(gap)
	if d.queue > longWait && d.tail > longWait && d.queue >= before {
		d.state = over
	}
}

// follow hears of a further packet of a burst.
func (d *delay) follow(sent, arrived time.Duration) {
	way := arrived - sent
	d.floor.note(way, sent)
	d.tail = way - d.floor.least
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// draw adds a point to the line and finds its slope.
func (d *delay) draw(x, y float64) {
	d.smoothed = smoothing*d.smoothed + (1-smoothing)*y
	d.line[d.n%points].x, d.line[d.n%points].y = x, d.smoothed
	d.n++
	n := min(d.n, points)
	if n < points {
		return
	}
	var sumX, sumY float64
	for i := range n {
		sumX += d.line[i].x
		sumY += d.line[i].y
	}
	meanX, meanY := sumX/float64(n), sumY/float64(n)
	var above, below float64
	for i := range n {
		dx := d.line[i].x - meanX
		above += dx * (d.line[i].y - meanY)
		below += dx * dx
	}
	if below > 0 {
		d.trend = above / below
	}
}

// detect compares the slope with the threshold (draft-ietf-rmcat-gcc-02 section 5.4), gap milliseconds after the last
// time.
func (d *delay) detect(gap float64) {
	if d.n < points {
		d.state = normal
		return
	}
	m := d.trend * gain * float64(min(d.n, 60))
	switch {
	case m > d.threshold:
		d.overFor += gap
		d.overs++
		if d.overFor > overTime && d.overs > 1 && d.queue > shortWait {
			d.state = over
		}
	case m < -d.threshold:
		d.overFor, d.overs, d.state = 0, 0, under
	default:
		d.overFor, d.overs, d.state = 0, 0, normal
	}
	d.adapt(m, gap)
}

// adapt moves the threshold towards the trend, so that one that is noisy by nature, or beside TCP, is not taken for a
// queue. It is deaf to a leap.
func (d *delay) adapt(m, gap float64) {
	m = max(m, -m)
	if m > d.threshold+mostNoise {
		return
	}
	k := downward
	if m > d.threshold {
		k = upward
	}
	d.threshold = min(max(d.threshold+k*(m-d.threshold)*min(gap, 100), slowest), fastest)
}

// floor is the shortest way of late, of the last one to two floorTimes: a route that became longer is the way then.
type floor struct {
	least           time.Duration // of both
	current, before time.Duration
	since           time.Duration
	begun           bool
}

const floorTime = 10 * time.Second

func (f *floor) note(way, now time.Duration) {
	switch {
	case !f.begun:
		f.begun, f.since, f.current, f.before = true, now, way, way
	case now-f.since > floorTime:
		f.since, f.before, f.current = now, f.current, way
	}
	f.current = min(f.current, way)
	f.least = min(f.current, f.before)
}
