package engine

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"
	"weak"

	"banyan/relay/log"
	"banyan/relay/media"
	"banyan/relay/rtc"
	"banyan/relay/rtc/engine/seal"
	"banyan/relay/rtc/sdp"
)

// Track is what a viewer gets of one kind. Its sending methods belong to the viewer's Feed.
type Track struct {
	// What each packet looks at lies together. Owned by the shard, or does not change.
	viewer          *Viewer
	ssrc            uint32
	kind            media.Kind
	transportSeq    uint8  // id of the extension that counts packets; zero where there is none
	packets, octets uint32 // sent, for reports; they wrap
	source          weak.Pointer[log.Log]
	timeline        rtc.Timeline
	history         history
	allowance       allowance

	// Owned by the shard, too.
	rtxSeq int64 // of the last retransmission, extended
	wanted int64 // number, extended, before which nothing is repaired any more
	tries  tries

	mid         string
	codecs      []sdp.Codec // that were negotiated, the preferred one first
	rtxSSRC     uint32
	reducedSize bool // of RTCP, as offered; ours is compound all the same

	highest atomic.Uint32 // sequence number that the peer reported; written by the reader

	repaired, refused, missing atomic.Uint64
}

func newTrack(v *Viewer, m *sdp.Media, codecs []sdp.Codec) *Track {
	return &Track{
		viewer: v, kind: m.Kind, mid: m.MID, codecs: codecs,
		ssrc: newSSRC(), rtxSSRC: newSSRC(), reducedSize: m.ReducedSize,
		// Numbers begin below 2^15, so that SRTP's rollover counter starts without doubt (RFC 3711 section 3.3.1).
		timeline: rtc.NewTimeline(codecs[0].ClockRate, uint16(rand.Uint32N(1<<15)), rand.Uint32()),
		rtxSeq:   int64(rand.Uint32N(1 << 15)),
	}
}

// newSSRC is one of a space so large that a session's four do not meet.
func newSSRC() uint32 { return max(1, rand.Uint32()) }

// Codecs are those that were negotiated. They must not be changed.
func (t *Track) Codecs() []sdp.Codec { return t.codecs }

// Join says that packets from ticks from on are sent at once up to live; see rtc.Timeline.
func (t *Track) Join(from, live int64) { t.timeline.Join(from, live) }

// Bursting tells whether a packet with these ticks is part of a burst; see rtc.Timeline.
func (t *Track) Bursting(ticks int64) bool { return t.timeline.Bursting(ticks) }

// From says that the packets to come are those of source, where they are read again for repairs.
func (t *Track) From(source *log.Log) { t.source = weak.Make(source) }

// Abandon says that nothing which was sent so far is of use any more: what of it was lost is not repaired.
func (t *Track) Abandon() {
	if p, ok := t.history.last(); ok {
		t.wanted = p + 1
	}
}

// PayloadType is the payload type for packets with parameters p, or rtc.ErrNotNegotiated. Ask when they change, not per
// packet. It prefers a codec that promises to decode p, and is content with one that may.
func (t *Track) PayloadType(p *media.Params) (uint8, error) {
	if p.ClockRate != t.codecs[0].ClockRate {
		return 0, rtc.ErrNotNegotiated
	}
	for _, fits := range []func(sdp.Codec) bool{
		func(c sdp.Codec) bool { return c.Takes(p) },
		func(c sdp.Codec) bool { return c.Carries(p) },
	} {
		if i := slices.IndexFunc(t.codecs, fits); i >= 0 {
			return t.codecs[i].PayloadType, nil
		}
	}
	return 0, rtc.ErrNotNegotiated
}

// Send sends p, before which lost offsets were passed over, with the given payload type.
func (t *Track) Send(p *media.Packet, lost int64, payloadType uint8) error {
	seq, timestamp := t.timeline.Next(p, lost)
	out := sent{Packet: p, seq: seq, timestamp: uint32(timestamp), payloadType: payloadType}
	t.history.note(t.source, out)
	t.allowance.earn(len(p.Payload) / repairShare)
	if err := t.write(out); err != nil {
		return err
	}
	t.packets++
	t.octets += uint32(len(p.Payload))
	return nil
}

const headerSize = 12 // of RTP without anything optional (RFC 3550 section 5.1)

// write puts a packet into the batch, as it was sent the first time if it was.
func (t *Track) write(p sent) error {
	size := t.headerSize() + len(p.Payload) + seal.Overhead
	room, err := t.viewer.room(size)
	if err != nil {
		return err
	}
	room = appendHeader(room, t.marked(p.Packet), p.payloadType, uint16(p.seq), p.timestamp, t.ssrc)
	room = t.appendNumber(room, size)
	room, err = t.viewer.media.Seal(room, p.Payload, t.ssrc, uint64(p.seq))
	if err != nil {
		return err
	}
	return t.viewer.post(room)
}

// marked tells whether a packet has the marker bit. In audio it would begin a talkspurt (RFC 3551 section 4.1); ours
// is one that never ends.
func (t *Track) marked(p *media.Packet) bool { return t.kind == media.Video && p.Has(media.FrameEnd) }

