package ingest

import (
	"errors"
	"time"

	"github.com/pion/rtp"

	"banyan/relay/frame"
	"banyan/relay/log"
	"banyan/relay/media"
)

// How long a Forwarder waits for a missing packet, by default. Video that is repaired by
// retransmission is worth a round trip or two; audio is better heard with a gap than late.
const (
	VideoWait    = 100 * time.Millisecond
	VideoMaxWait = 250 * time.Millisecond
	AudioWait    = 60 * time.Millisecond
)

// Drop is why a Forwarder left a packet out.
type Drop uint8

// The reasons.
const (
	DropPadding     Drop = iota // no payload: sent to probe the network
	DropPayloadType             // not what was negotiated
	DropSets                    // nothing but parameter sets, which are inserted before keyframes anyway
	DropKeyframe                // nobody could decode it: no keyframe with its parameters came yet
	DropMalformed               // the payload contradicts its own format
	DropLate                    // nobody could place it: too old, or from before the beginning
	dropReasons
)

func (d Drop) String() string {
	return [...]string{"padding", "payload-type", "sets", "await-keyframe", "malformed", "late"}[d]
}

// Drops lists all reasons.
func Drops() []Drop {
	return []Drop{DropPadding, DropPayloadType, DropSets, DropKeyframe, DropMalformed, DropLate}
}

// ForwarderStats are the accounts of a Forwarder since its birth.
type ForwarderStats struct {
	Reorder   ReorderStats
	Forwarded uint64 // packets of the publisher that are in the log
	Filled    uint64 // of these, late ones that filled a hole
	Inserted  uint64 // packets of parameter sets put in front of keyframes
	Keyframes uint64
	Epochs    uint64
	Forgotten uint64 // parameter sets that were not kept, see frame.Inspector
	Dropped   [dropReasons]uint64
}

// ForwarderConfig says what a Forwarder forwards, and where.
type ForwarderConfig struct {
	// Params of the track. Codec and ClockRate must be set, for audio Channels and SampleRate; Sets
	// where the session description has them. What is missing is learnt from the packets.
	Params media.Params
	// PayloadType is what was negotiated; packets of any other type are dropped.
	PayloadType uint8
	// Clock gives media time.
	Clock *Clock
	// Writer is where packets go.
	Writer *log.Writer

	// Wait and MaxWait are how long to wait for a missing packet, see Reorder. If both are zero, the
	// defaults of the track's kind.
	Wait, MaxWait time.Duration

	// Announce, if set, is called after each begin of an epoch.
	Announce func()
	// RequestKeyframe, if set, is called when the publisher should send a keyframe: at the start, unless
	// it begins with one, and after a loss that was not mended. It is called often; merging is up to it.
	RequestKeyframe func()
	// Waited, if set, gets the time that a packet was held back behind a hole.
	Waited func(time.Duration)
}

// Forwarder takes the RTP packets of one track of a publisher, in whatever order they arrive, into the
// log of that track, payloads as they are:
//
//	Push -> Reorder -> leave out padding and strangers -> Clock (media time) -> frame.Inspector
//	(keyframes, parameter sets) -> numbering (offsets) -> log.Writer
//
// A lost packet leaves a hole in the log, a late one fills it. Packets left out on purpose close up.
// Video begins with the first keyframe that can be decoded. Each keyframe of H.264 and H.265 has all
// parameter sets in front, also if the publisher sent those only once. New parameters and
// timestamps that leap begin a new epoch; so does a publisher that turns out to send frames out of
// display order.
//
// Forwarder is owned by one goroutine, and allocates nothing per packet beyond what the log does.
type Forwarder struct {
	config    ForwarderConfig
	reorder   Reorder
	inspector *frame.Inspector
	numbering numbering
	deliver   func(Packet) // forward, bound once
	stats     ForwarderStats

	now       time.Time // of the call that is running
	err       error     // of the log, which has been taken over
	expected  int64     // sequence number after the last one in order
	timestamp uint32    // of the last one in order that is in the log
	begun     bool      // the log has the present parameters, and numbering is valid
	reordered bool      // frames were seen that are shown before an earlier one
	newest    int64     // highest ticks of the epoch
}

