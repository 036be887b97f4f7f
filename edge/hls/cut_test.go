package hls

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	oracle "github.com/bluenviron/gohlslib/v2/pkg/playlist"
	"pgregory.net/rapid"

	"banyan/relay/frame"
	"banyan/relay/media"
)

var testGrid = grid{segment: 2 * time.Second, part: 200 * time.Millisecond}

func TestGrid(t *testing.T) {
	for _, c := range []struct {
		at   time.Duration
		want int64
	}{{0, 0}, {2*time.Second - 1, 0}, {2 * time.Second, 1}, {-1, -1}, {-2 * time.Second, -1}} {
		if got := testGrid.at(media.Time(c.at)); got != c.want {
			t.Errorf("segment at %v is %d, want %d", c.at, got, c.want)
		}
	}
}

// Parts of one track must be equal, and a segment must have a whole number of them where its frames allow.
func TestPlanVideo(t *testing.T) {
	for _, c := range []struct {
		fps     float64
		perPart int
		parts   int
		target  time.Duration
	}{
		{30, 6, 10, 200 * time.Millisecond}, {25, 5, 10, 200 * time.Millisecond}, {50, 10, 10, 200 * time.Millisecond},
		{60, 12, 10, 200 * time.Millisecond}, {24, 4, 12, 166666666}, {15, 3, 10, 200 * time.Millisecond},
		{10, 2, 10, 200 * time.Millisecond}, {5, 1, 10, 200 * time.Millisecond}, {1, 1, 2, time.Second},
		{29, 5, 12, 172411111}, {30000.0 / 1001, 6, 10, 200200000}, {120, 24, 10, 200 * time.Millisecond},
	} {
		p := planVideo(90000, testGrid, c.fps, true)
		if p.perPart != c.perPart || p.parts != c.parts || p.target.Truncate(time.Microsecond) != c.target.Truncate(time.Microsecond) {
			t.Errorf("%g fps: %d frames in a part, %d parts, target %v; want %d, %d, %v", c.fps, p.perPart, p.parts, p.target,
				c.perPart, c.parts, c.target)
		}
	}
}

// H6: a part lasts at most the target and, but for the last of a segment, at least 85 % of it, however evenly frames come.
func TestPartLengths(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &media.Params{Epoch: 1, Codec: media.H264, ClockRate: 90000, Aligned: true}
		var step, off float64 // ticks; off is by how much frames of a camera come early or late
		if rapid.Bool().Draw(t, "audio") {
			p.Codec = rapid.SampledFrom([]media.Codec{media.AAC, media.Opus}).Draw(t, "codec")
			p.ClockRate = 48000
			if p.Codec == media.AAC {
				p.ClockRate = rapid.SampledFrom([]int{22050, 24000, 32000, 44100, 48000}).Draw(t, "rate")
			}
			step = planFor(p, testGrid, 0).frame
		} else {
			p.FPS = rapid.SampledFrom(rates[:]).Draw(t, "fps")
			step = 90000 / p.FPS
			p.Aligned = rapid.Bool().Draw(t, "aligned")
			if !p.Aligned {
				off = rapid.Float64Range(0, 0.24).Draw(t, "jitter") * step // each is counted where it belongs
			}
		}
		chance := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "chance"), 0))
		first := int64(rapid.Float64Range(1, 1<<32).Draw(t, "seconds") * float64(p.ClockRate) / step)
		var got []cut
		looks := 0
		c := newCutter(testGrid)
		for i := range 1500 {
			ticks := int64(float64(first+int64(i)) * step)
			at := media.TimeAt(ticks, p.ClockRate)
			key := p.Codec.Kind() == media.Audio || i == 0 || testGrid.at(at) != testGrid.at(media.TimeAt(int64(float64(first+int64(i)-1)*step), p.ClockRate))
			ticks += chance.Int64N(2*int64(off)+1) - int64(off)
			due := c.due()
			done := pushInTime(t, c, &frame.Frame{Ticks: ticks, Params: p, Keyframe: key})
			if len(got) > 0 && at >= due {
				looks++
			}
			got = append(got, done...)
		}
		if p.Aligned && looks > 2*len(got) { // of others any frame may be the last
			t.Fatalf("%d frames were due for %d parts", looks, len(got))
		}
		target := c.plan.target
		for i, cut := range got {
			length := media.DurationOf(cut.ticks(), p.ClockRate)
			if length > target {
				t.Fatalf("part %d of segment %d lasts %v, over the target %v", cut.index, cut.msn, length, target)
			}
			inner := i > 1 && i+1 < len(got) && got[i+1].msn == cut.msn && got[0].msn != cut.msn
			if inner && float64(length) < 0.85*float64(target)-1e5 {
				t.Fatalf("part %d of segment %d lasts %v, below 85 %% of %v", cut.index, cut.msn, length, target)
			}
		}
		checkOrder(t, got, testGrid)
	})
}

