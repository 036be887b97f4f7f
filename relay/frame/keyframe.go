package frame

import "banyan/relay/media"

// The rules of keyframes and parameter sets stand here once, for payloads that are forwarded (Inspector) and for frames
// that are packetised (Writer):
//
//   - A keyframe is a frame that can be decoded without any before it, and begins with what is at hand: of H.264 and
//     H.265 the first slice of a random access picture, of AV1 the sequence header, of VP8 and VP9 a frame whose header
//     says so. Audio is nothing but keyframes.
//   - Parameter sets count from the next keyframe on. It is worth nothing while one of a kind is missing, and has all of
//     them in front of it. What holds sets and no picture is left out.
//   - Where they, or the size of the picture, are new there, an epoch begins.

// survey is what the units of a frame, or those that begin in one payload, turned out to be.
type survey struct {
	units    int
	sets     int      // parameter sets among them
	messages [][]byte // SEI among them; not copied
	slices   bool     // there is picture data
	keyframe bool     // a keyframe begins here

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
		s.keyframe = true
	}
	s.units++
	s.slices = s.slices || kind.slice()
	switch kind {
	case unitSet:
		s.sets++
	case unitMessage:
		s.messages = append(s.messages, unit)
	}
}

// setsAlone tells whether there are parameter sets and no picture data.
func (s *survey) setsAlone() bool { return s.sets > 0 && !s.slices }

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
// parameter sets are not known: nobody can decode the keyframe yet.
func (d *description) update(s *survey) (changed, ok bool) {
	next := d.params
	switch codec := next.Codec; {
	case needsSets(codec):
		if next.Sets = d.sets.list(); next.Sets == nil {
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
	return needsSets(d.params.Codec) && s.sets < len(d.params.Sets)
}
