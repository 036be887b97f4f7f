package rtc

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"banyan/relay/log"
	"banyan/relay/media"
)

var h264 = &media.Params{Codec: media.H264, ClockRate: media.VideoClockRate}

const frame30 = media.VideoClockRate / 30

// at is packet n of a track that has one packet a frame, 30 a second, and a keyframe each second.
func at(n int64) *media.Packet {
	flags := media.FrameEnd
	if n%30 == 0 {
		flags |= media.Keyframe
	}
	return &media.Packet{Offset: n, Ticks: 1_800_000_000*media.VideoClockRate + n*frame30, Params: h264, Flags: flags}
}

func TestTimelineIsTrue(t *testing.T) {
	tl := NewTimeline(media.VideoClockRate, 1000, 77)
	seq, first := tl.Next(at(0), 0)
	if seq != 1000 || uint32(first) != uint32(at(0).Ticks)+77 {
		t.Errorf("the first packet is %d at %d, want 1000 at media time moved by 77", seq, first)
	}
	for _, n := range []int64{1, 2, 30, 3000, 40 * 3600 * 30} { // to beyond 32 bits
		if _, ts := tl.Next(at(n), 0); ts-first != n*frame30 {
			t.Errorf("frame %d is %d ticks after the first, want %d: gaps stay true", n, ts-first, n*frame30)
		}
	}
	now := at(7).Time()
	if got := tl.At(now); got != uint32(first+7*frame30) {
		t.Errorf("a report at frame 7 says %d, want that frame's timestamp %d", got, uint32(first+7*frame30))
	}
}

func TestTimelineBurst(t *testing.T) {
	tl := NewTimeline(media.VideoClockRate, 0, 0)
	tl.Join(at(0).Ticks, at(60).Ticks) // two seconds behind live
	_, first := tl.Next(at(0), 0)
	last := first
	for n := int64(1); n < 60; n++ {
		_, ts := tl.Next(at(n), 0)
		if step := ts - last; step != frame30/burstRatio {
			t.Fatalf("frame %d of the burst is %d ticks after the one before, want %d", n, step, frame30/burstRatio)
		}
		if !tl.Bursting(at(n).Ticks) {
			t.Fatalf("frame %d does not count as part of the burst", n)
		}
		last = ts
	}
	live := at(60).Ticks
	for n := int64(60); n < 90; n++ {
		if _, ts := tl.Next(at(n), 0); ts != live+(n-60)*frame30 {
			t.Fatalf("frame %d after the burst has timestamp %d, want the true %d", n, ts, live+(n-60)*frame30)
		}
	}
	if want := live - 60*frame30/burstRatio; first != want {
		t.Errorf("the burst begins %d ticks before live, want %d", live-first, live-want)
	}

	long := NewTimeline(media.VideoClockRate, 0, 0)
	long.Join(at(0).Ticks, at(600).Ticks)
	_, first = long.Next(at(0), 0)
	if most := int64(burstLength) * media.VideoClockRate / int64(time.Second); at(600).Ticks-first != most {
		t.Errorf("a burst of 20 s takes %d ticks, want no more than %d", at(600).Ticks-first, most)
	}
}

func TestTimelineShowsAgainWithoutRunningBack(t *testing.T) {
	tl := NewTimeline(media.VideoClockRate, 0, 0)
	_, _ = tl.Next(at(0), 0)
	_, before := tl.Next(at(40), 0)
	for n := int64(30); n <= 40; n++ { // another format begins at the keyframe before
		_, ts := tl.Next(at(n), 0)
		if step := ts - before; step <= 0 || step > frame30/4 {
			t.Fatalf("frame %d, shown before, moves time by %d ticks; want a little", n, step)
		}
		before = ts
	}
	for n := int64(41); n < 45; n++ {
		if _, ts := tl.Next(at(n), 0); n > 41 && ts != at(n).Ticks {
			t.Errorf("frame %d has timestamp %d, want the true %d again", n, ts, at(n).Ticks)
		}
	}
}

