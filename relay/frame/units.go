package frame

import (
	"slices"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/av1"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h265"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/vp9"

	"banyan/relay/media"
)

// unitKind is what a NAL unit or OBU means to us.
type unitKind uint8

const (
	unitOther     unitKind = iota
	unitSet                // a parameter set, or the sequence header
	unitDelimiter          // access unit or temporal delimiter: carried by RTP itself
	unitMessage            // supplemental enhancement information in front of the picture: captions, times
	unitSlice              // coded picture data
	unitKeySlice           // coded picture data of a random access picture
)

// kindOf classifies a NAL unit (H.264, H.265) or OBU (AV1) by its header.
func kindOf(codec media.Codec, unit []byte) unitKind {
	if len(unit) == 0 {
		return unitOther
	}
	switch codec {
	case media.H264:
		return h264Kind(h264.NALUType(unit[0] & 0x1f))
	case media.H265:
		return h265Kind(h265.NALUType(unit[0] >> 1 & 0x3f))
	case media.AV1:
		return av1Kind(av1.OBUType(unit[0] >> 3 & 0x0f))
	}
	return unitOther
}

func h264Kind(t h264.NALUType) unitKind {
	switch {
	case t == h264.NALUTypeSPS || t == h264.NALUTypePPS:
		return unitSet
	case t == h264.NALUTypeAccessUnitDelimiter:
		return unitDelimiter
	case t == h264.NALUTypeSEI:
		return unitMessage
	case t == h264.NALUTypeIDR:
		return unitKeySlice
	case t >= h264.NALUTypeNonIDR && t < h264.NALUTypeIDR:
		return unitSlice
	}
	return unitOther
}

func h265Kind(t h265.NALUType) unitKind {
	const firstIRAP, lastIRAP, lastVCL = 16, 23, 31 // ITU-T H.265, table 7-1
	switch {
	case t == h265.NALUType_VPS_NUT || t == h265.NALUType_SPS_NUT || t == h265.NALUType_PPS_NUT:
		return unitSet
	case t == h265.NALUType_AUD_NUT:
		return unitDelimiter
	case t == h265.NALUType_PREFIX_SEI_NUT:
		return unitMessage
	case t >= firstIRAP && t <= lastIRAP:
		return unitKeySlice
	case t <= lastVCL:
		return unitSlice
	}
	return unitOther
}

func av1Kind(t av1.OBUType) unitKind {
	const temporalDelimiter, frameHeader, tileGroup, wholeFrame = 2, 3, 4, 6 // AV1 specification, 5.3
	switch t {
	case av1.OBUTypeSequenceHeader:
		return unitSet
	case temporalDelimiter:
		return unitDelimiter
	case frameHeader, tileGroup, wholeFrame:
		return unitSlice
	}
	return unitOther
}

func (k unitKind) slice() bool { return k == unitSlice || k == unitKeySlice }

// startsPicture tells whether a slice is the first of its picture (first_mb_in_slice is zero, ITU-T H.264, section
// 7.3.3, whose code is a single set bit; first_slice_segment_in_pic_flag, ITU-T H.265, section 7.3.6.1). Of AV1, whose
// parts of a picture are tile groups, it is the frame header.
func startsPicture(codec media.Codec, slice []byte) bool {
	switch codec {
	case media.H264:
		return len(slice) > 1 && slice[1]&0x80 != 0
	case media.H265:
		return len(slice) > 2 && slice[2]&0x80 != 0
	case media.AV1:
		const tileGroup = 4
		return slice[0]>>3&0x0f != tileGroup
	}
	return true
}

// beheaded tells whether the units of a frame lack the beginning of its picture. Where it is not known that something
// is missing this proves nothing: the slices of some encoders come in any order.
func beheaded(codec media.Codec, units [][]byte) bool {
	for _, unit := range units {
		if kindOf(codec, unit).slice() {
			return !startsPicture(codec, unit)
		}
	}
	return false
}

// needsSets tells whether the codec has parameter sets at all.
func needsSets(codec media.Codec) bool {
	return codec == media.H264 || codec == media.H265 || codec == media.AV1
}

// describe fills in what the parameter sets say of the picture, and of frames out of the order of display
// (max_num_reorder_frames, ITU-T H.264, section E.2.1; sps_max_num_reorder_pics, ITU-T H.265, section 7.4.3.2.1):
// encoders that send B-frames say so, which is known before the first of them comes. Sets that cannot be
// parsed leave all that unknown: a decoder may still know better than we do.
func describe(p *media.Params) {
	sequence := SetsOf(p).SPS
	if len(sequence) == 0 {
		return
	}
	switch inUse := sequence[0]; p.Codec {
	case media.H264:
		var sps h264.SPS
		if sps.Unmarshal(inUse) == nil {
			p.Width, p.Height = sps.Width(), sps.Height()
			p.FPS = plausibleRate(sps.FPS(), p.FPS)
			p.Reordered = sps.VUI != nil && sps.VUI.BitstreamRestriction != nil &&
				sps.VUI.BitstreamRestriction.MaxNumReorderFrames > 0
		}
	case media.H265:
		var sps h265.SPS
		if sps.Unmarshal(inUse) == nil {
			p.Width, p.Height = sps.Width(), sps.Height()
			p.FPS = plausibleRate(sps.FPS(), p.FPS)
			p.Reordered = slices.Max(sps.MaxNumReorderPics) > 0 // one for each temporal layer, at least one
		}
	case media.AV1:
		var header av1.SequenceHeader
		if header.Unmarshal(inUse) == nil {
			p.Width, p.Height = header.Width(), header.Height()
		}
	}
}

// plausibleRate keeps a nonsensical rate of a foreign encoder out.
func plausibleRate(fps, otherwise float64) float64 {
	if fps >= 1 && fps <= 300 {
		return fps
	}
	return otherwise
}

// pictureSize reads the size from a VP8 or VP9 keyframe, given at least the first bytes of it;
// ok is false for other frames.
func pictureSize(codec media.Codec, frame []byte) (width, height int, ok bool) {
	switch codec {
	case media.VP8:
		return vp8Size(frame)
	case media.VP9:
		var header vp9.Header
		if header.Unmarshal(frame) != nil || header.NonKeyFrame || header.FrameSize == nil {
			return 0, 0, false
		}
		return header.Width(), header.Height(), true
	}
	return 0, 0, false
}

// vp8Size reads the uncompressed data chunk of a keyframe (RFC 6386, section 9.1): a 3-byte frame tag
// whose lowest bit is clear, the start code 9d 01 2a, then 14 bits of width and of height.
func vp8Size(frame []byte) (width, height int, ok bool) {
	if len(frame) < 10 || frame[0]&1 != 0 || frame[3] != 0x9d || frame[4] != 0x01 || frame[5] != 0x2a {
		return 0, 0, false
	}
	return int(frame[6]) | int(frame[7]&0x3f)<<8, int(frame[8]) | int(frame[9]&0x3f)<<8, true
}
