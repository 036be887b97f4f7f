package transcoder

import (
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/opus"

	"banyan/relay/frame"
	"banyan/relay/media"
)

// A source's sound may stop while its picture goes on: a muted microphone, discontinuous transmission.
// Players wait for the one of the two that is late, so formats of sound go on with silence, which is fed
// to the process as frames of the source's own codec.

// quietAfter is how much the picture must move on without a sound before silence takes its place, and
// how far silence keeps behind the picture from then on: what a sound may be late by and not be lost.
const quietAfter = 300 * time.Millisecond

// listenEvery is how often that is looked after while no sound comes.
const listenEvery = 50 * time.Millisecond

// filler decides on silence. Its clock is the picture's: by as much as that has moved on since
// the last sound, silence follows. So no two clocks have to agree, and where a publisher stalls as a
// whole, sound stops with the picture, and nothing that comes late is lost.
type filler struct {
	clock int        // of the sound, ticks per second
	heard int64      // tick where the last sound ended, or silence did that it came too late for
	end   int64      // tick where ends what was fed, silence included
	shown media.Time // the picture's newest time when the last sound came; zero where there was none
}

// sound notes a frame of the source that takes ticks [begin, end), and tells whether it is to be fed:
// not where silence has taken its place. While such frames come there is no more silence, so that they
// catch up.
func (s *filler) sound(begin, end int64, shown media.Time) bool {
	s.shown = shown
	const slack = 2 // ticks that rounding may be off by
	overlap := s.end - begin
	if s.end > s.heard && overlap > slack && media.DurationOf(overlap, s.clock) < maxGap {
		s.heard = s.end
		return false
	}
	s.heard, s.end = end, end
	return true
}

// silence tells whether so many ticks of silence are due, and takes them for fed.
func (s *filler) silence(ticks int64, shown media.Time) bool {
	due := shown.Sub(s.shown) - quietAfter - media.DurationOf(s.end+ticks-s.heard, s.clock)
	if s.shown == 0 || due > maxGap {
		s.heard, s.shown = s.end, shown // the picture has only begun, or has leapt
		return false
	}
	if due < 0 {
		return false
	}
	s.end += ticks
	return true
}

// silentFrame is a frame of silence that a decoder of p takes, and its length in ticks; nil where none
// is known.
func silentFrame(p media.Params) (unit []byte, ticks int64) {
	switch p.Codec {
	case media.Opus:
		if p.Channels <= 2 {
			return []byte{0xf8, 0xff, 0xfe}, media.OpusFrame // 20 ms of nothing: RFC 6716, section 3.1
		}
	case media.PCMU:
		return silentSamples(p, 0xff)
	case media.PCMA:
		return silentSamples(p, 0xd5)
	case media.AAC:
		config, err := aacConfig(p)
		if err != nil {
			return nil, 0
		}
		return silentAAC(config.ChannelConfig), int64(media.AACFrame) * int64(p.ClockRate) / int64(config.SampleRate)
	}
	return nil, 0
}

func silentSamples(p media.Params, zero byte) ([]byte, int64) {
	n := p.ClockRate / 50
	unit := make([]byte, n*max(1, p.Channels))
	for i := range unit {
		unit[i] = zero
	}
	return unit, int64(n)
}

// soundLength is how many ticks a frame of sound takes.
func soundLength(f *frame.Frame, silent int64) int64 {
	if len(f.Units) == 0 {
		return 0
	}
	switch f.Params.Codec {
	case media.Opus:
		return opus.PacketDuration2(f.Units[0])
	case media.PCMU, media.PCMA:
		return int64(len(f.Units[0]) / max(1, f.Params.Channels))
	}
	return silent // AAC: every frame has the same length
}

// Syntactic elements of AAC, ISO/IEC 14496-3, table 4.85.
const (
	singleChannel  = 0
	channelPair    = 1
	lowFrequencies = 3
	endOfBlock     = 7
)

// aacElements lists the elements of a frame by channel configuration, ISO/IEC 14496-3, table 1.19.
var aacElements = [...][]uint{
	1: {singleChannel},
	2: {channelPair},
	3: {singleChannel, channelPair},
	4: {singleChannel, channelPair, singleChannel},
	5: {singleChannel, channelPair, channelPair},
	6: {singleChannel, channelPair, channelPair, lowFrequencies},
	7: {singleChannel, channelPair, channelPair, channelPair, lowFrequencies},
}

// silentAAC is an access unit of AAC-LC without any spectral data, whatever the sample rate; nil for
// channels of an order that it would have to be told.
func silentAAC(channelConfig uint8) []byte {
	if int(channelConfig) >= len(aacElements) {
		return nil
	}
	const channelBits = 22 // of individual_channel_stream: gain 8, ics_info 11, three flags; all zero
	var unit bits
	var tags [4]uint // of the elements so far, by kind
	for _, element := range aacElements[channelConfig] {
		unit.put(element, 3)
		unit.put(tags[element], 4)
		tags[element]++
		unit.put(0, channelBits)
		if element == channelPair {
			unit.put(0, 1+channelBits) // common_window
		}
	}
	if unit.n > 0 {
		unit.put(endOfBlock, 3)
	}
	return unit.bytes
}

// bits is a string of bits, the first of them the highest of the first byte.
type bits struct {
	bytes []byte
	n     int
}

func (b *bits) put(value uint, width int) {
	for i := width - 1; i >= 0; i-- {
		if b.n%8 == 0 {
			b.bytes = append(b.bytes, 0)
		}
		b.bytes[b.n/8] |= byte(value>>i&1) << (7 - b.n%8)
		b.n++
	}
}