func TestTimelineGaps(t *testing.T) {
	part := func(n int64, flags media.Flags) *media.Packet {
		p := *at(n)
		p.Flags = flags
		return &p
	}
	for _, c := range []struct {
		why  string
		last media.Flags // of the packet before
		next *media.Packet
		lost int64
		want int64 // step of the sequence number
	}{
		{"in order", media.FrameEnd, part(1, 0), 0, 1},
		{"a hole in a frame is news", 0, part(1, 0), 2, 3},
		{"a large hole is no more news than a small one", 0, part(1, 0), 5000, 1 + largestGap},
		{"skipping whole frames to a keyframe is no loss", media.FrameEnd, part(1, media.Keyframe), 5000, 1},
		{"a frame that was cut short is", 0, part(1, media.Keyframe), 5000, 2},
		{"a frame that was cut short by a change of log is", 0, part(1, media.Keyframe), 0, 2},
	} {
		tl := NewTimeline(media.VideoClockRate, 0, 0)
		before, _ := tl.Next(part(0, c.last), 0)
		if got, _ := tl.Next(c.next, c.lost); got-before != c.want {
			t.Errorf("%s: the sequence number moves by %d, want %d", c.why, got-before, c.want)
		}
	}
}

// TestTimelineNeverRunsBack throws everything at a timeline that readers of logs can meet.
func TestTimelineNeverRunsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tl := NewTimeline(media.VideoClockRate, uint16(rapid.IntRange(0, 1<<15-1).Draw(t, "seq")), rapid.Uint32().Draw(t, "timestamp"))
		seq, ts, complete := int64(-1), int64(0), true
		n := int64(1000)
		for i := range rapid.IntRange(1, 60).Draw(t, "packets") {
			n += rapid.SampledFrom([]int64{0, 0, 1, 1, 1, 1, 2, 90, -30, -300, 100000}).Draw(t, "step")
			if rapid.IntRange(0, 9).Draw(t, "join") == 0 {
				tl.Join(at(n).Ticks, at(n+rapid.Int64Range(-10, 400).Draw(t, "live")).Ticks)
			}
			p := *at(n)
			p.Flags = rapid.SampledFrom([]media.Flags{0, media.FrameEnd, media.Keyframe, media.Keyframe | media.FrameEnd}).Draw(t, "flags")
			s, out := tl.Next(&p, rapid.SampledFrom([]int64{0, 0, 1, 100000}).Draw(t, "lost"))
			if i > 0 && (s <= seq || s > seq+1+largestGap) {
				t.Fatalf("sequence number %d follows %d", s, seq)
			}
			if i > 0 && (out < ts || complete && out == ts) {
				t.Fatalf("timestamp %d follows %d", out, ts)
			}
			seq, ts, complete = s, out, p.Has(media.FrameEnd)
		}
	})
}

// track is a log with one packet a frame, written up to frame n.
type track struct {
	*log.Log
	w    *log.Writer
	next int64
}

func newTrack30(t *testing.T, from int64) *track {
	t.Helper()
	l := log.New(media.TrackID{Stream: "s", Format: media.Source, Kind: media.Video}, 1_000_000, log.Config{})
	w := l.Writer()
	if err := w.Begin(*h264); err != nil {
		t.Fatal(err)
	}
	return &track{l, w, from}
}

func (tr *track) write(t *testing.T, to int64) {
	t.Helper()
	for ; tr.next < to; tr.next++ {
		p := *at(tr.next)
		p.Offset = tr.w.Next()
		if err := tr.w.Write(p); err != nil {
			t.Fatal(err)
		}
	}
}

// frames reads what s has as frame numbers; those that begin another log are negative.
func frames(s *Switcher) (list []int64) {
	for {
		p, _, switched := s.Next()
		if p == nil {
			return list
		}
		n := (p.Ticks - at(0).Ticks) / frame30
		if switched {
			n = -n
		}
		list = append(list, n)
	}
}

func wantFrames(t *testing.T, why string, got []int64, want ...int64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: got frames %v, want %v", why, got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s: got frames %v, want %v", why, got, want)
		}
	}
}

func span(from, to int64) (list []int64) {
	for n := from; n < to; n++ {
		list = append(list, n)
	}
	return list
}

