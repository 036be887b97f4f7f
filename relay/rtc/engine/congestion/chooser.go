package congestion

import "time"

// Figures of the choice.
const (
	tight     = 0.9                    // of a format's rate is carried at least, or it is left
	farShort  = 0.6                    // or less: it is left without a second sign
	spare     = 0.9                    // of what is carried is what a lower format may need
	second    = 50 * time.Millisecond  // wait in a queue that is a second sign, and ends a probe
	patience  = time.Second            // without a second sign
	calmTime  = time.Second            // without a queue, before a probe
	firstTry  = 4 * time.Second        // after a change, until a probe
	lastTry   = 8 * time.Second        // between probes, at most
	stepTime  = 500 * time.Millisecond // of a probe: what Link.Delivered is measured over
	trip      = 250 * time.Millisecond // until what was sent is reported, too, at the last step
	step      = 1.5                    // from step to step
	margin    = 1.03                   // beyond a format's rate, that is to hold
	overshoot = 1.15                   // times the best rate is tried, as chance may take some
	moreLoss  = 0.08                   // in a probe than before it ends that
)

// Chooser picks formats. Its zero value is ready.
type Chooser struct {
	pause time.Duration // until the next probe, from since on
	since time.Time     // the last change, or the last probe's end
	calm  time.Time     // since when there is no queue
	short time.Time     // since when less is carried than the format needs; zero while it is not

	probe probe
}

// probe is a try of higher rates.
type probe struct {
	rate   int // bit/s; zero while there is none
	goal   int
	since  time.Time // of the step
	loss   float64   // before
	proven int       // bit/s that arrived, in steps that held
}

// Choose says which of the formats, whose rates in bit/s are given in rising order with all that goes with them, to send
// from the next keyframe on, and how many bit/s to fill up with padding to; zero is none. current is the format that is
// sent, or was chosen last. When it falls, what waits to be sent of the old format is to be dropped.
func (c *Chooser) Choose(rates []int, current int, link Link, now time.Time) (format, padded int) {
	if len(rates) == 0 {
		return 0, 0
	}
	current = min(max(current, 0), len(rates)-1)
	if c.since.IsZero() {
		c.since, c.calm, c.pause = now, now, firstTry
	}
	if current < len(rates)-1 && narrow(link, rates[current+1]) {
		c.calm = now
	}
	switch {
	case current > 0 && c.leaves(rates[current], link, now):
		c.ended(now, firstTry)
		return lower(rates, current, link.Rate), 0
	case c.probe.rate > 0:
		return c.goOn(rates, current, link, now)
	case current < len(rates)-1 && now.Sub(c.since) >= c.pause && now.Sub(c.calm) >= calmTime && c.short.IsZero():
		c.probe = probe{loss: link.Loss, since: now, rate: int(step * float64(max(rates[current], link.Delivered)))}
		return c.goOn(rates, current, link, now)
	}
	return current, 0
}

// leaves tells whether a format needs too much.
func (c *Chooser) leaves(need int, link Link, now time.Time) bool {
	carried := float64(link.Rate) / float64(max(need, 1))
	if carried >= tight {
		c.short = time.Time{}
		return false
	}
	if c.short.IsZero() {
		c.short = now
	}
	return carried < farShort || link.Queue > second || link.Loss > muchLoss || now.Sub(c.short) >= patience
}

// narrow tells whether there is a queue from which it is seen that a rate is too much.
func narrow(link Link, rate int) bool {
	return link.Queue > second && link.Capacity > 0 && tight*float64(link.Capacity) < float64(rate)
}

// lower is the best format below current for a rate, or the lowest.
func lower(rates []int, current, rate int) int {
	for i := current - 1; i > 0; i-- {
		if float64(rates[i]) <= spare*float64(rate) {
			return i
		}
	}
	return 0
}

// goOn goes on with a probe.
func (c *Chooser) goOn(rates []int, current int, link Link, now time.Time) (format, padded int) {
	p := &c.probe
	p.goal = int(overshoot * float64(rates[len(rates)-1]))
	p.rate = min(p.rate, p.goal)
	last := stepTime
	if p.rate == p.goal {
		last += trip
	}
	switch {
	case narrow(link, p.rate):
		p.proven = max(p.proven, min(p.rate, int(tight*float64(link.Capacity))))
		return c.conclude(rates, current, now), 0
	case link.Loss > p.loss+moreLoss:
		return c.conclude(rates, current, now), 0
	case now.Sub(p.since) < last:
		return current, p.rate
	}
	p.proven = max(p.proven, int(float64(link.Delivered)/max(1-link.Loss, 0.5)))
	if p.rate == p.goal {
		return c.conclude(rates, current, now), 0
	}
	p.rate, p.since = min(int(step*float64(p.rate)), p.goal), now
	return current, p.rate
}

// conclude ends a probe with the best format below what held.
func (c *Chooser) conclude(rates []int, current int, now time.Time) int {
	best := current
	for i := current + 1; i < len(rates); i++ {
		if margin*float64(rates[i]) <= float64(c.probe.proven) {
			best = i
		}
	}
	if best > current {
		c.ended(now, firstTry)
	} else {
		c.ended(now, min(2*c.pause, lastTry))
	}
	return best
}

func (c *Chooser) ended(now time.Time, pause time.Duration) {
	c.probe, c.short, c.since, c.pause = probe{}, time.Time{}, now, pause
}