// NewForwarder makes a forwarder.
func NewForwarder(config ForwarderConfig) *Forwarder {
	if config.Wait == 0 && config.MaxWait == 0 {
		config.Wait, config.MaxWait = VideoWait, VideoMaxWait
		if config.Params.Codec.Kind() == media.Audio {
			config.Wait, config.MaxWait = AudioWait, AudioWait
		}
	}
	f := &Forwarder{
		config:    config,
		reorder:   Reorder{Wait: config.Wait, MaxWait: config.MaxWait},
		inspector: frame.NewInspector(config.Params),
	}
	f.deliver = f.forward
	return f
}

// Stats reads the accounts.
func (f *Forwarder) Stats() ForwarderStats {
	f.stats.Reorder = f.reorder.Stats()
	f.stats.Forgotten = uint64(f.inspector.ForgottenSets())
	return f.stats
}

// Push takes a packet that arrived. The forwarder keeps nothing of it. The error is log.ErrReplaced,
// when another publisher has taken over; whatever is wrong with a packet is only counted.
func (f *Forwarder) Push(p *rtp.Packet, arrived time.Time) error {
	f.now = arrived
	f.reorder.Push(p, arrived, f.deliver)
	return f.err
}

// Expire forwards the packets that have waited long enough for those before them. Call it at Deadline.
func (f *Forwarder) Expire(now time.Time) error {
	f.now = now
	f.reorder.Expire(now, f.deliver)
	return f.err
}

// Deadline is when Expire next has something to do; ok is false while nothing waits.
func (f *Forwarder) Deadline() (at time.Time, ok bool) { return f.reorder.Deadline() }

// Flush forwards all that waits, at the end of a session.
func (f *Forwarder) Flush() error {
	f.reorder.Flush(f.deliver)
	return f.err
}

// forward is the life of a packet in its place.
func (f *Forwarder) forward(p Packet) {
	switch {
	case f.err != nil:
		return
	case p.Late:
		f.fill(p)
		return
	case p.First:
		f.begun = false // nothing before leads up to what comes now
	case p.Sequence != f.expected:
		f.requestKeyframe() // what refers to the lost packet is damaged until the next keyframe
	}
	f.expected = p.Sequence + 1
	if waited := f.now.Sub(p.Arrived); waited > 0 && f.config.Waited != nil {
		f.config.Waited(waited)
	}
	if why, ok := f.foreign(p); ok {
		f.leaveOut(p, why)
		return
	}
	info, err := f.inspector.Inspect(p.Payload, p.Timestamp)
	if err != nil {
		f.stats.Dropped[DropMalformed]++ // its place stays a hole: the frame is damaged
		f.requestKeyframe()
		return
	}
	if info.Drop {
		f.leaveOut(p, DropSets)
		return
	}
	ticks, leapt := f.config.Clock.Ticks(p.Timestamp, p.Arrived)
	if f.begins(info, ticks, leapt) && !f.begin(p) {
		return
	}
	if !f.begun {
		f.leaveOut(p, DropKeyframe)
		f.requestKeyframe()
		return
	}
	f.newest, f.timestamp = max(f.newest, ticks), p.Timestamp
	f.write(p, ticks, info)
}

// foreign tells whether a packet has no place in the log at all.
func (f *Forwarder) foreign(p Packet) (why Drop, ok bool) {
	switch {
	case len(p.Payload) == 0:
		return DropPadding, true
	case p.PayloadType != f.config.PayloadType:
		return DropPayloadType, true
	}
	return 0, false
}

func (f *Forwarder) leaveOut(p Packet, why Drop) {
	f.stats.Dropped[why]++
	if f.begun {
		f.numbering.leaveOut(p.Sequence)
	}
}

