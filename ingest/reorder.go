package ingest

import (
	"time"

	"github.com/pion/rtp"
)

// Bounds of a Reorder.
const (
	// maxJump is how far a sequence number may lie from the newest one and still belong to the same
	// numbering (MAX_DROPOUT of RFC 3550 appendix A.1). Beyond it the sender began anew.
	maxJump = 3000
	// maxHeld bounds the packets that wait behind a hole: 250 ms at 50 Mb/s are 1,300 packets.
	maxHeld = 2048
	// firstHeld is the room to begin with; most tracks never need more.
	firstHeld = 64
	// seenBits covers every sequence number that maxJump lets in below the newest.
	seenBits = 4096
	// holesKept is how many holes are remembered to measure how long repairs take.
	holesKept = 16
)

// Packet is an RTP packet in its place. Its payload is valid only while the function runs that it is
// passed to.
type Packet struct {
	Sequence    int64 // extended: counts on where the 16 bits on the wire wrap
	Timestamp   uint32
	PayloadType uint8
	Marker      bool
	Arrived     time.Time
	Payload     []byte

	// First marks the first packet of a numbering: of all, or after the sender began anew. What came
	// before has other extended sequence numbers; those of different numberings do not compare.
	First bool
	// Late marks a packet that comes after its place was given up, and so out of order.
	Late bool
}

// ReorderStats are the accounts of a Reorder since its birth.
type ReorderStats struct {
	Received   uint64 // handed to Push
	Released   uint64 // passed on in order
	Lost       uint64 // places given up, some of which Late packets filled afterwards
	Late       uint64 // passed on after their place was given up
	Mended     uint64 // came out of order, yet in time
	Duplicates uint64 // dropped: had them already
	Strays     uint64 // dropped: before the beginning, or a lone packet far from all others
	Overflows  uint64 // places given up early because too many packets waited behind them
	Restarts   uint64 // numberings after the first
}

// Reorder puts the packets of one RTP stream in order. A packet that comes in order is passed on at
// once. Behind a hole packets wait until it is mended or the wait is over; then the hole is given up,
// and a packet that arrives for it later is passed on as Late. Duplicates are dropped.
//
// The wait begins at Wait and follows what repairs are seen to take (that is the round trip to the
// sender, and what it and we need to ask and to answer), up to MaxWait.
//
// Reorder is a value without goroutine, socket or clock, owned by one goroutine.
type Reorder struct {
	// Wait is how long packets wait behind a hole, counted from the first packet that shows it.
	Wait time.Duration
	// MaxWait is how far the wait may grow with the repairs seen. Wait if smaller.
	MaxWait time.Duration

	stats   ReorderStats
	started bool
	ssrc    uint32
	first   int64 // of this numbering
	next    int64 // to pass on next
	newest  int64 // highest seen

	slots []Packet // a ring by sequence number; a slot is taken where Payload is not nil
	held  int      // slots taken
	free  [][]byte // room for payloads, of packets that waited before

	seen   [seenBits / 64]uint64 // which of the sequence numbers below next were passed on
	holes  [holesKept]hole       // the latest holes, a ring
	hole   int                   // where the next one goes
	repair time.Duration         // what repairs take: follows rises at once, falls slowly

	suspect      Packet // a packet far from all others: the first of a new numbering, or a stray
	suspectRoom  []byte
	suspectValid bool
}

// hole is a run of missing sequence numbers: from included, to not.
type hole struct {
	from, to int64
	shown    time.Time // when the packet above arrived
}

// Stats reads the accounts.
func (r *Reorder) Stats() ReorderStats { return r.stats }

// Push takes a packet that arrived and passes on, in order, all that need not wait (any more). It
// copies what it keeps. emit must not call back.
func (r *Reorder) Push(p *rtp.Packet, arrived time.Time, emit func(Packet)) {
	r.stats.Received++
	in := Packet{
		Timestamp: p.Timestamp, PayloadType: p.PayloadType, Marker: p.Marker, Arrived: arrived, Payload: p.Payload,
	}
	if in.Payload == nil {
		in.Payload = []byte{} // a slot with nil is a free one
	}
	if !r.started || p.SSRC != r.ssrc {
		r.restart(in, p.SSRC, p.SequenceNumber, emit)
		return
	}
	step := int64(int16(p.SequenceNumber - uint16(r.newest)))
	if step > maxJump || step < -maxJump {
		r.suspectJump(in, p.SSRC, p.SequenceNumber, emit)
		return
	}
	r.suspectValid = false
	in.Sequence = r.newest + step
	r.place(in, emit)
}

