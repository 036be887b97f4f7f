package frame

import (
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/opus"

	"banyan/relay/media"
)

// Silence is a frame of silence that a decoder of p takes, and its length in ticks; nil where none is known.
func Silence(p media.Params) (unit []byte, ticks int64) {
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
		var config mpeg4audio.AudioSpecificConfig
		if len(p.Sets) == 0 || config.Unmarshal(p.Sets[0]) != nil || config.SampleRate <= 0 {
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

// SoundLength is how many ticks a frame of sound takes; aac is the length of all frames of a track in AAC.
func SoundLength(f *Frame, aac int64) int64 {
	if len(f.Units) == 0 {
		return 0
	}
	switch f.Params.Codec {
	case media.Opus:
		return opus.PacketDuration2(f.Units[0])
	case media.PCMU, media.PCMA:
		return int64(len(f.Units[0]) / max(1, f.Params.Channels))
	}
	return aac
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
