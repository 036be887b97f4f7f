package frame

import (
	"bytes"
	"slices"

	"banyan/relay/media"
)

// The rules of keyframes and parameter sets stand here once, for payloads that are forwarded (Inspector) and for frames
// that are packetised (Writer):
//
//   - A keyframe is a frame that can be decoded without any before it, and begins with what is at hand: of H.264 and
//     H.265 the first slice of a random access picture, of AV1 the sequence header, of VP8 and VP9 a frame whose header
//     says so. Audio is nothing but keyframes.
//   - Parameter sets are known by kind and id, and count from the next keyframe on. It is worth nothing while one that it
//     refers to is missing; all that are known stand in front of it, or are put there. What holds sets and no picture
//     is left out.
//   - Where they, or the size of the picture, are new there, an epoch begins.

// survey is what the units of a frame, or those that begin in one payload, turned out to be.
type survey struct {
	units    int
	sets     [][]byte  // parameter sets in front of the picture; not copied
	messages [][]byte  // SEI among them; not copied
	slices   bool      // there is picture data
	keyframe bool      // a keyframe begins here
	use      reference // of a keyframe

	width, height int // of a keyframe of VP8 or VP9
}

// add looks at the next unit.
func (s *survey) add(codec media.Codec, unit []byte) {
	kind := kindOf(codec, unit)
	switch {
	case codec == media.VP8 || codec == media.VP9:
		s.width, s.height, s.keyframe = pictureSize(codec, unit)
	case codec.Kind() == media.Audio:
		s.keyframe = true
	case codec == media.AV1 && kind == unitSet && s.units == 0:
		s.keyframe = true
	case codec != media.AV1 && kind == unitKeySlice && startsPicture(codec, unit):
		// One of the other slices begins nothing: where the first was lost, nobody can decode the frame.
		s.keyframe, s.use = true, referenceOf(codec, unit)
	}
	s.units++
	s.slices = s.slices || kind.slice()
	switch {
	case kind == unitSet && !s.slices:
		s.sets = append(s.sets, unit)
	case kind == unitMessage:
		s.messages = append(s.messages, unit)
	}
}

// setsAlone tells whether there are parameter sets and no picture data.
func (s *survey) setsAlone() bool { return len(s.sets) > 0 && !s.slices }

// description follows the parameters of a track from keyframe to keyframe.
type description struct {
	params media.Params
	sets   sets
	known  bool // from a keyframe
}

// newDescription begins with what is known of a track beforehand, from SDP or FFmpeg.
func newDescription(p media.Params) description {
	describe(&p)
	return description{params: p, sets: newSets(&p)}
}

// see looks at a unit for s and takes it over if it is a parameter set.
func (d *description) see(unit []byte, s *survey) {
	s.add(d.params.Codec, unit)
	d.sets.learn(unit)
}

// update brings params up to date with a keyframe that s found, and tells whether they are new. ok is false while the
// parameter sets that it refers to are not known: nobody can decode the keyframe yet.
func (d *description) update(s *survey) (changed, ok bool) {
	next := d.params
	switch codec := next.Codec; {
	case needsSets(codec):
		if next.Sets = d.sets.list(s.use); next.Sets == nil {
			return false, false
		}
		describe(&next)
	case codec.Kind() == media.Video:
		next.Width, next.Height = s.width, s.height
	}
	changed = !next.Equal(&d.params)
	if !changed {
		next.Reordered = next.Reordered || d.params.Reordered // frames may have shown what the sets do not say
	}
	changed = changed || !d.known
	d.params, d.known = next, true
	return changed, true
}

// lacksSets tells whether a keyframe that s found needs parameter sets put in front.
func (d *description) lacksSets(s *survey) bool {
	return needsSets(d.params.Codec) && slices.ContainsFunc(d.params.Sets, func(set []byte) bool {
		return !slices.ContainsFunc(s.sets, func(had []byte) bool { return bytes.Equal(had, set) })
	})
}

// ForgottenSets counts the parameter sets that were not kept: broken ones, those of layers that nobody here decodes, and
// what is more than a keyframe can carry.
func (d *description) ForgottenSets() int { return d.sets.forgotten }
