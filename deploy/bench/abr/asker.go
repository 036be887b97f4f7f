package abr

import (
	"cmp"
	"slices"
	"time"
)

// asker finds out what is missing of a player's video, and when to ask for it. The WebRTC stack's own asks for
// ever, every 100 ms, for what has come as RTX; browsers notice that, and ask as soon as something is missing and again after a
// round trip, ten times.
type asker struct {
	begun   bool
	newest  uint16
	missing map[uint16]*missed
}

type missed struct {
	asked time.Time
	times int
}

const (
	askInterval = 20 * time.Millisecond
	askAgain    = 60 * time.Millisecond // a round trip, and some
	mostAsked   = 10
	mostMissing = 1000
)

// note hears that a packet came.
func (a *asker) note(seq uint16) {
	if !a.begun {
		a.begun, a.newest, a.missing = true, seq, map[uint16]*missed{}
		return
	}
	if int16(seq-a.newest) <= 0 {
		delete(a.missing, seq)
		return
	}
	for n := a.newest + 1; n != seq; n++ {
		a.missing[n] = &missed{}
	}
	a.newest = seq
	if len(a.missing) > mostMissing {
		clear(a.missing)
	}
}

// due are the numbers to ask for at now, in order.
func (a *asker) due(now time.Time) (list []uint16) {
	for seq, m := range a.missing {
		if m.times == mostAsked {
			delete(a.missing, seq)
			continue
		}
		if now.Sub(m.asked) >= askAgain {
			m.asked, m.times = now, m.times+1
			list = append(list, seq)
		}
	}
	slices.SortFunc(list, func(x, y uint16) int { return cmp.Compare(int16(x-a.newest), int16(y-a.newest)) })
	return list
}
