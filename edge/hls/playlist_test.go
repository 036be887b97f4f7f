package hls

import (
	"slices"
	"strings"
	"testing"
	"time"

	oracle "github.com/bluenviron/gohlslib/v2/pkg/playlist"

	"banyan/relay/frame"
	"banyan/relay/media"
)

// feeder drives a window with parts as a cutter makes them, without any media in them.
type feeder struct {
	window *window
	line   *timeline
	breaks uint32
	plan   plan
	params *media.Params
}

// bornAt is the break that a feeder's stream begins with.
const bornAt = 1000

func newFeeder(listed int) *feeder {
	line := newTimeline()
	line.learn(bornAt, noSegment)
	p := &media.Params{Epoch: 7, Codec: media.H264, ClockRate: 90000, FPS: 30, Aligned: true}
	return &feeder{
		window: newWindow(testGrid, windowConfig{listed: listed, retained: 2*listed + 1, maxBytes: 1 << 20}),
		line:   line, breaks: bornAt, plan: planFor(p, testGrid, 30), params: p,
	}
}

// part adds part index of segment k, counted from the test's epoch.
func (f *feeder) part(k int64, index int) {
	k += 900000000
	if f.window.open == nil || k > f.window.open.msn {
		if last := f.window.find(f.window.newest()); last != nil && last.init.epoch != 0 && last.init.epoch != f.params.Epoch {
			f.breaks++
			f.line.learn(f.breaks, k)
		}
		f.line.show(k)
	}
	at := media.TicksOf(testGrid.start(k), 90000) + int64(index)*18000
	c := &cut{init: initID{media.Source, f.params.Epoch}, plan: f.plan, msn: k, index: index, last: index == 9,
		frames: []*frame.Frame{{Ticks: at, Params: f.params, Keyframe: index == 0}}, begin: media.TicksOf(testGrid.start(k), 90000),
		until: at + 18000, decode: at, durations: []int64{18000}}
	f.window.add(c, []byte("media"))
}

// whole adds all parts of a segment.
func (f *feeder) whole(k int64) {
	for i := range 10 {
		f.part(k, i)
	}
}

func (f *feeder) reconfigure() {
	next := *f.params
	next.Epoch++
	f.params = &next
}

func (f *feeder) listing() *listing {
	l := f.window.snapshot()
	last, _ := l.position()
	l.marks, l.sequence = f.line.within(l.first(), last)
	return &l
}

var (
	selfID  = renditionID{"720p", media.Video}
	otherID = renditionID{"aac", media.Audio}
)

func (l *listing) text(skip int) string {
	return string(l.render(skip, selfID, []report{{id: selfID, msn: 1, part: 1}, {id: otherID, msn: 5, part: 2}}))
}

// parse reads a playlist with a parser that is not ours.
func parse(t failer, text string) *oracle.Media {
	var m oracle.Media
	if err := m.Unmarshal([]byte(text)); err != nil {
		t.Fatalf("the playlist cannot be parsed: %v\n%s", err, text)
	}
	return &m
}