// place passes on a packet of the current numbering, or keeps it behind a hole.
func (r *Reorder) place(in Packet, emit func(Packet)) {
	if in.Sequence > r.newest {
		if in.Sequence > r.newest+1 {
			r.holes[r.hole%holesKept] = hole{from: r.newest + 1, to: in.Sequence, shown: in.Arrived}
			r.hole++
		}
		r.newest = in.Sequence
	}
	switch {
	case in.Sequence < r.next:
		r.late(in, emit)
		return
	case in.Sequence == r.next:
		if r.held > 0 { // others waited for this one
			r.mended(in)
		}
		r.release(in, emit)
	case !r.hold(in, emit):
		return
	}
	r.drain(in.Arrived, emit)
}

// Expire gives up the holes that have been waited for long enough at now.
func (r *Reorder) Expire(now time.Time, emit func(Packet)) { r.drain(now, emit) }

// Flush passes on all that waits, giving up every hole.
func (r *Reorder) Flush(emit func(Packet)) {
	for r.held > 0 {
		r.giveUp()
		r.advance(emit)
	}
}

// Deadline is when Expire next has something to do; ok is false while nothing waits.
func (r *Reorder) Deadline() (at time.Time, ok bool) {
	if r.held == 0 {
		return time.Time{}, false
	}
	return r.shown().Add(r.patience()), true
}

// patience is the wait as it is now.
func (r *Reorder) patience() time.Duration {
	return max(r.Wait, min(r.repair*5/4, r.MaxWait)) // a quarter more, as repairs vary
}

// drain passes on what follows in order, and gives up the holes whose time is over.
func (r *Reorder) drain(now time.Time, emit func(Packet)) {
	for {
		r.advance(emit)
		if r.held == 0 || now.Before(r.shown().Add(r.patience())) {
			return
		}
		r.giveUp()
	}
}

// advance passes on the packets that are there from next on, up to the next hole.
func (r *Reorder) advance(emit func(Packet)) {
	for r.held > 0 {
		slot := r.slot(r.next)
		if slot.Payload == nil {
			return
		}
		p := *slot
		slot.Payload = nil
		r.held--
		r.release(p, emit)
		r.recycle(p.Payload)
	}
}

// release passes on the packet at next.
func (r *Reorder) release(p Packet, emit func(Packet)) {
	r.stats.Released++
	r.mark(r.next, true)
	r.next++
	emit(p)
}

// giveUp moves next past the hole that it stands at.
func (r *Reorder) giveUp() {
	for r.slot(r.next).Payload == nil {
		r.mark(r.next, false)
		r.stats.Lost++
		r.next++
	}
}

// shown is when the hole at next was first seen: the earliest arrival of what waits behind it.
func (r *Reorder) shown() time.Time {
	for i := range r.holes {
		if h := &r.holes[i]; h.from <= r.next && r.next < h.to {
			return h.shown
		}
	}
	// The hole is older than those remembered. The first packet behind it came no earlier than it
	// was shown, so this errs towards patience.
	for sequence := r.next; ; sequence++ {
		if slot := r.slot(sequence); slot.Payload != nil {
			return slot.Arrived
		}
	}
}

// hold keeps a packet that came before its turn; false where it was there already.
func (r *Reorder) hold(in Packet, emit func(Packet)) bool {
	for in.Sequence-r.next >= maxHeld { // make room: what is oldest has waited longest
		if r.held == 0 {
			r.stats.Lost += uint64(in.Sequence - r.next)
			r.stats.Overflows += uint64(in.Sequence - r.next)
			for ; r.next < in.Sequence; r.next++ {
				r.mark(r.next, false)
			}
			r.release(in, emit)
			return true
		}
		before := r.next
		r.giveUp()
		r.stats.Overflows += uint64(r.next - before)
		r.advance(emit)
	}
	r.grow(int(in.Sequence-r.next) + 1)
	slot := r.slot(in.Sequence)
	if slot.Payload != nil {
		r.stats.Duplicates++
		return false
	}
	if in.Sequence < r.newest {
		r.mended(in)
	}
	*slot = in
	slot.Payload = append(r.room(), in.Payload...)
	r.held++
	return true
}

