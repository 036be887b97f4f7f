package transcoder

import (
	"time"

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
