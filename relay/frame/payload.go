package frame

import (
	"errors"
	"fmt"

	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpav1"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtph264"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtph265"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpmpeg4audio"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpvp8"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpvp9"
	"github.com/pion/rtp"

	"banyan/relay/media"
)

// AAC in RTP is always AAC-hbr (RFC 3640, section 3.3.6) inside Banyan.
const (
	aacSizeLength  = 13
	aacIndexLength = 3
)

// depacketizer joins payloads to the units of a frame; nil units mean that more packets are needed.
type depacketizer func(*rtp.Packet) (units [][]byte, err error)

func newDepacketizer(codec media.Codec) (depacketizer, error) {
	switch codec {
	case media.H264:
		d := &rtph264.Decoder{PacketizationMode: 1}
		return patient(d.Decode, rtph264.ErrMorePacketsNeeded), d.Init()
	case media.H265:
		d := &rtph265.Decoder{}
		return patient(d.Decode, rtph265.ErrMorePacketsNeeded), d.Init()
	case media.AV1:
		d := &rtpav1.Decoder{}
		return patient(d.Decode, rtpav1.ErrMorePacketsNeeded), d.Init()
	case media.VP8:
		d := &rtpvp8.Decoder{}
		return patient(single(d.Decode), rtpvp8.ErrMorePacketsNeeded), d.Init()
	case media.VP9:
		d := &rtpvp9.Decoder{}
		return patient(single(d.Decode), rtpvp9.ErrMorePacketsNeeded), d.Init()
	case media.AAC:
		d := &rtpmpeg4audio.Decoder{SizeLength: aacSizeLength, IndexLength: aacIndexLength, IndexDeltaLength: aacIndexLength}
		return patient(d.Decode, rtpmpeg4audio.ErrMorePacketsNeeded), d.Init()
	case media.Opus, media.PCMU, media.PCMA:
		return func(p *rtp.Packet) ([][]byte, error) { return [][]byte{p.Payload}, nil }, nil
	}
	return nil, fmt.Errorf("codec %q cannot be depacketised", codec)
}

// patient makes "more packets are needed" no error.
func patient(decode depacketizer, more error) depacketizer {
	return func(p *rtp.Packet) ([][]byte, error) {
		units, err := decode(p)
		if errors.Is(err, more) {
			return nil, nil
		}
		return units, err
	}
}

func single(decode func(*rtp.Packet) ([]byte, error)) depacketizer {
	return func(p *rtp.Packet) ([][]byte, error) {
		frame, err := decode(p)
		if err != nil {
			return nil, err
		}
		return [][]byte{frame}, nil
	}
}

// packetizer cuts the units of a frame into payloads of at most MaxPayload bytes.
type packetizer func(units [][]byte) ([]*rtp.Packet, error)

func newPacketizer(codec media.Codec) (packetizer, error) {
	switch codec {
	case media.H264:
		e := &rtph264.Encoder{PayloadMaxSize: MaxPayload, PacketizationMode: 1}
		return e.Encode, e.Init()
	case media.H265:
		e := &rtph265.Encoder{PayloadMaxSize: MaxPayload}
		return e.Encode, e.Init()
	case media.AV1:
		e := &rtpav1.Encoder{PayloadMaxSize: MaxPayload}
		return e.Encode, e.Init()
	case media.VP8:
		e := &rtpvp8.Encoder{PayloadMaxSize: MaxPayload}
		return whole(e.Encode), e.Init()
	case media.VP9:
		e := &rtpvp9.Encoder{PayloadMaxSize: MaxPayload}
		return whole(e.Encode), e.Init()
	case media.AAC:
		e := &rtpmpeg4audio.Encoder{PayloadMaxSize: MaxPayload,
			SizeLength: aacSizeLength, IndexLength: aacIndexLength, IndexDeltaLength: aacIndexLength}
		return e.Encode, e.Init()
	case media.Opus, media.PCMU, media.PCMA:
		return packetizeAudio, nil
	}
	return nil, fmt.Errorf("codec %q cannot be packetised", codec)
}

func whole(encode func([]byte) ([]*rtp.Packet, error)) packetizer {
	return func(units [][]byte) ([]*rtp.Packet, error) { return encode(units[0]) }
}

func packetizeAudio(units [][]byte) ([]*rtp.Packet, error) {
	if len(units[0]) > MaxPayload {
		return nil, fmt.Errorf("an audio frame of %d bytes does not fit into one packet of %d: send shorter frames",
			len(units[0]), MaxPayload)
	}
	return []*rtp.Packet{{Header: rtp.Header{Marker: true}, Payload: units[0]}}, nil
}