// Many small holes are no reason to take a segment for one that broke off.
func TestHolesAreNotAddedUp(t *testing.T) {
	frames := slices.DeleteFunc(videoFrames(camera, second(0), second(6.1), 30, 2*time.Second), func(f *frame.Frame) bool {
		n := (f.Ticks / 3000) % 60
		return n%18 > 3 && n%18 < 13 // 300 ms of each 600
	})
	l := pack(t, frames, func(string, *oracle.Media) {})
	for _, s := range l.segments {
		if s.gap || (s.length-testGrid.segment).Abs() > time.Microsecond {
			t.Errorf("segment %d lasts %v, gap %v", s.msn, s.length, s.gap)
		}
	}
}

// pushInTime pushes f as who waits until frames are due: one that completes a part must be. After a silence, or in
// another epoch, nobody waits.
func pushInTime(t failer, c *cutter, f *frame.Frame) []cut {
	due, went := c.due(), c.params == f.Params && media.DurationOf(f.Ticks-c.newest, f.Params.ClockRate) < silence
	done := c.push(f)
	if len(done) > 0 && went && f.Time() < due {
		t.Fatalf("the frame at %v completes part %d.%d, and one was due at %v only",
			f.Time(), done[0].msn, done[0].index, due)
	}
	return done
}

type failer interface{ Fatalf(string, ...any) }

// checkOrder checks what must hold of parts whatever the frames were.
func checkOrder(t failer, got []cut, g grid) {
	for i := 1; i < len(got); i++ {
		a, b := got[i-1], got[i]
		if b.msn < a.msn || b.msn == a.msn && b.index <= a.index {
			t.Fatalf("part %d.%d comes after %d.%d", b.msn, b.index, a.msn, a.index)
		}
		if last := a.frames[len(a.frames)-1].Ticks; b.frames[0].Ticks <= last {
			t.Fatalf("part %d.%d begins at %d, before the end of the one before, %d", b.msn, b.index, b.frames[0].Ticks, last)
		}
	}
	for _, c := range got {
		off := c.frames[0].Time().Sub(g.start(c.msn))
		if off < -time.Second || off > g.segment+time.Second {
			t.Fatalf("part %d.%d begins %v from its segment", c.msn, c.index, off)
		}
		for _, f := range c.frames[1:] {
			if !f.Params.Equal(c.params()) {
				t.Fatalf("part %d.%d has frames of two kinds", c.msn, c.index)
			}
		}
	}
}

