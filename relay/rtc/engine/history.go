package engine

import (
	"weak"

	"banyan/relay/log"
	"banyan/relay/media"
)

// history is which packets of which logs went out under which sequence numbers, for as long as they may be asked for
// again. As both count up one by one, it is enough to note where that begins anew: a change of log, a hole that was
// closed up, a timestamp that was bent. It knows no clock, and its zero value is empty.
//
// A packet that is late on its way from the publisher fills its hole in the log when viewers have passed that by. They
// know of the hole by the sequence number left out for it, and ask for that. Nothing is special about it here: the
// number belongs to the stretch around it, and the packet is where its offset says.
type history struct {
	newest stretch   // apart, as every packet looks at it
	older  []stretch // a ring, as soon as it has historySize
	n      int       // stretches so far, with the newest
}

// historySize is how far back a history goes, in stretches: a burst makes one per frame, and sound one whenever its
// clock is corrected; else they last for minutes.
const historySize = 64

// historyReach is how many sequence numbers back packets are sent again: a second at 10 Mbit/s. What is older comes
// too late to be shown.
const historyReach = 1024

// stretch is packets whose numbers and timestamps keep their distance from the log's.
type stretch struct {
	log         weak.Pointer[log.Log] // the note shall not keep the window of a format that the viewer has left
	params      *media.Params
	first, last int64  // sequence numbers, extended
	offset      int64  // of the packet that has number first
	shift       uint32 // timestamp less ticks
	payloadType uint8
}

// sent is a packet as it goes out.
type sent struct {
	*media.Packet
	seq         int64 // extended
	timestamp   uint32
	payloadType uint8
}

// note remembers a packet of source that goes out now.
func (h *history) note(source weak.Pointer[log.Log], p sent) {
	if h.n > 0 {
		s := &h.newest
		if s.params == p.Params && s.log == source && s.shift == p.timestamp-uint32(p.Ticks) &&
			s.payloadType == p.payloadType && p.seq-s.first == p.Offset-s.offset {
			s.last = p.seq
			return
		}
	}
	if h.n > 0 {
		if len(h.older) < historySize { // most viewers need a few
			h.older = append(h.older, stretch{})
		}
		h.older[(h.n-1)%historySize] = h.newest
	}
	h.newest = stretch{
		log: source, params: p.Params, first: p.seq, last: p.seq, offset: p.Offset,
		shift: p.timestamp - uint32(p.Ticks), payloadType: p.payloadType,
	}
	h.n++
}

// find is the packet that went out, or would have, under the low bits of a sequence number; false where nobody has it.
func (h *history) find(low uint16) (sent, bool) {
	if h.n == 0 {
		return sent{}, false
	}
	newest := h.newest.last
	seq := newest - int64(uint16(newest)-low) // the latest number with these bits
	if newest-seq >= historyReach {
		return sent{}, false
	}
	if seq >= h.newest.first {
		return h.newest.packet(seq)
	}
	for i := h.n - 2; i >= max(0, h.n-1-historySize); i-- {
		if s := &h.older[i%historySize]; seq >= s.first {
			return s.packet(seq)
		}
	}
	return sent{}, false
}

// last is the number of the packet that went out last; false where none has.
func (h *history) last() (seq int64, ok bool) {
	if h.n == 0 {
		return 0, false
	}
	return h.newest.last, true
}

// largest is the largest of the packets that went out last; false where nobody has them any more.
func (h *history) largest() (largest sent, ok bool) {
	const few = 4 // the last one of a frame may be short
	if h.n == 0 {
		return sent{}, false
	}
	s := &h.newest
	for seq := s.last; seq >= s.first && seq > s.last-few; seq-- {
		if p, there := s.packet(seq); there && (!ok || len(p.Payload) > len(largest.Payload)) {
			largest, ok = p, true
		}
	}
	return largest, ok
}

// packet is the one with number seq, which is not before the stretch and may be after it, in a gap that was left
// before the next one: it belongs to neither then.
func (s *stretch) packet(seq int64) (sent, bool) {
	source := s.log.Value()
	if seq > s.last || source == nil {
		return sent{}, false
	}
	p := source.Get(s.offset + seq - s.first)
	if p == nil || p.Params != s.params {
		return sent{}, false
	}
	return sent{Packet: p, seq: seq, timestamp: uint32(p.Ticks) + s.shift, payloadType: s.payloadType}, true
}
