package link

import (
	"encoding/binary"
	"slices"
	"time"

	"banyan/relay/log"
	"banyan/relay/media"
)

// Bounds of what is remembered to be missing. A hole that nobody fills for as long as a child looks back for one
// (resumeSpan) stays.
const (
	maxHoles     = 64
	maxHoleWidth = 2048
	repairBatch  = 64 // packets of one repair
)

// holes are the offsets that a cursor passed over, lowest first. When a packet comes late to a parent its children have
// read on, so it is sent to them behind the others.
type holes []hole

type hole struct {
	from, to int64 // up to, not including
	until    time.Time
}

// note remembers a hole.
func (h *holes) note(from, to int64, now time.Time) {
	if to-from <= maxHoleWidth && len(*h) < maxHoles {
		*h = append(*h, hole{from, to, now.Add(resumeSpan)})
	}
}

// take finds packets that have come since, of one epoch and without a gap, and forgets them. It forgets what is
// too old.
func (h *holes) take(l *log.Log, now time.Time) (packets []*media.Packet) {
	*h = slices.DeleteFunc(*h, func(o hole) bool { return now.After(o.until) })
	for i, o := range *h {
		for offset := o.from; offset < o.to && len(packets) < repairBatch; offset++ {
			p := l.Get(offset)
			if p == nil && packets == nil {
				continue
			}
			if p == nil || packets != nil && p.Params != packets[0].Params {
				break
			}
			packets = append(packets, p)
		}
		if packets != nil {
			first, after := packets[0].Offset, packets[len(packets)-1].Offset+1
			rest := []hole{{o.from, first, o.until}, {after, o.to, o.until}}
			rest = slices.DeleteFunc(rest, func(o hole) bool { return o.from == o.to })
			*h = slices.Replace(*h, i, i+1, rest...)
			return packets
		}
	}
	return nil
}

// repair sends the child what has come late. What the line cannot take at once it does not get.
func (s *serving) repair(now time.Time) error {
	for {
		packets := s.holes.take(s.cursor.Log(), now)
		if packets == nil {
			return nil
		}
		stream, err := s.link.quic.OpenUniStream()
		if err != nil {
			s.link.node.metrics.dropped(dropRepair, len(packets))
			continue
		}
		first := packets[0]
		h := header{sub: s.sub, first: first.Offset, ticks: first.Ticks, sent: s.link.node.clock(now), params: *first.Params}
		body := h.append(nil)
		b := append(binary.AppendUvarint([]byte{streamRepair}, uint64(len(body))), body...)
		state := newGroupState(&h)
		for _, p := range packets {
			b = state.appendRecord(b, &record{packet: *p, age: age(p.Arrived, now), sent: h.sent})
		}
		_ = stream.SetWriteDeadline(now.Add(lookUp))
		if _, err := stream.Write(b); err != nil {
			stream.CancelWrite(streamStale)
			s.link.node.metrics.dropped(dropRepair, len(packets))
			continue
		}
		s.link.node.metrics.repaired.Add(float64(len(packets)))
		_ = stream.Close() // fails only where it was cancelled
	}
}
