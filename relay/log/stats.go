package log

import (
	"sync/atomic"
	"time"
)

// Skip is why a cursor passed over an offset.
type Skip uint8

// The reasons.
const (
	SkipHole          Skip = iota // the packet never came
	SkipOverrun                   // the window had moved on before the reader got there
	SkipLag                       // the reader was more than MaxLag behind, or asked to skip
	SkipAwaitKeyframe             // nothing before the next keyframe is of use to the reader
	skipReasons
)

func (s Skip) String() string {
	return [...]string{"hole", "overrun", "lag", "await-keyframe"}[s]
}

// Skips lists all reasons.
func Skips() []Skip { return []Skip{SkipHole, SkipOverrun, SkipLag, SkipAwaitKeyframe} }

type counters struct {
	packets, bytes, holes, filled, late, duplicates atomic.Uint64
	skips                                           [skipReasons]atomic.Uint64
}

// Stats are the accounts of a log. Counters run since its birth.
type Stats struct {
	Packets, Bytes   uint64              // published; bytes of payload
	Holes            uint64              // offsets that were passed over when they were due
	Filled           uint64              // holes that a late packet filled
	Late, Duplicates uint64              // packets refused
	Skips            [skipReasons]uint64 // offsets that readers passed over, by reason

	WindowPackets int           // in the window now
	WindowBytes   int           // bytes that the window takes, overhead included
	WindowSpan    time.Duration // media time from the oldest packet to the newest
	Bitrate       float64       // bits per second of payload over the window, pauses apart; zero below half a second

	FrameRate       float64 // frames per second of the present epoch in the window, pauses apart; zero below half a second
	WindowFrameRate float64 // the same of the whole window
}

// Stats reads the accounts.
func (l *Log) Stats() Stats {
	c := &l.counters
	s := Stats{
		Packets: c.packets.Load(), Bytes: c.bytes.Load(), Holes: c.holes.Load(), Filled: c.filled.Load(),
		Late: c.late.Load(), Duplicates: c.duplicates.Load(),
	}
	for i := range s.Skips {
		s.Skips[i] = c.skips[i].Load()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.WindowPackets, s.WindowBytes = l.window.packets, l.window.bytes
	oldest := l.oldest()
	if oldest == nil {
		return s
	}
	newest := l.NewestTime()
	s.WindowSpan = newest.Sub(oldest.Time())
	var sending time.Duration
	if s.WindowFrameRate, sending = l.window.all.rate(oldest, newest); sending > 0 {
		s.Bitrate = float64(s.WindowBytes-s.WindowPackets*packetOverhead) * 8 / sending.Seconds()
	}
	if first := l.window.opening; first != nil {
		oldest = first
	}
	s.FrameRate, _ = l.window.present.rate(oldest, newest)
	return s
}
