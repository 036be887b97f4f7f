package hls

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"banyan/relay/frame"
	"banyan/relay/media"
)

// H12 where the bound on bytes bites: what has left a playlist can be had for its own length and the playlist's, which is
// shorter then, and nothing that has left comes back when there is room again.
func TestHeavyMediaIsListedForLess(t *testing.T) {
	const listed, least, segmentBytes = 20, 3, 10 * len("media")
	f := newFeeder(listed)
	f.window.config.least = least
	k := int64(0)
	passed := int64(noSegment) // the newest that is listed no more
	feed := func(n int) (l *listing) {
		for range n {
			f.whole(k)
			k++
			l = f.listing()
			if before := l.segments[0].msn - 1; before < passed {
				t.Fatalf("segment %d is listed, and %d had left the playlist", before+1, passed)
			} else {
				passed = before
			}
		}
		return l
	}
	feed(60)
	for _, c := range []struct{ room, listed int }{{30, 14}, {15, 6}, {8, least}, {4, least}, {15, 6}, {100, listed}} {
		f.window.config.maxBytes = c.room * segmentBytes
		l := feed(3 * listed)
		if len(l.segments) != c.listed {
			t.Errorf("with room for %d segments %d are listed, want %d", c.room, len(l.segments), c.listed)
		}
		for old := passed; old > passed-int64(len(l.segments))-1 && c.room >= 2*least+1; old-- {
			if f.window.find(old) == nil {
				t.Errorf("with room for %d segments %d are listed, and the one %d before them is gone", c.room, len(l.segments), passed-old+1)
			}
		}
		if f.window.bytes > f.window.config.maxBytes {
			t.Errorf("%d bytes are kept, the bound is %d", f.window.bytes, f.window.config.maxBytes)
		}
	}
}

func TestWindowIsBounded(t *testing.T) {
	f := newFeeder(10)
	for k := range int64(100) {
		f.whole(k)
	}
	if n := len(f.window.segments); n != 21 {
		t.Errorf("%d segments are kept, want 21 (H12)", n)
	}
	if s := f.window.find(900000079); s == nil || s.msn != 900000079 || f.window.find(900000078) != nil || f.window.find(math.MaxInt64) != nil {
		t.Errorf("the oldest segment is %+v", s)
	}
	f.window.config.maxBytes = 5 * 10 * 6
	f.whole(100)
	if f.window.bytes > 300 || len(f.window.segments) != 6 {
		t.Errorf("%d bytes in %d segments are kept beyond the bound", f.window.bytes, len(f.window.segments))
	}
	total := 0
	for _, s := range f.window.segments {
		total += len(s.data)
		if string(s.data) != strings.Repeat("media", 10) {
			t.Errorf("segment %d is not its parts in a row (H13)", s.msn)
		}
	}
	if total != f.window.bytes {
		t.Errorf("%d bytes are counted, %d are there", f.window.bytes, total)
	}
	for k := int64(101); k < 200; k++ {
		f.reconfigure()
		f.window.inits = append(f.window.inits, initEntry{initID{epoch: f.params.Epoch}, []byte("init")})
		f.whole(k)
	}
	if n := len(f.window.inits); n > len(f.window.segments)+1 {
		t.Errorf("%d init sections are kept for %d segments", n, len(f.window.segments))
	}
}

// H9: a segment that begins early, as its keyframe does, and ends late, as the next keyframe was lost, is listed with no more
// than what rounds to the target duration.
func TestNoSegmentIsListedOverTheTargetDuration(t *testing.T) {
	f := newFeeder(10)
	const k = 900000000
	ticks := func(segment int64, off time.Duration) int64 {
		return media.TicksOf(testGrid.start(segment).Add(off), 90000)
	}
	add := func(segment int64, off, until time.Duration) {
		begin := ticks(segment, off)
		f.window.add(&cut{init: initID{media.Source, f.params.Epoch}, plan: f.plan, msn: segment, begin: begin, decode: begin,
			until: ticks(segment, until), frames: []*frame.Frame{{Ticks: begin, Params: f.params, Keyframe: true}}, durations: []int64{18000}}, []byte("media"))
	}
	add(k, -300*time.Millisecond, testGrid.segment)
	add(k+1, 400*time.Millisecond, time.Second)
	if length := f.window.find(k).length; length.Round(time.Second) > time.Duration(testGrid.targetDuration())*time.Second {
		t.Errorf("a segment is %v long, and the target duration %d s", length, testGrid.targetDuration())
	}
}

// Nothing leaves a playlist that lasts less than three target durations then (RFC 8216bis section 6.2.2), whatever comes and
// stays away.
func TestNothingLeavesAShortPlaylist(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFeeder(15)
		var before *listing
		for k, part := int64(0), 0; k < 40; {
			switch {
			case rapid.IntRange(0, 30).Draw(t, "event") == 0: // silence
				k, part = k+rapid.Int64Range(1, 12).Draw(t, "silence"), rapid.IntRange(0, 9).Draw(t, "part")
			case part == 9:
				k, part = k+1, 0
			default:
				part++
			}
			f.part(k, part)
			l := f.listing()
			if len(l.segments) == 0 || before != nil && before.first() == l.first() {
				before = l
				continue
			}
			var left time.Duration
			for _, s := range l.segments {
				left += s.length
			}
			if before != nil && left < 3*l.targetDuration() {
				t.Fatalf("a playlist that lasts %v has lost its first segments: from %d on, and before from %d", left, l.first(), before.first())
			}
			before = l
		}
	})
}
