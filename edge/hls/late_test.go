package hls

import (
	"fmt"
	"testing"
	"time"

	"banyan/relay/frame"
	"banyan/relay/media"
)

// A cutter that begins within a segment numbers its parts as one does that has the segment from its beginning on (H18),
// and what it lacks of it is no reason to take the rest away: nodes begin when they are asked, and publishers come at any
// time.
func TestFirstSegmentBeginsLate(t *testing.T) {
	aligned := &media.Params{Epoch: 1, Codec: media.H264, ClockRate: 90000, FPS: 30, Aligned: true}
	slow := &media.Params{Epoch: 1, Codec: media.H264, ClockRate: 90000, FPS: 5, Aligned: true}
	for _, c := range []struct {
		params *media.Params
		first  int   // frame of segment 0 that is the first to come, a keyframe
		offset int64 // ticks, by which all frames miss the grid
		index  int   // of the part that it belongs to
		frames int   // that the part has then
	}{
		{aligned, 0, 0, 0, 6}, {aligned, 2, 0, 0, 4}, {aligned, 3, 0, 0, 3}, {aligned, 15, 0, 2, 3}, {aligned, 18, 0, 3, 6},
		{aligned, 36, 0, 6, 6}, {aligned, 41, 0, 6, 1}, {aligned, 59, 0, 9, 1},
		{camera, 0, 0, 0, 6}, {camera, 15, 0, 2, 3}, {camera, 36, 0, 6, 6}, {camera, 36, 1400, 6, 6}, {camera, 15, -1400, 2, 3},
		{slow, 3, 0, 3, 1},
	} {
		t.Run(fmt.Sprintf("%g fps from frame %d", c.params.FPS, c.first), func(t *testing.T) {
			frames := videoFrames(c.params, second(0), second(6.1), c.params.FPS, 2*time.Second)[c.first:]
			for _, f := range frames {
				f.Ticks += c.offset
			}
			frames[0].Keyframe = true
			perPart := planFor(c.params, testGrid, c.params.FPS).perPart
			w, parts := packaged(frames)
			if p := parts[0]; p.msn != 900000000 || p.index != c.index || len(p.frames) != c.frames {
				t.Errorf("the first part is %v with %d frames, want 0.%d with %d", places(parts[:1]), len(p.frames), c.index, c.frames)
			}
			for i, p := range parts[1 : 10-c.index] {
				if p.msn != 900000000 || p.index != c.index+1+i || len(p.frames) != perPart {
					t.Errorf("part %v with %d frames follows part %d", places([]cut{p}), len(p.frames), c.index+i)
				}
			}
			s := w.find(900000000)
			if s.gap || s.length != testGrid.segment || len(s.parts) != 10 {
				t.Errorf("it lasts %v and has %d parts, gap %v; want a whole segment", s.length, len(s.parts), s.gap)
			}
			// It begins where all others do: 0, or the offset of the source.
			if off := s.date.Sub(second(0)) - media.DurationOf(c.offset, 90000); off.Abs() > time.Microsecond {
				t.Errorf("it is dated %v off", off)
			}
			for i, p := range s.parts {
				if p.gap != (i < c.index) || p.length != 200*time.Millisecond {
					t.Errorf("part %d: gap %v, length %v", i, p.gap, p.length)
				}
			}
		})
	}
}

// Sound that cannot be led in with silence may begin late as well.
func TestFirstSegmentOfSoundBeginsLate(t *testing.T) {
	p := &media.Params{Epoch: 1, Codec: media.AAC, ClockRate: soundRate, SampleRate: soundRate, Channels: 2} // of an unknown kind
	w, parts := packaged(sounds(p, second(0.93), second(6.1), 0, 0))
	if parts[0].index != 4 {
		t.Errorf("the first part is %v, want 0.4", places(parts[:1]))
	}
	s := w.find(900000000)
	frameTime := media.DurationOf(media.AACFrame, soundRate)
	if off := s.date.Sub(second(0)); s.gap || (s.length-testGrid.segment).Abs() > 2*frameTime || off.Abs() > frameTime {
		t.Errorf("it lasts %v from %v on, gap %v", s.length, off, s.gap)
	}
}

// Where a source's frames are not on the grid, those of a segment that begins late are counted from where its first would
// stand: counted from the grid they would lie between two counts, and fall to either side.
func TestLateFramesAreCountedFromTheirOwnGrid(t *testing.T) {
	for _, first := range []int{3, 15, 36} {
		c := newCutter(testGrid)
		var got []cut
		for i := first; i < 60; i++ {
			ticks := media.TicksOf(second(0), 90000) + int64(i)*3000 + 1500 + int64(1-i/6%2*2)*300 // half a frame off, and uneven
			got = append(got, c.push(&frame.Frame{Ticks: ticks, Params: camera, Keyframe: i == first})...)
		}
		for _, p := range got[1:] {
			if len(p.frames) != 6 {
				t.Errorf("from frame %d on: part %v has %d frames, want 6", first, places([]cut{p}), len(p.frames))
			}
		}
	}
}
