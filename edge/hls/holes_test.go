package hls

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"banyan/relay/frame"
	"banyan/relay/media"
)

// sounds are frames of AAC from one place to another, without those that lie in [hole, hole+length).
func sounds(p *media.Params, from, to, hole media.Time, length time.Duration) (list []*frame.Frame) {
	for n := int64(from) / 1e9 * soundRate / media.AACFrame; ; n++ {
		f := &frame.Frame{Ticks: n * media.AACFrame, Params: p, Keyframe: true, Units: [][]byte{{1}}}
		switch at := f.Time(); {
		case at >= to:
			return list
		case at < from, at >= hole && at < hole.Add(length):
		default:
			list = append(list, f)
		}
	}
}

// packaged is what a window lists of frames.
func packaged(frames []*frame.Frame) (*window, []cut) {
	c := newCutter(testGrid)
	w := newWindow(testGrid, windowConfig{listed: 20, retained: 41, maxBytes: 1 << 30})
	var all []cut
	for _, f := range frames {
		for _, part := range c.push(f) {
			w.add(&part, []byte("media"))
			all = append(all, part)
		}
	}
	return w, all
}

// checkWhole checks that the closed segments follow each other at the pace of media time, and that none has a gap beside
// media.
func checkWhole(t *rapid.T, w *window, most time.Duration) {
	for i, s := range w.segments {
		if s == w.open {
			continue
		}
		if off := s.length - testGrid.segment; off.Abs() > most {
			t.Fatalf("segment %d lasts %v", s.msn, s.length)
		}
		mixed := slices.ContainsFunc(s.parts, func(p part) bool { return p.gap })
		if i > lead && mixed && !s.gap {
			t.Fatalf("segment %d has gaps beside media: %+v", s.msn, s.parts)
		}
		if i > 0 {
			if drift := s.date.Sub(w.segments[i-1].date) - testGrid.segment; drift.Abs() > silence {
				t.Fatalf("segment %d begins %v off", s.msn, drift)
			}
		}
	}
}

// Where less than half a second of sound is missing, silence takes its place: players find no hole, no part is
// longer than it may be, and no time is counted twice.
func TestHolesInSoundAreFilled(t *testing.T) {
	p := &media.Params{Epoch: 1, Codec: media.AAC, ClockRate: soundRate, SampleRate: soundRate, Channels: 2,
		Sets: [][]byte{{0x11, 0x90}}} // AAC-LC, 48 kHz, stereo
	rapid.Check(t, func(t *rapid.T) {
		hole := second(rapid.Float64Range(1, 7).Draw(t, "hole"))
		length := time.Duration(rapid.IntRange(30, 470).Draw(t, "ms")) * time.Millisecond
		w, parts := packaged(sounds(p, second(0), second(10), hole, length))
		frameTime := media.DurationOf(media.AACFrame, soundRate)
		checkWhole(t, w, 2*frameTime)
		target := planFor(p, testGrid, 0).target
		for i, c := range parts {
			if d := media.DurationOf(c.ticks(), soundRate); d > target+time.Nanosecond { // rounded
				t.Fatalf("part %d.%d lasts %v, more than the target %v", c.msn, c.index, d, target)
			}
			if i == 0 {
				continue
			}
			before := parts[i-1].frames[len(parts[i-1].frames)-1]
			if gap := media.DurationOf(c.frames[0].Ticks-before.Ticks, soundRate); gap > 3*frameTime/2 {
				t.Fatalf("a hole of %v before part %d.%d", gap, c.msn, c.index)
			}
		}
	})
}

// Where less than half a second of picture is missing, what is before stands for as long, or the part is left out.
func TestHolesInPictureAreNoGaps(t *testing.T) {
	p := &media.Params{Epoch: 1, Codec: media.H264, ClockRate: 90000, FPS: 30, Aligned: true}
	rapid.Check(t, func(t *rapid.T) {
		hole := second(rapid.Float64Range(1, 7).Draw(t, "hole"))
		length := time.Duration(rapid.IntRange(30, 430).Draw(t, "ms")) * time.Millisecond
		frames := slices.DeleteFunc(videoFrames(p, second(0), second(10), 30, 2*time.Second), func(f *frame.Frame) bool {
			return !f.Keyframe && f.Time() >= hole && f.Time() < hole.Add(length)
		})
		w, parts := packaged(frames)
		checkWhole(t, w, 50*time.Millisecond)
		for i, c := range parts[1:] {
			if before := parts[i]; c.msn == before.msn && c.index != before.index+1 {
				t.Fatalf("part %d.%d follows %d", c.msn, c.index, before.index)
			}
		}
	})
}

// When a stream ends, what there is of its last segment is in the playlist.
func TestTheEndIsKept(t *testing.T) {
	s, on := live(t, 8.5, nil)
	s.want(200, video+"index.m3u8")
	on.play(second(8.5), second(9.3)) // a part and a half more
	s.listing(video, at(4)+".5.mp4")
	s.hub.Close()
	eventually(t, "the playlist ends", func() bool { return strings.Contains(s.get(video+"index.m3u8").body, "#EXT-X-ENDLIST") })
	m := parse(t, s.get(video+"index.m3u8").body)
	last := m.Segments[len(m.Segments)-1]
	if n := m.MediaSequence + len(m.Segments) - 1; n != 900000004 || last.Gap || last.Duration.Round(10*time.Millisecond) != 1300*time.Millisecond {
		t.Errorf("the last segment is %d and lasts %v, gap %v; want all of what came: %s", n, last.Duration, last.Gap, s.get(video+"index.m3u8").body)
	}
	if n, _ := decode(t, s.file(video, 4)); n != 39 {
		t.Errorf("%d pictures of the last segment can be decoded, want 39", n)
	}
}