func TestSwitcher(t *testing.T) {
	setUp := func(t *testing.T) (a, b *track, s *Switcher) {
		a, b, s = newTrack30(t, 30), newTrack30(t, 30), &Switcher{}
		a.write(t, 50)
		s.Switch(a.Cursor(log.LastKeyframe()))
		wantFrames(t, "start", frames(s), append([]int64{-30}, span(31, 50)...)...)
		return a, b, s
	}
	t.Run("logs in step change seamlessly", func(t *testing.T) {
		a, b, s := setUp(t)
		b.write(t, 50)
		s.Switch(b.Cursor(log.Live()))
		a.write(t, 65)
		b.write(t, 65)
		wantFrames(t, "not a frame missed, none twice", frames(s), append(append(span(50, 60), -60), span(61, 65)...)...)
		if s.Current() != b.Log || s.Pending() != nil {
			t.Error("the switcher does not read the new log")
		}
	})
	t.Run("a log that is behind begins at once", func(t *testing.T) {
		a, b, s := setUp(t)
		s.Switch(b.Cursor(log.Live()))
		b.write(t, 35) // its keyframe 30 is behind the viewer
		wantFrames(t, "shown again at once", frames(s), -30, 31, 32, 33, 34)
		_ = a
	})
	t.Run("the old log goes on until the new one's keyframe", func(t *testing.T) {
		a, b, s := setUp(t)
		b.next = 59
		s.Switch(b.Cursor(log.Live()))
		b.write(t, 62) // ahead: keyframe 60
		a.write(t, 55)
		wantFrames(t, "the old log first", frames(s), span(50, 55)...)
		a.write(t, 70)
		wantFrames(t, "then the new one", frames(s), append(span(55, 60), -60, 61)...)
	})
	t.Run("an old log that went quiet is not waited for", func(t *testing.T) {
		_, b, s := setUp(t)
		b.next = 60
		s.Switch(b.Cursor(log.Live()))
		b.write(t, 62)
		wantFrames(t, "patience first", frames(s))
		b.write(t, 80)
		wantFrames(t, "then the new log", frames(s), append([]int64{-60}, span(61, 80)...)...)
	})
	t.Run("an old log that ended is read to its end", func(t *testing.T) {
		a, b, s := setUp(t)
		a.write(t, 53)
		a.Close()
		b.next = 60
		b.write(t, 62)
		s.Switch(b.Cursor(log.LastKeyframe()))
		wantFrames(t, "the rest, then the new log", frames(s), append(span(50, 53), -60, 61)...)
	})
	t.Run("a change can be called off", func(t *testing.T) {
		a, b, s := setUp(t)
		b.next = 60
		s.Switch(b.Cursor(log.Live()))
		b.write(t, 62)
		_ = frames(s)
		s.Cancel()
		a.write(t, 65)
		wantFrames(t, "the old log alone", frames(s), span(50, 65)...)
	})
	t.Run("ended logs are not waited for", func(t *testing.T) {
		a, b, s := setUp(t)
		a.Close()
		b.Close()
		s.Switch(b.Cursor(log.Live()))
		_ = frames(s)
		if current, next := s.Ready(); current != nil || next != nil {
			t.Error("Ready has a channel for a log that will never have more")
		}
	})
	t.Run("a log that is dropped is read no further", func(t *testing.T) {
		a, b, s := setUp(t)
		b.next = 59
		s.Switch(b.Cursor(log.Live()))
		s.Drop()
		a.write(t, 58)
		wantFrames(t, "nothing", frames(s))
		if !s.Dropped() || s.Pending() != b.Log {
			t.Error("the switcher does not wait for the new log")
		}
		b.write(t, 62)
		wantFrames(t, "the new log, from its keyframe on", frames(s), -60, 61)
		if s.Dropped() {
			t.Error("the new log is dropped, too")
		}
	})
	t.Run("a dropped log is taken up again", func(t *testing.T) {
		a, b, s := setUp(t)
		s.Drop()
		a.write(t, 52)
		wantFrames(t, "nothing is to follow, so nothing is dropped", frames(s), 50, 51)
		s.Switch(b.Cursor(log.Live()))
		s.Drop()
		a.write(t, 54)
		wantFrames(t, "nothing", frames(s))
		s.Keep()
		wantFrames(t, "what was left out", frames(s), 52, 53)
	})
	t.Run("a slow reader skips to the newest keyframe", func(t *testing.T) {
		a := newTrack30(t, 30)
		s := &Switcher{}
		c := a.Cursor(log.Live())
		c.MaxLag = 3 * time.Second
		s.Switch(c)
		a.write(t, 35)
		wantFrames(t, "live", frames(s), -30, 31, 32, 33, 34)
		a.write(t, 200)
		p, lost, _ := s.Next()
		if n := (p.Ticks - at(0).Ticks) / frame30; n != 180 || lost != 145 {
			t.Errorf("after a stall comes frame %d with %d lost, want the keyframe 180 with 145", n, lost)
		}
	})
}

// BenchmarkTimeline is what a viewer's timeline costs per packet.
func BenchmarkTimeline(b *testing.B) {
	tl := NewTimeline(media.VideoClockRate, 0, 0)
	p := at(0)
	b.ReportAllocs()
	for b.Loop() {
		p.Ticks += frame30
		_, _ = tl.Next(p, 0)
	}
}
