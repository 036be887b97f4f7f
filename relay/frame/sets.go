package frame

import (
	"bytes"
	"slices"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h265"

	"banyan/relay/media"
)

// Sets are the parameter sets of a track by their kind, the SPS in use and those that belong to it first. Fields are nil for what a codec does not
// have; the sequence header of AV1 is in SPS.
type Sets struct{ VPS, SPS, PPS [][]byte }

// SetsOf sorts p.Sets by kind.
func SetsOf(p *media.Params) (all Sets) {
	for _, set := range p.Sets {
		if kindOf(p.Codec, set) != unitSet {
			continue
		}
		switch kindOfSet(p.Codec, set) {
		case videoSet:
			all.VPS = append(all.VPS, set)
		case sequenceSet:
			all.SPS = append(all.SPS, set)
		case pictureSet:
			all.PPS = append(all.PPS, set)
		}
	}
	return all
}

// maxSetBytes bounds what all parameter sets of a track take together, as they are sent with every keyframe. They are
// some ten bytes each, hundreds with scaling lists.
const maxSetBytes = 8192

// maxSets bounds how many there are. The standards allow for hundreds, but depacketisers refuse frames of many units:
// half of what they take is left for pictures and messages.
func maxSets(codec media.Codec) int {
	if codec == media.H265 {
		return h265.MaxNALUsPerAccessUnit / 2
	}
	return h264.MaxNALUsPerAccessUnit / 2
}

// sets remembers the parameter sets of a video track: of each name the newest. What is more than the bounds allow for
// is forgotten, beginning with what was seen longest ago: encoders that number on leave old ones behind.
type sets struct {
	codec media.Codec
	kept  []parameterSet // in order of their names
	bytes int            // that they take
	clock uint64         // counts sets seen

	forgotten int
}

type parameterSet struct {
	setID
	above uint8  // id of the one that it refers to
	seen  uint64 // by sets.clock
	unit  []byte // never changes
}

func newSets(p *media.Params) sets {
	s := sets{codec: p.Codec}
	for _, set := range p.Sets {
		s.learn(set)
	}
	return s
}

// learn takes unit over if it is a parameter set.
func (s *sets) learn(unit []byte) {
	if kindOf(s.codec, unit) != unitSet {
		return
	}
	name, above, ok := identify(s.codec, unit)
	if !ok || len(unit) > maxSetBytes {
		s.forgotten++
		return
	}
	s.clock++
	i, known := s.search(name)
	switch {
	case !known:
		s.kept = slices.Insert(s.kept, i, parameterSet{})
	case bytes.Equal(s.kept[i].unit, unit):
		s.kept[i].seen = s.clock
		return
	}
	s.bytes += len(unit) - len(s.kept[i].unit)
	s.kept[i] = parameterSet{setID: name, above: above, seen: s.clock, unit: bytes.Clone(unit)}
	s.bound()
}

func (s *sets) bound() {
	for len(s.kept) > maxSets(s.codec) || s.bytes > maxSetBytes {
		oldest := 0
		for i, p := range s.kept {
			if p.seen < s.kept[oldest].seen {
				oldest = i
			}
		}
		s.bytes -= len(s.kept[oldest].unit)
		s.kept = slices.Delete(s.kept, oldest, oldest+1)
		s.forgotten++
	}
}

func (s *sets) search(name setID) (i int, known bool) {
	return slices.BinarySearchFunc(s.kept, name, func(p parameterSet, name setID) int { return p.compare(name) })
}

// whole tells whether a set can be used: whether those above it are there.
func (s *sets) whole(p parameterSet) bool {
	top := sequenceSet
	if s.codec == media.H265 {
		top = videoSet
	}
	if p.kind <= top {
		return true
	}
	i, known := s.search(setID{p.kind - 1, p.above})
	return known && s.whole(s.kept[i])
}

// list is what goes into media.Params.Sets with a keyframe: all sets that can be used, in order of their names, but
// first of each kind the SPS in use and those that belong to it. It is nil while what the keyframe refers to is missing.
func (s *sets) list(use reference) [][]byte {
	sequence, ok := s.sequence(use)
	if !ok {
		return nil
	}
	belongs := func(p parameterSet) bool {
		switch p.kind {
		case videoSet:
			return p.id == sequence.above
		case sequenceSet:
			return p.id == sequence.id
		}
		return p.above == sequence.id
	}
	list, same := make([][]byte, 0, len(s.kept)), 0 // same is where those of the same kind begin that do not belong
	for i, p := range s.kept {
		if i == 0 || p.kind != s.kept[i-1].kind {
			same = len(list)
		}
		switch {
		case !s.whole(p):
			// Decoders that get a set which refers to nothing give up on the others.
		case belongs(p):
			list = slices.Insert(list, same, p.unit)
			same++
		default:
			list = append(list, p.unit)
		}
	}
	return list
}

// sequence finds the SPS, or sequence header, that a keyframe uses.
func (s *sets) sequence(use reference) (sequence parameterSet, ok bool) {
	for _, p := range s.kept {
		switch {
		case s.codec == media.AV1:
			return p, true
		case p.kind == pictureSet && s.whole(p) && (!use.known || use.id == p.id):
			i, _ := s.search(setID{sequenceSet, p.above})
			return s.kept[i], true
		}
	}
	return parameterSet{}, false
}

// reference is which PPS a keyframe refers to. It is not known of one that is broken, or none at all.
type reference struct {
	id    uint8
	known bool
}

func referenceOf(codec media.Codec, slice []byte) (r reference) {
	r.id, r.known = pictureSetOf(codec, slice)
	return r
}