func TestPlaylist(t *testing.T) {
	f := newFeeder(15)
	for k := range int64(20) {
		f.whole(k)
	}
	f.part(20, 0)
	f.part(20, 1)
	m := parse(t, f.listing().text(0))
	if m.Version != 9 || !m.IndependentSegments || m.TargetDuration != 2 {
		t.Errorf("version %d, independent %v, target duration %d", m.Version, m.IndependentSegments, m.TargetDuration)
	}
	if got := m.MediaSequence; got != 900000005 {
		t.Errorf("EXT-X-MEDIA-SEQUENCE is %d; 15 of 20 segments are listed, so want 900000005", got)
	}
	c := m.ServerControl
	if !c.CanBlockReload || *c.PartHoldBack < 3*m.PartInf.PartTarget || *c.CanSkipUntil < 12*time.Second {
		t.Errorf("EXT-X-SERVER-CONTROL %+v", c)
	}
	if !strings.Contains(f.listing().text(0), "HOLD-BACK=6.0") {
		t.Error("HOLD-BACK is not three target durations (H4)")
	}
	for i, s := range m.Segments {
		if want := i >= len(m.Segments)-3; want != (len(s.Parts) == 10) || !want && len(s.Parts) != 0 {
			t.Errorf("segment %d of %d lists %d parts; the last three target durations list theirs (H12)", i, len(m.Segments), len(s.Parts))
		}
		if s.DateTime == nil || !s.DateTime.Equal(testGrid.start(900000005+int64(i)).Wall()) {
			t.Errorf("segment %d has the date %v", i, s.DateTime)
		}
		for j, p := range s.Parts {
			if p.Independent != (j == 0) {
				t.Errorf("part %d of segment %d: independent %v", j, i, p.Independent)
			}
		}
	}
	if len(m.Parts) != 2 || m.PreloadHint == nil || m.PreloadHint.URI != "900000020.2.mp4" {
		t.Errorf("the open segment has %d parts, the hint is %+v", len(m.Parts), m.PreloadHint)
	}
	if hints := tagged(f.listing().text(0), "#EXT-X-PRELOAD-HINT"); len(hints) != 1 {
		t.Errorf("%d hints; want one of a part, as no other init section is ready (H15): %v", len(hints), hints)
	}
	if r := m.RenditionReport; len(r) != 1 || r[0].URI != "../aac-audio/index.m3u8" || r[0].LastMSN != 5 || *r[0].LastPart != 2 {
		t.Errorf("rendition reports %+v; want one, of the other rendition", r)
	}
	if n := strings.Count(f.listing().text(0), "#EXT-X-MAP"); n != 1 {
		t.Errorf("%d EXT-X-MAP for one epoch", n)
	}
}

// pack cuts frames into parts and puts them into a window; see is called with the name of each and the playlist that lists it.
func pack(t *testing.T, frames []*frame.Frame, see func(name string, m *oracle.Media)) *listing {
	t.Helper()
	c, w := newCutter(testGrid), newWindow(testGrid, windowConfig{listed: 8, retained: 17, maxBytes: 1 << 20})
	var l listing
	for _, f := range frames {
		for _, cut := range c.push(f) {
			w.add(&cut, []byte("media"))
			l = w.snapshot()
			m := parse(t, l.text(0))
			checkTarget(t, m)
			see(partName(cut.msn, cut.index), m)
		}
	}
	return &l
}

// checkTarget checks that no part is listed with more than the target (H6).
func checkTarget(t *testing.T, m *oracle.Media) {
	t.Helper()
	parts := slices.Clone(m.Parts)
	for _, s := range m.Segments {
		parts = append(parts, s.Parts...)
	}
	for _, p := range parts {
		if p.Duration > m.PartInf.PartTarget {
			t.Errorf("H6: part %s lasts %v, over the target %v", p.URI, p.Duration, m.PartInf.PartTarget)
		}
	}
}

var camera = &media.Params{Epoch: 1, Codec: media.H264, ClockRate: 90000, FPS: 30} // which promises nothing

// H7: a source that makes keyframes also within segments.
func TestPartsWithKeyframesAreIndependent(t *testing.T) {
	l := pack(t, videoFrames(camera, second(0), second(2.3), 30, 500*time.Millisecond), func(string, *oracle.Media) {})
	var independent []int
	for i, part := range parse(t, l.text(0)).Segments[lead].Parts { // behind the gaps; frames 0, 15, 30 and 45 are keyframes, six make a part
		if part.Independent {
			independent = append(independent, i)
		}
	}
	if want := []int{0, 2, 5, 7}; !slices.Equal(independent, want) {
		t.Errorf("independent are the parts %v, want %v", independent, want)
	}
}

// H15: what is hinted at is the part that is listed next, also at the end of a segment, and where frames are missing.
func TestHintsComeTrue(t *testing.T) {
	frames := videoFrames(&media.Params{Epoch: 1, Codec: media.H264, ClockRate: 90000, FPS: 30, Aligned: true},
		second(0), second(8), 30, 2*time.Second)
	frames = slices.Delete(frames, 80, 90) // some 300 ms
	hint, seen := "", 0
	pack(t, frames, func(name string, m *oracle.Media) {
		if seen++; hint != "" && hint != name {
			t.Errorf("part %s is listed, and %s was hinted at", name, hint)
		}
		hint = m.PreloadHint.URI
	})
	if seen < 38 {
		t.Errorf("%d parts", seen)
	}
}

