package congestion

import (
	"math"
	"time"
)

// The bound by loss is looked at when so much was heard of.
const (
	lossTime    = 500 * time.Millisecond
	lossPackets = 40
	lossPatient = 2 * time.Second // or fewer packets
	lossWeight  = 0.3             // of a look in the share that is told
)

// Shares of packets.
const (
	muchLoss   = 0.15 // or more lowers the bound: repairs do not make it good any more
	littleLoss = 0.02 // or less lets it grow quickly
)

// loss is the bound by what is lost (draft-ietf-rmcat-gcc-02 section 6).
type loss struct {
	rate  float64 // bit/s; +Inf before it was ever lowered
	share float64 // lost of late, smoothed: a look is at so few packets that chance shows

	lost, heard int
	since       time.Duration
}

func (l *loss) note(arrived bool) {
	l.heard++
	if !arrived {
		l.lost++
	}
}

// look moves the bound, where it is time to. estimate is what counts now, and delivered what arrives, in bit/s.
func (l *loss) look(now time.Duration, estimate, delivered float64) {
	past := now - l.since
	if past < lossTime || l.heard < lossPackets && past < lossPatient {
		return
	}
	if l.heard > 0 {
		n, lost := float64(l.heard), float64(l.lost)
		share := lost / n
		l.share += lossWeight * (share - l.share)
		// Of few packets, more may be lost by chance.
		chance := 2 * math.Sqrt(n*muchLoss*(1-muchLoss))
		switch {
		case lost > muchLoss*n+chance:
			l.rate = max(min(l.rate, estimate)*(1-0.5*share), delivered)
		case share < littleLoss:
			l.rate *= 1.05
		default: // or one unlucky look in an hour would be for good
			l.rate *= 1.01
		}
		if share < muchLoss { // what was sent is carried, and what was lost of it is repaired
			l.rate = max(l.rate, delivered/(1-share))
		}
	}
	l.lost, l.heard, l.since = 0, 0, now
}