// Whatever a publisher does with time, keyframes and epochs, parts come in order and in their place.
func TestCutterTakesAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCutter(testGrid)
		var got []cut
		p := &media.Params{Epoch: 1, Codec: media.H264, ClockRate: 90000, FPS: 30, Aligned: true}
		ticks := int64(1 << 40)
		begun := false
		for range rapid.IntRange(1, 300).Draw(t, "frames") {
			first := false
			switch rapid.IntRange(0, 20).Draw(t, "event") {
			case 0:
				ticks += rapid.Int64Range(-400000, 900000).Draw(t, "leap")
			case 1:
				next := *p
				next.Epoch++
				next.FPS = rapid.SampledFrom([]float64{0, 0.1, 5, 25, 30, 240}).Draw(t, "fps")
				next.Width = rapid.SampledFrom([]int{320, 640}).Draw(t, "width")
				next.Aligned = rapid.Bool().Draw(t, "aligned")
				p, first = &next, true
			default:
				ticks += rapid.Int64Range(1, 9000).Draw(t, "step")
			}
			got = append(got, pushInTime(t, c, &frame.Frame{Ticks: ticks, Params: p, Discontinuity: first || !begun,
				Keyframe: rapid.IntRange(0, 9).Draw(t, "key") == 0, Lost: rapid.Bool().Draw(t, "lost")})...)
			begun = true
		}
		for _, cut := range got {
			if cut.index < 0 || len(cut.frames) == 0 || len(cut.frames) != len(cut.durations) {
				t.Fatalf("part %+v makes no sense", cut)
			}
			for _, d := range cut.durations {
				if d <= 0 {
					t.Fatalf("part %d.%d has a frame of %d ticks", cut.msn, cut.index, d)
				}
			}
		}
		for i := 1; i < len(got); i++ {
			if a, b := got[i-1], got[i]; b.msn < a.msn || b.msn == a.msn && b.index <= a.index {
				t.Fatalf("part %d.%d comes after %d.%d", b.msn, b.index, a.msn, a.index)
			}
		}
	})
}

// frames makes video frames at fps from one place to another, with a keyframe every gop seconds.
func videoFrames(p *media.Params, from, to media.Time, fps float64, keyEvery time.Duration) (list []*frame.Frame) {
	step := 90000 / fps
	for n := int64(float64(media.TicksOf(from, 90000))/step + 0.999); ; n++ {
		ticks := int64(float64(n)*step + 0.5)
		at := media.TimeAt(ticks, 90000)
		if at >= to {
			return list
		}
		before := media.TimeAt(int64(float64(n-1)*step+0.5), 90000)
		list = append(list, &frame.Frame{Ticks: ticks, Params: p, Keyframe: at.Floor(keyEvery) != before.Floor(keyEvery)})
	}
}

func places(cuts []cut) (text []string) {
	for _, c := range cuts {
		text = append(text, fmt.Sprintf("%d.%d", c.msn-900000000, c.index))
	}
	return text
}

// The last frame of a part publishes it: waiting for the frame after would cost a frame of delay.
func TestPartsComeWithTheirLastFrame(t *testing.T) {
	p := &media.Params{Epoch: 1, Codec: media.H264, ClockRate: 90000, FPS: 30, Aligned: true}
	c := newCutter(testGrid)
	for i, f := range videoFrames(p, second(0), second(2), 30, 2*time.Second) {
		done := c.push(f)
		if whole := i%6 == 5; whole != (len(done) == 1) {
			t.Fatalf("frame %d gave the parts %v", i, places(done))
		}
		if i == 59 && !done[0].last {
			t.Error("the last frame on the grid did not close its segment")
		}
	}
}

// An encoder that stands a little off the grid, as a source may, keeps whole groups of pictures.
func TestKeyframesOffTheGrid(t *testing.T) {
	for _, off := range []int64{-2999, -1500, 0, 1, 1500, 2999} {
		p := &media.Params{Epoch: 1, Codec: media.H264, ClockRate: 90000, FPS: 30}
		c := newCutter(testGrid)
		var got []cut
		for i, f := range videoFrames(p, second(0), second(8), 30, 2*time.Second) {
			f.Ticks += off
			f.Keyframe = i%60 == 0
			got = append(got, c.push(f)...)
		}
		seen := map[int64]int{}
		for _, cut := range got {
			if cut.index == 0 && !cut.frames[0].Keyframe {
				t.Errorf("off by %d ticks: segment %d begins without a keyframe", off, cut.msn)
			}
			seen[cut.msn] += len(cut.frames)
		}
		for k := int64(900000000); k < 900000003; k++ {
			if seen[k] != 60 {
				t.Errorf("off by %d ticks: segment %d has %d frames, want 60", off, k, seen[k])
			}
		}
	}
}

