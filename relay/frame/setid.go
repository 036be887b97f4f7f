package frame

import (
	"cmp"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h265"

	"banyan/relay/media"
)

// setKind is the level of a parameter set; each refers to one of the level above.
type setKind uint8

const (
	videoSet    setKind = iota // VPS of H.265
	sequenceSet                // SPS, or the sequence header of AV1
	pictureSet                 // PPS
)

// setID names a parameter set within a track. A newer one of the same name takes its place.
type setID struct {
	kind setKind
	id   uint8
}

func (a setID) compare(b setID) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.id, b.id))
}

// The highest ids that there are: ITU-T H.264, sections 7.4.2.1.1 and 7.4.2.2; ITU-T H.265, sections 7.4.3.2.1 and
// 7.4.3.3.1. Those of the VPS have four bits.
const (
	maxSPS264, maxPPS264 = 31, 255
	maxSPS265, maxPPS265 = 15, 63
)

// identify reads the name of a parameter set, and the id of the one above that it refers to. ok is false for a set that
// is broken, or of a layer that nobody here decodes.
func identify(codec media.Codec, unit []byte) (name setID, above uint8, ok bool) {
	name.kind, ok = kindOfSet(codec, unit), true
	switch codec {
	case media.H264:
		name.id, above, ok = identify264(name.kind, unit)
	case media.H265:
		name.id, above, ok = identify265(name.kind, unit)
	}
	return name, above, ok
}

// kindOfSet tells the level of a parameter set.
func kindOfSet(codec media.Codec, unit []byte) setKind {
	switch {
	case codec == media.H264 && h264.NALUType(unit[0]&0x1f) == h264.NALUTypePPS:
		return pictureSet
	case codec == media.H265 && h265.NALUType(unit[0]>>1&0x3f) == h265.NALUType_PPS_NUT:
		return pictureSet
	case codec == media.H265 && h265.NALUType(unit[0]>>1&0x3f) == h265.NALUType_VPS_NUT:
		return videoSet
	}
	return sequenceSet
}

// identify264 reads ITU-T H.264, sections 7.3.2.1.1 and 7.3.2.2.
func identify264(kind setKind, unit []byte) (id, above uint8, ok bool) {
	r := bitReader{rest: unit[1:]}
	if kind == sequenceSet {
		const profileConstraintsLevel = 24
		r.bits(profileConstraintsLevel)
		id = r.id(maxSPS264)
	} else {
		id = r.id(maxPPS264)
		above = r.id(maxSPS264)
	}
	return id, above, !r.broken
}

// identify265 reads ITU-T H.265, sections 7.3.2.1 to 7.3.2.3.
func identify265(kind setKind, unit []byte) (id, above uint8, ok bool) {
	if len(unit) < 2 || layer(unit) != 0 {
		return 0, 0, false
	}
	r := bitReader{rest: unit[2:]}
	switch kind {
	case videoSet:
		id = uint8(r.bits(4))
	case sequenceSet:
		above = uint8(r.bits(4))
		subLayers := int(r.bits(3))
		r.bits(1) // temporal id nesting
		r.profileTierLevel(subLayers)
		id = r.id(maxSPS265)
	default:
		id = r.id(maxPPS265)
		above = r.id(maxSPS265)
	}
	return id, above, !r.broken
}

// layer is nuh_layer_id, of which H.265 decoders know zero; others belong to its scalable and multiview extensions.
func layer(unit []byte) byte { return unit[0]&1<<5 | unit[1]>>3 }

// pictureSetOf reads which PPS the slice of a keyframe refers to (ITU-T H.264, section 7.3.3; ITU-T H.265, section
// 7.3.6.1), from no more than its first sliceStart bytes.
func pictureSetOf(codec media.Codec, slice []byte) (id uint8, ok bool) {
	var r bitReader
	var highest uint32
	switch {
	case codec == media.H264 && len(slice) > 1:
		r.rest, highest = slice[1:], maxPPS264
		r.number() // first_mb_in_slice
		r.number() // slice_type
	case codec == media.H265 && len(slice) > 2:
		r.rest, highest = slice[2:], maxPPS265
		r.bits(2) // first_slice_segment_in_pic_flag, no_output_of_prior_pics_flag
	default:
		return 0, false
	}
	id = r.id(highest)
	return id, !r.broken
}

// sliceStart is how much of a slice pictureSetOf needs: a header of up to 2 bytes, and of the first slice of a picture
// 1 + 7 + 17 bits, with a byte in between that keeps start codes from appearing.
const sliceStart = 2 + 4 + 1

// bitReader reads a NAL unit behind its header, leaving out the bytes that keep start codes from appearing in it
// (ITU-T H.264, section 7.4.1). Behind the end there are zeros, and it is broken.
type bitReader struct {
	rest   []byte
	zeros  int // bytes of zero in front of rest
	now    byte
	left   int // bits of now
	broken bool
}

func (r *bitReader) bit() uint32 {
	if r.left == 0 {
		r.next()
	}
	r.left--
	return uint32(r.now) >> r.left & 1
}

// next takes a byte.
func (r *bitReader) next() {
	const prevention = 3
	if r.zeros >= 2 && len(r.rest) > 0 && r.rest[0] == prevention {
		r.rest, r.zeros = r.rest[1:], 0
	}
	r.now, r.left = 0, 8
	if len(r.rest) == 0 {
		r.broken = true
		return
	}
	r.now, r.rest = r.rest[0], r.rest[1:]
	r.zeros++
	if r.now != 0 {
		r.zeros = 0
	}
}

// bits reads n bits; of more than 32 the last 32 are returned.
func (r *bitReader) bits(n int) (v uint32) {
	for range n {
		v = v<<1 | r.bit()
	}
	return v
}

// number reads ue(v) (ITU-T H.264, section 9.1), which in all that is read here has fewer than 32 bits.
func (r *bitReader) number() uint32 {
	const longest = 15
	zeros := 0
	for r.bit() == 0 {
		if zeros++; zeros > longest {
			r.broken = true
			return 0
		}
	}
	return 1<<zeros - 1 + r.bits(zeros)
}

// id reads ue(v), of which more than highest makes no sense.
func (r *bitReader) id(highest uint32) uint8 {
	v := r.number()
	if v > highest {
		r.broken = true
	}
	return uint8(v)
}

// profileTierLevel skips that structure (ITU-T H.265, section 7.3.3).
func (r *bitReader) profileTierLevel(subLayers int) {
	const profile, level, most = 88, 8, 8
	r.bits(profile + level)
	if subLayers == 0 {
		return
	}
	skip := 0
	for range subLayers {
		skip += int(r.bits(1)) * profile
		skip += int(r.bits(1)) * level
	}
	r.bits(2*(most-subLayers) + skip)
}
