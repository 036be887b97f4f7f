package transcoder

import (
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"

	"banyan/relay/media"
)

// interlaced tells whether a source may hold fields: whether its sequence parameter set allows for them.
func interlaced(p media.Params) bool {
	if p.Codec != media.H264 {
		return false
	}
	for _, set := range p.Sets {
		if len(set) == 0 || h264.NALUType(set[0]&0x1f) != h264.NALUTypeSPS {
			continue
		}
		var sps h264.SPS
		if sps.Unmarshal(set) == nil && !sps.FrameMbsOnlyFlag {
			return true
		}
	}
	return false
}