// late passes on a packet whose place was given up, unless it is a duplicate.
func (r *Reorder) late(in Packet, emit func(Packet)) {
	switch {
	case in.Sequence < r.first || in.Sequence <= r.next-seenBits:
		r.stats.Strays++
	case r.passed(in.Sequence):
		r.stats.Duplicates++
	default:
		r.measure(in)
		r.mark(in.Sequence, true)
		r.stats.Late++
		in.Late = true
		emit(in)
	}
}

// mended counts a packet that came for a hole in time.
func (r *Reorder) mended(in Packet) {
	r.stats.Mended++
	r.measure(in)
}

// measure learns from a packet that came for a hole how long that took.
func (r *Reorder) measure(in Packet) {
	for i := range r.holes {
		if h := &r.holes[i]; h.from <= in.Sequence && in.Sequence < h.to {
			took := in.Arrived.Sub(h.shown)
			if took <= r.MaxWait { // no wait that we may grant helps a slower repair
				r.repair = max(took, r.repair-r.repair/16)
			}
			return
		}
	}
}

// suspectJump deals with a packet far from the newest. Two in a row that follow each other are a
// sender that began anew; one alone is a stray (RFC 3550 appendix A.1).
func (r *Reorder) suspectJump(in Packet, ssrc uint32, sequence uint16, emit func(Packet)) {
	if !r.suspectValid || sequence != uint16(r.suspect.Sequence)+1 {
		if r.suspectValid {
			r.stats.Strays++
		}
		r.suspect, r.suspectValid = in, true
		r.suspect.Sequence = int64(sequence)
		r.suspectRoom = append(r.suspectRoom[:0], in.Payload...)
		return
	}
	first := r.suspect
	first.Payload = r.suspectRoom
	if first.Payload == nil {
		first.Payload = []byte{}
	}
	r.restart(first, ssrc, uint16(first.Sequence), emit)
	in.Sequence = r.next
	r.newest = max(r.newest, in.Sequence)
	r.release(in, emit)
}

// restart begins a new numbering with the packet in, after passing on what waits of the old one.
func (r *Reorder) restart(in Packet, ssrc uint32, sequence uint16, emit func(Packet)) {
	r.Flush(emit)
	if r.started {
		r.stats.Restarts++
	}
	r.started, r.suspectValid, r.ssrc = true, false, ssrc
	in.Sequence, in.First = int64(sequence), true
	r.first, r.next, r.newest = in.Sequence, in.Sequence, in.Sequence
	r.holes = [holesKept]hole{}
	r.release(in, emit)
}

func (r *Reorder) slot(sequence int64) *Packet {
	if len(r.slots) == 0 {
		r.slots = make([]Packet, firstHeld)
	}
	return &r.slots[sequence&int64(len(r.slots)-1)]
}

// grow makes the ring hold n places from next on.
func (r *Reorder) grow(n int) {
	size := max(len(r.slots), firstHeld)
	for size < n {
		size *= 2
	}
	if size == len(r.slots) {
		return
	}
	old := r.slots
	r.slots = make([]Packet, size)
	for i := range old {
		if old[i].Payload != nil {
			*r.slot(old[i].Sequence) = old[i]
		}
	}
}

func (r *Reorder) mark(sequence int64, passed bool) {
	word, bit := &r.seen[sequence%seenBits/64], uint64(1)<<(sequence%64)
	if passed {
		*word |= bit
	} else {
		*word &^= bit
	}
}

func (r *Reorder) passed(sequence int64) bool {
	return r.seen[sequence%seenBits/64]&(1<<(sequence%64)) != 0
}

// room is an empty buffer for a payload that waits; recycle takes it back.
func (r *Reorder) room() []byte {
	if n := len(r.free); n > 0 {
		buffer := r.free[n-1]
		r.free = r.free[:n-1]
		return buffer
	}
	return make([]byte, 0, 1500) // an Ethernet frame holds no more
}

func (r *Reorder) recycle(buffer []byte) {
	const most = 64 // 96 KB: a burst may take more, but need not keep it
	if len(r.free) < most {
		r.free = append(r.free, buffer[:0])
	}
}