func TestNewParametersWaitForASegment(t *testing.T) {
	old := &media.Params{Epoch: 1, Codec: media.H264, ClockRate: 90000, FPS: 30, Width: 320, Aligned: true}
	same := &media.Params{Epoch: 2, Codec: media.H264, ClockRate: 90000, FPS: 30, Width: 320, Aligned: true}
	other := &media.Params{Epoch: 2, Codec: media.H264, ClockRate: 90000, FPS: 30, Width: 640, Aligned: true}
	for _, next := range []*media.Params{same, other} {
		c := newCutter(testGrid)
		var got []cut
		for _, f := range videoFrames(old, second(0), second(0.6), 30, 2*time.Second) {
			got = append(got, c.push(f)...)
		}
		for i, f := range videoFrames(next, second(1), second(4), 30, time.Second) {
			f.Discontinuity = i == 0
			got = append(got, c.push(f)...)
		}
		mixed := map[int64]map[int]bool{}
		for _, cut := range got {
			if mixed[cut.msn] == nil {
				mixed[cut.msn] = map[int]bool{}
			}
			mixed[cut.msn][cut.params().Width] = true
		}
		for msn, widths := range mixed {
			if len(widths) > 1 {
				t.Errorf("segment %d needs two init sections", msn)
			}
		}
		if want := 3 + 10; next == other && len(got) != want {
			t.Errorf("after a change of parameters: parts %v, want %d", places(got), want)
		}
		if want := 3 + 5 + 10; next == same && len(got) != want {
			t.Errorf("after a pause with equal parameters: parts %v, want %d", places(got), want)
		}
	}
}

// Another worker begins with pictures that are there already: what follows cannot be shown by who has them from the
// worker before, until the next keyframe.
func TestOverlapOfTwoMakers(t *testing.T) {
	p := &media.Params{Epoch: 1, Codec: media.H264, ClockRate: 90000, FPS: 30, Aligned: true}
	c := newCutter(testGrid)
	var got []cut
	next := videoFrames(p, second(0.6), second(2.1), 30, time.Second)
	next[0].Keyframe = true
	for _, f := range slices.Concat(videoFrames(p, second(0), second(0.7), 30, 2*time.Second), next) {
		got = append(got, c.push(f)...)
	}
	for _, cut := range got {
		for _, f := range cut.frames {
			if f.Time() >= second(0.7) && f.Time() < second(1) {
				t.Errorf("the picture at %v is listed, which leads on from a keyframe that was left out", f.Time().Sub(second(0)))
			}
		}
	}
	if last := got[len(got)-1].frames; last[len(last)-1].Time() < second(1.5) || c.dropped[dropAwaitKeyframe] == 0 {
		t.Errorf("parts %v, drops %v, want the segment to go on from the next keyframe", places(got), c.dropped)
	}
}

// A silence ends the segment that it falls into; the next one begins with a keyframe at its beginning.
func TestSilenceEndsTheSegment(t *testing.T) {
	p := &media.Params{Epoch: 1, Codec: media.H264, ClockRate: 90000, FPS: 30, Aligned: true}
	c := newCutter(testGrid)
	var got []cut
	for _, f := range slices.Concat(videoFrames(p, second(0), second(0.5), 30, 2*time.Second),
		videoFrames(p, second(1), second(2.1), 30, time.Second), videoFrames(p, second(5), second(6.2), 30, time.Second)) {
		got = append(got, c.push(f)...)
	}
	want := []string{"0.0", "0.1", "0.2", "1.0", "3.0"} // the parts of segment 1 and what came late in 0 and 2 are left out
	if fmt.Sprint(places(got)) != fmt.Sprint(want) {
		t.Errorf("parts %v, want %v", places(got), want)
	}
	if !got[2].last || len(got[2].frames) != 3 || c.dropped[dropAfterGap] == 0 {
		t.Errorf("the part before the silence: %d frames, last %v, drops %v", len(got[2].frames), got[2].last, c.dropped)
	}
}

