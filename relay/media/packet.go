package media

// Flags mark what a packet begins or ends.
type Flags uint8

// The flags of a packet.
const (
	// Keyframe marks the first packet of a frame that can be decoded without any packet before it:
	// parameter sets are in it or follow before the first slice. Every audio packet has it.
	Keyframe Flags = 1 << iota
	// FrameEnd marks the last packet of a frame (the RTP marker of video). Every audio packet has it.
	FrameEnd
	// Discontinuity marks the first packet of an epoch: what came before it does not lead up to it.
	Discontinuity
)

// Packet is one RTP payload of a track. It does not change once published, nor does its payload, so
// any number of readers may hold it for as long as they like.
type Packet struct {
	Offset  int64   // position in the track's log, the same on every node
	Ticks   int64   // presentation time in ticks of the track's clock since the Unix epoch
	Params  *Params // the epoch it belongs to; set by the log, never nil in a published packet
	Arrived Time    // when this node got the packet, by its own clock; zero if not known
	Flags   Flags
	Payload []byte // RTP payload without header, extensions and padding
}

// Has tells whether all of the given flags are set.
func (p *Packet) Has(f Flags) bool { return p.Flags&f == f }

// Time is the presentation time in nanoseconds.
func (p *Packet) Time() Time { return TimeAt(p.Ticks, p.Params.ClockRate) }

// RTPTime is the RTP timestamp of the packet: the low 32 bits of Ticks.
func (p *Packet) RTPTime() uint32 { return uint32(p.Ticks) }
