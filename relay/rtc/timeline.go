package rtc

import (
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/opus"

	"banyan/relay/media"
)

// Timeline maps packets of logs to the sequence numbers and timestamps of one outgoing RTP stream. It is a value
// that knows no socket and no clock, owned by whoever sends the stream.
//
// Timestamps are media time moved by an offset of the viewer's own, for as long as the stream lasts: formats of one
// stream share media time, and so do a publisher and the one that comes after it, so that a change of format, an
// epoch or a minute without a publisher shows as the time that really passed. Two things bend that, so that what
// goes out never runs backwards and a viewer never builds up delay:
//
//   - A burst (Join): what lies between the keyframe at which a viewer starts and the live edge is sent at once, and
//     its timestamps are pressed together so that they end at the live edge. The viewer runs through it quickly and
//     is live, where true timestamps would have it play seconds behind for good.
//   - What has been shown already (the frames from a keyframe to where the viewer is, after a change of format) gets
//     timestamps that move on by a fraction, until media time has caught up.
//
// The timestamps of sound count its samples. Media time follows the publisher's clock, and jumps by less than a packet
// to do so; a player would take that for a loss, or throw away a packet that begins before the last one ends. Such a
// jump goes into the offset, from where sender reports tell it, as RTP has it (RFC 3550 section 6.4.1).
//
// Sequence numbers are without gaps except where a gap is news to the receiver: packets that are missing from a
// frame. It must know then not to decode what is left of it. Skipping to a keyframe is no loss.
type Timeline struct {
	rate  int   // ticks per second
	shift int64 // outgoing timestamp minus ticks

	begun    bool
	seq      int64 // of the last packet, extended
	out      int64 // timestamp of the last packet, extended
	ticks    int64 // of the last packet
	length   int64 // of the last packet, if it is sound; zero where not known
	complete bool  // the last packet ended its frame

	burst burst
}

// burst presses the time before live together by the ratio to/span.
type burst struct {
	live, span, to int64
}

const (
	burstRatio  = 10                     // a burst lasts a tenth of what it stands for
	burstLength = 200 * time.Millisecond // and no longer than this
	catchUp     = 16                     // frames shown before move time on by a sixteenth
	largestGap  = 16                     // sequence numbers; more tells a receiver nothing, and makes it ask for what is not there
)

// NewTimeline is a timeline for a track of the given clock rate. Its first packet gets sequence number seq, which
// should be below 2^15, so that SRTP's rollover counter starts without doubt (RFC 3711 section 3.3.1); timestamp
// stands for zero ticks.
func NewTimeline(rate int, seq uint16, timestamp uint32) Timeline {
	return Timeline{rate: rate, seq: int64(seq) - 1, shift: int64(timestamp), complete: true}
}

// Join says that the packets from ticks from on are sent at once up to ticks live.
func (t *Timeline) Join(from, live int64) {
	t.burst = burst{}
	if span := live - from; span > 0 {
		most := int64(burstLength) * int64(t.rate) / int64(time.Second)
		t.burst = burst{live: live, span: span, to: min(span/burstRatio, most)}
	}
}

// Bursting tells whether a packet with these ticks belongs to a burst: it was kept here until a viewer came, so that
// the time it spent here says nothing about delay.
func (t *Timeline) Bursting(ticks int64) bool { return ticks < t.burst.live }

// Next is the extended sequence number and timestamp of packet p, before which lost offsets of the log were passed
// over. Their low 16 and 32 bits go on the wire.
func (t *Timeline) Next(p *media.Packet, lost int64) (seq, timestamp int64) {
	t.seq += 1 + t.gap(p, lost)
	if lost == 0 {
		t.countSamples(p)
	}
	switch at := t.at(p.Ticks); {
	case !t.begun:
		t.out = at
	case p.Ticks == t.ticks && !t.complete: // the same frame goes on
	case at > t.out:
		t.out = at
	default:
		t.out += t.nudge(p.Ticks - t.ticks)
	}
	t.begun, t.ticks, t.length, t.complete = true, p.Ticks, soundLength(p), p.Has(media.FrameEnd)
	return t.seq, t.out
}

// countSamples moves the offset so that p, which follows on the last packet, gets the timestamp at which that one ends.
// Where a whole packet or more is missing, the sender was silent, and time has passed.
func (t *Timeline) countSamples(p *media.Packet) {
	most := min(t.length, int64(t.rate)/50) // 20 ms: a packet that lies about its length shall not pull time along
	if off := p.Ticks - t.ticks - t.length; max(off, -off) < most {
		t.shift -= off
	}
}

// soundLength is the length in ticks of a packet of sound, as it says itself; zero where it does not.
func soundLength(p *media.Packet) int64 {
	switch p.Params.Codec {
	case media.Opus:
		return opus.PacketDuration2(p.Payload)
	case media.PCMU, media.PCMA:
		return int64(len(p.Payload) / max(1, p.Params.Channels))
	}
	return 0
}

// gap is how many sequence numbers to leave out.
func (t *Timeline) gap(p *media.Packet, lost int64) int64 {
	switch {
	case !t.begun:
		return 0
	case p.Has(media.Keyframe) && p.Params.Codec.Kind() == media.Video:
		// Whatever is missing does not matter any more, except that the last frame was cut short.
		if t.complete {
			return 0
		}
		return 1
	case lost == 0:
		return 0
	}
	return min(lost, largestGap)
}

// at is the timestamp for ticks, before the rule that timestamps never run back.
func (t *Timeline) at(ticks int64) int64 {
	if t.Bursting(ticks) {
		ticks = t.burst.live - (t.burst.live-ticks)*t.burst.to/t.burst.span
	}
	return ticks + t.shift
}

// nudge is how far time moves on for a frame that has been shown before.
func (t *Timeline) nudge(step int64) int64 {
	if step <= 0 {
		step = int64(t.rate) / 30 // as if one frame later
	}
	return max(1, min(step, int64(t.rate))/catchUp)
}

// exact tells whether the last packet had the timestamp of its media time, which was not bent.
func (t *Timeline) exact() bool { return t.begun && t.out == t.ticks+t.shift }

// At is the timestamp that stands for instant now, for sender reports (RFC 3550 section 6.4.1).
func (t *Timeline) At(now media.Time) uint32 { return uint32(media.TicksOf(now, t.rate) + t.shift) }