func TestJoins(t *testing.T) {
	p := &media.Params{Codec: media.H264, ClockRate: 90000}
	stamps := func(fps float64, every time.Duration, change func(i int, s *stamp)) (list []stamp) {
		for i, f := range videoFrames(p, second(0.5), second(9), fps, every) {
			s := stamp{f.Ticks, f.Keyframe}
			if change != nil {
				change(i, &s)
			}
			list = append(list, s)
		}
		return list
	}
	none := func(int, *stamp) {}
	for name, c := range map[string]struct {
		list []stamp
		want bool
	}{
		"aligned":              {stamps(30, 2*time.Second, none), true},
		"keyframe a second":    {stamps(25, time.Second, none), true},
		"29.97":                {stamps(30000.0/1001, 2*time.Second, none), true},
		"one frame late":       {stamps(30, 2*time.Second, func(_ int, s *stamp) { s.ticks += 3000 }), true},
		"two frames late":      {stamps(30, 2*time.Second, func(_ int, s *stamp) { s.ticks += 6000 }), false},
		"long groups":          {stamps(30, 4*time.Second, none), false},
		"odd groups":           {stamps(30, 1500*time.Millisecond, none), false},
		"jitter":               {stamps(30, 2*time.Second, func(i int, s *stamp) { s.ticks += int64(i%3) * 1000 }), false},
		"backwards":            {stamps(30, 2*time.Second, func(i int, s *stamp) { s.ticks += int64(i%2) * 4000 }), false},
		"too short to tell":    {stamps(30, 2*time.Second, none)[:90], false},
		"one frame":            {stamps(30, 2*time.Second, none)[:1], false},
		"nothing":              {nil, false},
		"all at the same tick": {stamps(30, 2*time.Second, func(_ int, s *stamp) { s.ticks = 7 }), false},
	} {
		if got := joins(c.list, 90000, testGrid); got != c.want {
			t.Errorf("%s: joins = %v, want %v", name, got, c.want)
		}
	}
}

// A track that does not tell its rate is measured first, over frames that are not lost for it.
func TestRateIsMeasured(t *testing.T) {
	p := &media.Params{Epoch: 1, Codec: media.H264, ClockRate: 90000, Aligned: true}
	c := newCutter(testGrid)
	var got []cut
	for _, f := range videoFrames(p, second(0), second(2), 25, 2*time.Second) {
		got = append(got, c.push(f)...)
	}
	if len(got) != 10 || len(got[0].frames) != 5 {
		t.Errorf("25 frames per second were cut into %d parts, want 10 of 5 frames", len(got))
	}
}

// A source whose keyframes miss the grid after its publisher has returned is shown nevertheless, from the second
// segment on: it has no better place.
func TestReturnOffTheGrid(t *testing.T) {
	p := &media.Params{Epoch: 1, Codec: media.H264, ClockRate: 90000, FPS: 25}
	c := newCutter(testGrid)
	var got []cut
	frames := func(from, to time.Duration, keyframe func(time.Duration) bool) {
		for at := from; at < to; at += 40 * time.Millisecond {
			got = append(got, c.push(&frame.Frame{Ticks: media.TicksOf(media.Time(at), 90000), Params: p, Keyframe: keyframe(at)})...)
		}
	}
	every := func(off time.Duration) func(time.Duration) bool {
		return func(at time.Duration) bool { return at%time.Second == off }
	}
	frames(0, 4*time.Second, every(0))
	frames(5*time.Second+200*time.Millisecond, 12*time.Second, every(480*time.Millisecond))
	first := slices.IndexFunc(got, func(c cut) bool { return c.msn > 1 })
	if first < 0 {
		t.Fatal("it is never shown again")
	}
	if from, _ := got[first].span(); got[first].msn != 3 || !got[first].frames[0].Keyframe || from != media.Time(6480*time.Millisecond) {
		t.Errorf("it goes on in segment %d at %v, want 3 and its first keyframe", got[first].msn, time.Duration(from))
	}
	if last := got[len(got)-1]; last.msn != 5 {
		t.Errorf("it ends in segment %d, want 5", last.msn)
	}
}
