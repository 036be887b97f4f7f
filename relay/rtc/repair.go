package rtc

import (
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"banyan/relay/log"
	"banyan/relay/media"
)

// The tracks' logs are the only store of packets for retransmission. Beside them a viewer has, per track, a note of
// which packet of which log went out under which sequence number: 32 KiB of memory however large the packets are, and
// nothing is copied. What a viewer reports as lost (RFC 4585 section 6.2.1) is sent again from the log, under its old
// sequence number, as SRTP demands to the last bit what it was: a packet in a log never changes.
//
// A packet that was late on its way from the publisher fills its hole in the log when viewers have passed that by. They
// know of the hole by the sequence number left out for it, ask, and ask again: the note says which offset a number was
// left out for, so that they get the packet once it is there. Nothing is sent that nobody asked for.

const (
	// historySize is how many packets of a track can be asked for again: a second at 10 Mbit/s. A power of two.
	historySize = 1024

	// A viewer gets repairs for at most a quarter of what was sent to it, saved up for a keyframe that was lost
	// in part, and a little beside, without which audio would hardly be repaired. Who loses more than that has no use
	// for repairs: they are what chokes its network.
	repairShare  = 4         // one byte in so many
	repairFloor  = 8 << 10   // bytes per second
	repairSaved  = 256 << 10 // bytes, at most
	repairAtOnce = 32 << 10  // bytes, at the start
)

// Repairs are accounts of what a viewer asked for again. They only grow.
type Repairs struct {
	Sent    uint64 // packets that were sent again
	Refused uint64 // packets over the viewer's share
	Missing uint64 // packets that nobody has: never sent, too long ago, or gone from the log
}

// sentPacket is what is noted of a packet.
type sentPacket struct {
	log         weak.Pointer[log.Log] // the note shall not keep the window of a format that the viewer has left
	offset      int64
	seq         int64 // extended
	timestamp   uint32
	payloadType uint8
	marker      bool

	// ahead is not zero of a number that was left out for a hole: timestamp is then that of the packet so many offsets
	// further on, to which what fills the hole is related by its ticks.
	ahead uint8
}

// history notes what a Track sent, and says what may be sent again. Its methods are safe for concurrent use: packets
// are sent by one goroutine and asked for in another.
type history struct {
	mu   sync.Mutex // guards all below
	sent [historySize]sentPacket
	next int64 // extended sequence number after the last
	allowance

	repaired, refused, missing atomic.Uint64
}

// note remembers a packet that goes out now.
func (h *history) note(p sentPacket, size int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sent[p.seq%historySize] = p
	h.next = p.seq + 1
	h.earn(size / repairShare)
}

// leave notes that the numbers before that of p were left out, one for each of as many holes in the log.
func (h *history) leave(p sentPacket, holes int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := int64(1); i <= min(holes, largestGap); i++ {
		hole := p
		hole.seq, hole.offset, hole.ahead = p.seq-i, p.offset-i, uint8(i)
		h.sent[hole.seq%historySize] = hole
	}
}

// find is what went out under the low bits of a sequence number.
func (h *history) find(low uint16) (p sentPacket, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	newest := h.next - 1
	seq := newest - int64(uint16(newest)-low) // the latest number with these bits
	if seq < 0 {
		return p, false
	}
	p = h.sent[seq%historySize]
	return p, p.seq == seq && p.seq < h.next
}

// lookUp is what went out under the low bits of a sequence number, and the packet itself, nil where it is gone.
func (h *history) lookUp(low uint16) (sentPacket, *media.Packet) {
	sent, ok := h.find(low)
	if !ok {
		return sent, nil
	}
	source := sent.log.Value()
	if source == nil {
		return sent, nil
	}
	p := source.Get(sent.offset)
	if p == nil || sent.ahead == 0 {
		return sent, p
	}
	after := source.Get(sent.offset + int64(sent.ahead))
	if after == nil || after.Params != p.Params {
		return sent, nil
	}
	sent.timestamp -= uint32(after.Ticks - p.Ticks)
	sent.marker = p.Params.Codec.Kind() == media.Video && p.Has(media.FrameEnd)
	return sent, p
}

// pay tells whether a repair of size bytes is within the viewer's share at now.
func (h *history) pay(size int, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.allowance.pay(size, now)
}

// allowance is a budget in bytes that grows with what is sent, and a little with time.
type allowance struct {
	bytes int
	grown time.Time // last with time; zero before the first payment
}

func (a *allowance) earn(bytes int) { a.bytes = min(a.bytes+bytes, repairSaved) }

func (a *allowance) pay(bytes int, now time.Time) bool {
	if a.grown.IsZero() {
		a.earn(repairAtOnce)
		a.grown = now
	}
	if d := min(now.Sub(a.grown), time.Minute); d > 0 {
		if earned := int(d * repairFloor / time.Second); earned > 0 {
			a.earn(earned)
			a.grown = now
		}
	}
	if bytes > a.bytes {
		return false
	}
	a.bytes -= bytes
	return true
}

// Repairs reads the accounts. It may be called from any goroutine.
func (t *Track) Repairs() Repairs {
	h := &t.history
	return Repairs{Sent: h.repaired.Load(), Refused: h.refused.Load(), Missing: h.missing.Load()}
}

// repair sends again what the peer did not get.
func (t *Track) repair(lost *rtcp.TransportLayerNack, now time.Time) {
	if lost.MediaSSRC != uint32(t.ssrc) {
		return
	}
	for _, pair := range lost.Nacks {
		pair.Range(func(seq uint16) bool {
			t.sendAgain(seq, now)
			return true
		})
	}
}

func (t *Track) sendAgain(seq uint16, now time.Time) {
	sent, p := t.history.lookUp(seq)
	switch {
	case p == nil:
		t.history.missing.Add(1)
		return
	case !t.history.pay(len(p.Payload), now):
		t.history.refused.Add(1)
		return
	}
	header := rtp.Header{
		Version: 2, PayloadType: sent.payloadType, SSRC: uint32(t.ssrc),
		SequenceNumber: seq, Timestamp: sent.timestamp, Marker: sent.marker,
	}
	if _, err := t.writer.WriteRTP(&header, p.Payload); err == nil {
		t.history.repaired.Add(1)
	}
}