// H16: the date of a segment is that of its first frame, wherever the source's keyframes stand.
func TestDateIsThatOfTheFirstFrame(t *testing.T) {
	const late = 20 * time.Millisecond
	frames := videoFrames(camera, second(0), second(7), 30, 2*time.Second)
	for _, f := range frames {
		f.Ticks += media.TicksOf(media.Time(late), 90000)
	}
	l := pack(t, frames, func(string, *oracle.Media) {})
	for i, s := range parse(t, l.text(0)).Segments {
		if want := second(2 * float64(i)).Add(late).Wall(); !s.DateTime.Equal(want) {
			t.Errorf("segment %d has the date %v, want %v", i, s.DateTime, want)
		}
	}
}

func TestPlaylistOfPartsAlone(t *testing.T) {
	f := newFeeder(15)
	f.part(3, 4) // begins in the middle
	f.part(3, 5)
	l := f.listing()
	m := parse(t, l.text(0))
	if len(m.Segments) != lead || !m.Segments[0].Gap || len(m.Segments[0].Parts) != 10 || !m.Segments[1].Gap {
		t.Errorf("want %d gaps before the open segment, with their parts: %s", lead, l.text(0))
	}
	if len(m.Parts) != 6 || !m.Parts[3].Gap || m.Parts[4].Gap {
		t.Errorf("want four gaps before the two parts that are there: %s", l.text(0))
	}
	for i := 6; i < 10; i++ {
		f.part(3, i)
	}
	m = parse(t, f.listing().text(0))
	if len(m.Segments) != lead+1 || !m.Segments[lead-1].Gap || m.Segments[lead].Gap || m.MediaSequence != 900000001 {
		t.Errorf("a single segment, which GStreamer cannot go on from, or something has left: %s", f.listing().text(0))
	}
	f.whole(4)
	if m = parse(t, f.listing().text(0)); m.MediaSequence != 900000001 {
		t.Errorf("a gap has left the playlist, which lasts less than three target durations without it: %s", f.listing().text(0))
	}
	f.whole(5)
	m = parse(t, f.listing().text(0))
	if m.Segments[0].Gap || m.MediaSequence != 900000003 {
		t.Errorf("the gap at the beginning is still listed: %s", f.listing().text(0))
	}
}

// Pictures that came slowly for a moment keep players away from the live edge while they are listed, and no longer.
func TestTargetsAreForgotten(t *testing.T) {
	f := newFeeder(8)
	usual := f.plan
	slow := planVideo(90000, testGrid, 1, false)
	f.whole(0)
	f.plan = slow
	f.part(1, 0)
	f.plan = usual
	for k := range int64(12) {
		f.whole(2 + k)
		m := parse(t, f.listing().text(0))
		want := usual.target
		if m.MediaSequence <= 900000001 {
			want = slow.target
		}
		if got := m.PartInf.PartTarget; got.Round(time.Millisecond) != want.Round(time.Millisecond) {
			t.Errorf("with segments from %d on PART-TARGET is %v, want %v", m.MediaSequence, got, want)
		}
		if got := *m.ServerControl.PartHoldBack; got < 3*want-time.Millisecond || want == usual.target && got > 700*time.Millisecond {
			t.Errorf("with segments from %d on PART-HOLD-BACK is %v, for parts of %v", m.MediaSequence, got, want)
		}
	}
	line := newTimeline()
	for i, c := range []struct {
		id           renditionID
		target, want time.Duration
		leaves       bool
	}{
		{selfID, 200, 200, false}, {otherID, 1000, 1000, false}, {selfID, 200, 1000, false}, {otherID, 213, 213, false},
		{otherID, 1000, 1000, true}, {selfID, 200, 200, false},
	} {
		if got := line.longest(c.id, c.target); got != c.want {
			t.Errorf("%d: the longest target of all renditions is %d, want %d", i, got, c.want)
		}
		if c.leaves {
			line.leave(c.id)
		}
	}
}