// begins tells whether an epoch begins with a packet: with new parameters, with the first keyframe
// after a restart, with a leap of the timestamps, and with the first frame that is shown before an
// earlier one. The latter two need no keyframe, as a decoder can go on.
func (f *Forwarder) begins(info frame.Info, ticks int64, leapt bool) bool {
	switch {
	case info.Changed:
		f.reordered = f.inspector.Params().Reordered // what the sets say
		return true
	case !f.begun:
		return info.Keyframe
	case leapt:
		f.requestKeyframe()
		return true
	case ticks < f.newest && !f.reordered && f.config.Params.Codec.Kind() == media.Video:
		f.reordered = true
		return true
	}
	return false
}

// begin starts an epoch with the packet p; false where the log has been taken over.
func (f *Forwarder) begin(p Packet) bool {
	params := f.inspector.Params()
	params.Reordered = f.reordered
	if f.err = f.config.Writer.Begin(params); f.err != nil {
		return false
	}
	if !f.begun {
		f.numbering.begin(p.Sequence, f.config.Writer.Next())
	}
	f.begun, f.newest = true, 0
	f.stats.Epochs++
	if f.config.Announce != nil {
		f.config.Announce()
	}
	return true
}

// write puts a packet into the log, with the parameter sets that belong in front of it.
func (f *Forwarder) write(p Packet, ticks int64, info frame.Info) {
	out := media.Packet{Ticks: ticks, Arrived: media.TimeOf(p.Arrived)}
	if info.Keyframe {
		out.Flags = media.Keyframe
		f.stats.Keyframes++
	}
	for _, payload := range info.Insert {
		out.Offset, out.Payload = f.numbering.insert(p.Sequence), payload
		if !f.put(out) {
			return
		}
		f.stats.Inserted++
		out.Flags = 0
	}
	out.Offset, _ = f.numbering.offset(p.Sequence)
	out.Payload = p.Payload
	if f.endsFrame(p) {
		out.Flags |= media.FrameEnd
	}
	if f.put(out) {
		f.stats.Forwarded++
	}
}

// fill puts a late packet into its hole. It is not inspected, as what came after it was already: a
// keyframe whose beginning was late is of no use to those who wait for one, but whoever
// retransmits from the log can.
func (f *Forwarder) fill(p Packet) {
	if why, ok := f.foreign(p); ok {
		f.stats.Dropped[why]++
		return
	}
	offset, ok := f.numbering.offset(p.Sequence)
	if !ok || !f.begun || !f.recent(p.Timestamp) {
		f.stats.Dropped[DropLate]++
		return
	}
	ticks, _ := f.config.Clock.Ticks(p.Timestamp, p.Arrived)
	out := media.Packet{Offset: offset, Ticks: ticks, Arrived: media.TimeOf(p.Arrived), Payload: p.Payload}
	if f.endsFrame(p) {
		out.Flags = media.FrameEnd
	}
	if f.config.Params.Codec.Kind() == media.Audio {
		out.Flags |= media.Keyframe
	}
	if f.put(out) {
		f.stats.Forwarded++
		f.stats.Filled++
	}
}

// recent tells whether a timestamp is that close to the newest that the Clock takes it for what it is,
// and not for a leap.
func (f *Forwarder) recent(timestamp uint32) bool {
	back := int64(int32(f.timestamp - timestamp))
	return media.DurationOf(back, f.config.Params.ClockRate).Abs() < leapBack
}

// put writes to the log; false where the packet did not get in.
func (f *Forwarder) put(out media.Packet) bool {
	switch err := f.config.Writer.Write(out); {
	case err == nil:
		return true
	case errors.Is(err, log.ErrReplaced):
		f.err = err
	default:
		f.stats.Dropped[DropLate]++
	}
	return false
}

// endsFrame tells whether a packet is the last of its frame; audio frames have one packet each,
// whatever its marker says (RFC 3551, section 4.1, marks the start of a talkspurt with it).
func (f *Forwarder) endsFrame(p Packet) bool {
	return p.Marker || f.config.Params.Codec.Kind() == media.Audio
}

func (f *Forwarder) requestKeyframe() {
	if f.config.RequestKeyframe != nil && f.config.Params.Codec.Kind() == media.Video {
		f.config.RequestKeyframe()
	}
}