func appendHeader(dst []byte, marker bool, payloadType uint8, seq uint16, timestamp, ssrc uint32) []byte {
	if marker {
		payloadType |= 0x80
	}
	dst = append(dst, 2<<6, payloadType)
	dst = binary.BigEndian.AppendUint16(dst, seq)
	dst = binary.BigEndian.AppendUint32(dst, timestamp)
	return binary.BigEndian.AppendUint32(dst, ssrc)
}

// Repairs reads the accounts of what the viewer asked for again. It may be called from any goroutine.
func (t *Track) Repairs() rtc.Repairs {
	return rtc.Repairs{Sent: t.repaired.Load(), Refused: t.refused.Load(), Missing: t.missing.Load()}
}

// repair sends again what the peer did not get, if it may have it. Retransmissions have a stream of their own (RFC
// 4588) where the peer knows that, and are the same packet once more where it does not.
func (t *Track) repair(low uint16, now time.Time) {
	p, ok := t.history.find(low)
	if !ok {
		t.missing.Add(1)
		return
	}
	if p.seq < t.wanted {
		t.refused.Add(1)
		return
	}
	tried, ok := t.tries.again(p.seq, now.Sub(t.viewer.begun))
	if !ok || !t.allowance.pay(len(p.Payload), tried*repairKept, now) {
		t.refused.Add(1)
		return
	}
	var err error
	if rtx := t.retransmission(p.payloadType); rtx != 0 {
		err = t.writeAgain(p, rtx)
	} else {
		err = t.write(p)
	}
	if err == nil {
		t.repaired.Add(1)
	}
}

// retransmission is the payload type for retransmissions of another; zero where the peer has none.
func (t *Track) retransmission(payloadType uint8) uint8 {
	for i := range t.codecs {
		if t.codecs[i].PayloadType == payloadType {
			return t.codecs[i].RTX
		}
	}
	return 0
}

// writeAgain puts a packet into the batch as RTX: its own number first, and then what it was.
func (t *Track) writeAgain(p sent, payloadType uint8) error {
	const original = 2 // bytes: the number under which it went out (RFC 4588 section 4)
	size := t.headerSize() + original + len(p.Payload) + seal.Overhead
	room, err := t.viewer.room(size)
	if err != nil {
		return err
	}
	t.rtxSeq++
	room = appendHeader(room, t.marked(p.Packet), payloadType, uint16(t.rtxSeq), p.timestamp, t.rtxSSRC)
	room = t.appendNumber(room, size)
	payload := append(binary.BigEndian.AppendUint16(room, uint16(p.seq)), p.Payload...)[len(room):]
	if room, err = t.viewer.media.Seal(room, payload, t.rtxSSRC, uint64(t.rtxSeq)); err != nil {
		return err
	}
	return t.viewer.post(room)
}

// A viewer gets repairs for at most a quarter of what was sent to it, saved up for a keyframe that was lost in part,
// and a little beside, without which audio would hardly be repaired. Who loses more than that has no use for repairs:
// they are what chokes its network.
const (
	repairShare  = 4         // one byte in so many
	repairFloor  = 8 << 10   // bytes per second
	repairSaved  = 256 << 10 // bytes, at most
	repairAtOnce = 32 << 10  // bytes, at the start
	repairKept   = 4 << 10   // bytes, for others from who asks for the same once more, and as much again each time
)

// tries counts how often packets were sent again, for all that may be asked for: were two to share a place, who asks for
// both on and on would seem to ask for each the first time. Its zero value knows of none, and takes no room.
type tries struct{ places *[historyReach]try }

// try is what is known of one packet.
type try struct {
	last  time.Duration // since the session began
	seq   uint16        // as it went out; older ones with the same are out of reach
	times uint8
}

// A packet is sent again so often at most, each time after twice the pause before: who asks on and on does not notice
// what it gets, as some clients do not that get RTX, or has a network through which nothing comes.
const (
	mostTries  = 8
	firstPause = 25 * time.Millisecond
	// forgotten is the age at which a try is of another packet with the same number: more than all pauses.
	forgotten = firstPause << mostTries
)

// again tells whether the packet with number seq may be tried once more at now, and how often it was before.
func (t *tries) again(seq int64, now time.Duration) (before int, ok bool) {
	if t.places == nil {
		t.places = new([historyReach]try)
	}
	p := &t.places[seq%historyReach]
	if p.seq != uint16(seq) || p.times > 0 && now-p.last > forgotten {
		*p = try{seq: uint16(seq)}
	}
	if p.times > 0 && now-p.last < firstPause<<(p.times-1) || p.times == mostTries {
		return int(p.times), false
	}
	p.times++
	p.last = now
	return int(p.times) - 1, true
}

// allowance is a budget in bytes that grows with what is sent, and a little with time.
type allowance struct {
	bytes int
	grown time.Time // last with time; zero before the first payment
}

func (a *allowance) earn(bytes int) { a.bytes = min(a.bytes+bytes, repairSaved) }

// pay takes bytes from the budget if at least keep are left.
func (a *allowance) pay(bytes, keep int, now time.Time) bool {
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
	if bytes > a.bytes-keep {
		return false
	}
	a.bytes -= bytes
	return true
}