func TestSilenceBecomesGaps(t *testing.T) {
	f := newFeeder(15)
	f.whole(0)
	f.part(1, 0)
	f.part(3, 3) // the publisher was away
	l := f.listing()
	m := parse(t, l.text(0))
	var gaps []bool
	for _, s := range m.Segments {
		gaps = append(gaps, s.Gap)
	}
	if want := []bool{false, true, true}; !slices.Equal(gaps, want) {
		t.Errorf("gaps %v, want %v", gaps, want)
	}
	broken := m.Segments[1]
	if len(broken.Parts) != 10 || broken.Parts[0].Gap || !broken.Parts[1].Gap || broken.Duration != 2*time.Second {
		t.Errorf("the segment that broke off has %d parts and lasts %v: %s", len(broken.Parts), broken.Duration, l.text(0))
	}
	if s := f.window.find(900000001); string(s.data) != "media" {
		t.Errorf("what there is of the segment that broke off is %q", s.data)
	}
	if strings.Contains(l.text(0), "#EXT-X-DISCONTINUITY\n") {
		t.Error("a pause with equal parameters is no discontinuity")
	}
	f.part(3, 7) // the rest was lost, which is no reason to do without what is there
	f.part(4, 0)
	m = parse(t, f.listing().text(0))
	if s := m.Segments[3]; s.Gap || s.Duration != 2*time.Second || len(s.Parts) != 8 {
		t.Errorf("the segment whose end was lost: gap %v, %v, %d parts", s.Gap, s.Duration, len(s.Parts))
	}
	f.part(1000, 0) // an hour later nothing of that can be listed
	if m := parse(t, f.listing().text(0)); len(m.Segments) != lead || m.MediaSequence != 900001000-lead {
		t.Errorf("after a long silence %d segments from %d are listed", len(m.Segments), m.MediaSequence)
	}
}

func TestEndedPlaylist(t *testing.T) {
	f := newFeeder(15)
	for k := range int64(12) {
		f.whole(k)
	}
	l := f.listing()
	l.ended = true
	text := l.text(0)
	if m := parse(t, text); !m.Endlist || m.PreloadHint != nil || len(m.RenditionReport) != 0 {
		t.Errorf("an ended playlist promises more: %s", text)
	}
	if l.skippable() != 0 {
		t.Error("an ended playlist allows delta updates (H30)")
	}
}

func TestCovers(t *testing.T) {
	f := newFeeder(15)
	for k := range int64(5) {
		f.whole(k)
	}
	f.part(5, 0)
	f.part(5, 1)
	l := f.listing()
	for _, c := range []struct {
		msn            int64
		part           int
		covers, tooFar bool
	}{
		{4, noPart, true, false}, {5, noPart, false, false}, {6, noPart, false, false}, {7, noPart, false, true},
		{5, 1, true, false}, {5, 2, false, false}, {4, 9, true, false},
		{4, 10, true, false}, // H21: past the end of a closed segment is part 0 of the next
		{4, 1000, true, false},
		{5, 16, false, false}, {5, 17, false, true}, // H23: 15 parts of 200 ms ahead, no more
		{6, 0, false, false}, {6, 14, false, false}, {6, 15, false, true}, {7, 0, false, true},
		{-900000000, noPart, true, false}, {0, 3, true, false}, // H22: stale
		{1 << 40, noPart, false, true}, {5, 1_000_000, false, true},
	} {
		msn := c.msn + 900000000
		if got := l.covers(msn, c.part); got != c.covers {
			t.Errorf("segment +%d part %d: covered %v, want %v", c.msn, c.part, got, c.covers)
		}
		if got := l.tooFar(msn, c.part); got != c.tooFar {
			t.Errorf("segment +%d part %d: too far %v, want %v", c.msn, c.part, got, c.tooFar)
		}
	}
	f.part(5, 9)
	if l := f.listing(); l.covers(900000005, 10) {
		t.Error("part 0 of a segment that has not begun is covered")
	}
}
