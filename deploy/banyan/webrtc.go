package main

import (
	"fmt"

	"banyan/relay"
	"banyan/relay/media"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/av1"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h265"
)

// withoutWebRTC says why no browser can be expected to play a track by WebRTC; nothing where some browser does.
func withoutWebRTC(t relay.Track) string {
	switch p := t.Params; {
	case p.Codec == media.AAC:
		return "WebRTC has no AAC: viewers get the sound as Opus"
	case p.Reordered:
		return "it has B-frames, which WebRTC cannot carry: set them to 0 in the encoder"
	default:
		return undecoded(p)
	}
}

// picture is what a decoder must be able to do beside its codec.
type picture struct {
	chroma uint32 // chroma_format_idc (ITU-T H.264 table 6-1): 0 to 3 for 4:0:0, 4:2:0, 4:2:2 and 4:4:4
	depth  uint32 // bits of a sample
}

// undecoded says what in a track's pictures is beyond what browsers decode of WebRTC: 4:2:0 with 8 bits is all they
// promise for H.264 and H.265, and profile 0 for AV1. Nothing where parameter sets do not tell.
func undecoded(p *media.Params) string {
	for _, set := range p.Sets {
		shown, ok := pictureOf(p.Codec, set)
		if !ok || shown.chroma <= 1 && shown.depth == 8 {
			continue
		}
		colour := [...]string{"4:0:0", "4:2:0", "4:2:2", "4:4:4"}[min(shown.chroma, 3)]
		return fmt.Sprintf("its pictures are %s with %d bits, which browsers do not decode by WebRTC: "+
			"set the encoder to 4:2:0 with 8 bits (yuv420p)", colour, shown.depth)
	}
	return ""
}

// pictureOf reads a parameter set; ok is false for one of another kind, or one that does not make sense.
func pictureOf(codec media.Codec, set []byte) (p picture, ok bool) {
	switch codec {
	case media.H264:
		var sps h264.SPS
		if sps.Unmarshal(set) != nil {
			return picture{}, false
		}
		p = picture{chroma: sps.ChromaFormatIdc, depth: 8 + max(sps.BitDepthLumaMinus8, sps.BitDepthChromaMinus8)}
		if !hasChroma(sps.ProfileIdc) {
			p.chroma = 1
		}
	case media.H265:
		var sps h265.SPS
		const spsType = 33
		if len(set) < 2 || set[0]>>1&0x3f != spsType || sps.Unmarshal(set) != nil {
			return picture{}, false
		}
		p = picture{chroma: sps.ChromaFormatIdc, depth: 8 + max(sps.BitDepthLumaMinus8, sps.BitDepthChromaMinus8)}
	case media.AV1:
		var header av1.SequenceHeader
		if header.Unmarshal(set) != nil || header.SeqProfile == 0 {
			return picture{}, false // profile 0 is what browsers take, with 8 bits or 10
		}
		p = picture{chroma: 2, depth: uint32(header.ColorConfig.BitDepth)}
		if !header.ColorConfig.SubsamplingX {
			p.chroma = 3
		}
	default:
		return picture{}, false
	}
	return p, true
}

// hasChroma tells whether parameter sets of an H.264 profile name the chroma format (ITU-T H.264 section 7.3.2.1.1);
// the others are 4:2:0 with 8 bits.
func hasChroma(profile uint8) bool {
	switch profile {
	case 44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244:
		return true
	}
	return false
}
