package congestion

import "time"

const (
	// paceFactor times the estimate is how fast a backlog is sent: a keyframe, of ten times the size of other frames,
	// is out before the frame after the next, and a line with some buffer does not overflow.
	paceFactor = 2.5
	// paceLong is the share of what leaves that is sent while packets wait for long.
	paceLong = 0.8
	// paceTime is how much may go out at once after silence: what the slowest turn would have brought.
	paceTime = 10 * time.Millisecond
	// paceLeast is one frame of a small format, which gains nothing from being cut.
	paceLeast = 4 << 10
	// paceDebt is how far audio may overdraw the budget; what is more it gets for nothing.
	paceDebt = 50 * time.Millisecond
	// PaceTurn is the time between turns while something waits.
	PaceTurn = 5 * time.Millisecond
)

// Pacer is a budget of bytes that spreads what there is to send over turns. Audio is always sent and is paid first, so
// that video waits for it and never the other way round. The zero value begins with the first turn.
type Pacer struct {
	rate   float64 // bytes per second
	left   float64 // bytes; negative is debt
	probed float64 // bytes that are due to a probe
	probe  float64 // bytes per second
	full   bool
	at     time.Time
}

// Turn begins a turn. probe is a rate that is to be filled up with padding, in bit/s; zero is none.
func (p *Pacer) Turn(link Link, probe int, now time.Time) {
	p.rate, p.full = pace(link)/8, link.Full
	most := max(p.rate*paceTime.Seconds(), paceLeast)
	past := min(max(now.Sub(p.at), 0), 100*time.Millisecond)
	if p.at.IsZero() {
		p.left = most
	}
	p.at = now
	p.left = min(p.left+p.rate*past.Seconds(), most)
	if p.probe = float64(probe) / 8; probe == 0 || link.Full {
		p.probed = 0
		return
	}
	p.probed = min(p.probed+p.probe*past.Seconds(), p.probe*(4*paceTime).Seconds())
}

// pace is how fast a backlog is sent, in bit/s: where packets wait, as fast as they leave, so that no more do; where they wait
// long, slower.
func pace(link Link) float64 {
	rate := paceFactor * float64(max(link.Rate, leastRate))
	switch {
	case link.Capacity == 0:
		return rate
	case link.Queue > second:
		return min(rate, paceLong*float64(max(link.Capacity, leastRate)))
	}
	return min(rate, float64(max(link.Capacity, leastRate)))
}

// Audio pays for a packet of audio that is sent, or a repair: what does not wait.
func (p *Pacer) Audio(bytes int) {
	p.pay(bytes)
	p.left = max(p.left, -p.rate*paceDebt.Seconds())
}

// Open tells whether a packet of video may be sent in this turn, whatever its size.
func (p *Pacer) Open() bool { return !p.full && p.left > 0 }

// Video tells whether a packet of video may be sent in this turn, and pays for it if so. Else it may in a later turn.
func (p *Pacer) Video(bytes int) bool {
	if !p.Open() {
		return false
	}
	p.pay(bytes)
	return true
}

// Padding tells whether padding is due. Ask when all else was sent, and pay for what then is.
func (p *Pacer) Padding() bool { return p.Open() && p.probed > 0 }

// Padded pays for a packet of padding that was sent.
func (p *Pacer) Padded(bytes int) { p.pay(bytes) }

func (p *Pacer) pay(bytes int) {
	p.left -= float64(bytes)
	// A keyframe is ahead of a probe's rate for a while.
	p.probed = max(p.probed-float64(bytes), -p.probe/2)
}
