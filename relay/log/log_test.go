package log

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"banyan/relay/media"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	videoID     = media.TrackID{Stream: "cup/cam1", Format: media.Source, Kind: media.Video}
	videoParams = media.Params{Codec: media.H264, ClockRate: media.VideoClockRate}
	birth       = FirstOffset(time.Unix(1_800_000_000, 0))
)

const tick = int64(media.VideoClockRate / 30) // one packet a frame at 30 frames per second

// newTestLog is a log with a writer that has begun its first epoch.
func newTestLog(t testing.TB, config Config) (*Log, *Writer) {
	t.Helper()
	l := New(videoID, birth, config)
	w := l.Writer()
	if err := w.Begin(videoParams); err != nil {
		t.Fatal(err)
	}
	return l, w
}

// packet is frame n of a track with a keyframe every 30 frames.
func packet(n int64) media.Packet {
	flags := media.FrameEnd
	if n%30 == 0 {
		flags |= media.Keyframe
	}
	return media.Packet{Offset: birth + n, Ticks: 1_800_000_000*media.VideoClockRate + n*tick, Flags: flags, Payload: payload(n)}
}

func payload(n int64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 0, 8), uint64(n))
}

func write(t testing.TB, w *Writer, from, to int64) {
	t.Helper()
	for n := from; n < to; n++ {
		if err := w.Write(packet(n)); err != nil {
			t.Fatalf("write packet %d: %v", n, err)
		}
	}
}

// drain reads all that is there, as frame numbers.
func drain(c *Cursor) (frames []int64, lost int64) {
	for {
		p, n := c.Next()
		if p == nil {
			return frames, lost
		}
		frames = append(frames, p.Offset-birth)
		lost += n
	}
}

func wantRange(t *testing.T, what string, got []int64, from, to int64) {
	t.Helper()
	if int64(len(got)) != to-from {
		t.Fatalf("%s: read %d packets %v, want frames %d to %d", what, len(got), got, from, to-1)
	}
	for i, n := range got {
		if n != from+int64(i) {
			t.Fatalf("%s: packet %d is frame %d, want %d", what, i, n, from+int64(i))
		}
	}
}

func TestStarts(t *testing.T) {
	l, w := newTestLog(t, Config{})
	early := l.Cursor(LastKeyframe())
	write(t, w, 5, 100)

	for _, c := range []struct {
		what string
		cur  *Cursor
		from int64
	}{
		{"a reader from before the first keyframe begins there", early, 30},
		{"last keyframe", l.Cursor(LastKeyframe()), 90},
		{"offset", l.Cursor(Offset(birth + 42)), 42},
		{"live", l.Cursor(Live()), 100},
		{"keyframe before a time", l.Cursor(KeyframeBefore(l.Get(birth + 61).Time())), 60},
		{"keyframe at the very time", l.Cursor(KeyframeBefore(l.Get(birth + 60).Time())), 60},
		{"keyframe before a time that has left the window", l.Cursor(KeyframeBefore(0)), 30},
	} {
		got, _ := drain(c.cur)
		wantRange(t, c.what, got, c.from, 100)
	}
}

func TestHolesFill(t *testing.T) {
	l, w := newTestLog(t, Config{})
	write(t, w, 0, 10)
	write(t, w, 13, 20) // 10, 11 and 12 are missing
	got, lost := drain(l.Cursor(Offset(birth)))
	if len(got) != 17 || lost != 3 {
		t.Fatalf("read %d packets with %d lost, want 17 with 3", len(got), lost)
	}
	write(t, w, 11, 12)
	if p := l.Get(birth + 11); p == nil || string(p.Payload) != string(payload(11)) {
		t.Fatalf("the late packet is not there for retransmission: %v", p)
	}
	if err := w.Write(packet(11)); !errors.Is(err, ErrDuplicate) {
		t.Errorf("second copy: %v, want ErrDuplicate", err)
	}
	if err := w.Write(packet(-1)); !errors.Is(err, ErrLate) {
		t.Errorf("packet from before the window: %v, want ErrLate", err)
	}
	if s := l.Stats(); s.Holes != 3 || s.Filled != 1 || s.Duplicates != 1 || s.Late != 1 || s.Skips[SkipHole] != 3 {
		t.Errorf("stats %+v, want 3 holes, 1 filled, 1 duplicate, 1 late, 3 skipped", s)
	}
}

func TestSlowReaderSkipsToNewestKeyframe(t *testing.T) {
	l, w := newTestLog(t, Config{Window: 2 * time.Second})
	slow := l.Cursor(Offset(birth))
	write(t, w, 0, 310) // ten seconds
	got, lost := drain(slow)
	wantRange(t, "after the skip", got, 300, 310)
	if lost != 300 {
		t.Errorf("lost %d, want 300", lost)
	}
	if s := l.Stats(); s.Skips[SkipOverrun] != 300 {
		t.Errorf("counted %d offsets as overrun, want 300", s.Skips[SkipOverrun])
	}
}

func TestMaxLag(t *testing.T) {
	l, w := newTestLog(t, Config{})
	live := l.Cursor(Offset(birth))
	live.MaxLag = time.Second
	write(t, w, 0, 95)
	got, _ := drain(live)
	wantRange(t, "a live reader", got, 90, 95)
	if s := l.Stats(); s.Skips[SkipLag] != 90 {
		t.Errorf("counted %d offsets as lag, want 90", s.Skips[SkipLag])
	}
}

func TestWindowKeepsTheLastGroupOfPictures(t *testing.T) {
	l, w := newTestLog(t, Config{Window: time.Second})
	if err := w.Write(packet(0)); err != nil {
		t.Fatal(err)
	}
	for n := int64(1); n < 300; n++ {
		p := packet(n)
		p.Flags &^= media.Keyframe // a publisher that sends none for ten seconds
		if err := w.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	got, _ := drain(l.Cursor(LastKeyframe()))
	wantRange(t, "the whole group", got, 0, 300)
	write(t, w, 300, 301)
	if tail := l.Tail() - birth; tail < 265 {
		t.Errorf("after the next keyframe the window starts at %d, want a second at most", tail)
	}
}

func TestEpochs(t *testing.T) {
	l, w := newTestLog(t, Config{})
	write(t, w, 0, 3)
	changed := videoParams
	changed.Width = 1280
	if err := w.Begin(changed); err != nil {
		t.Fatal(err)
	}
	write(t, w, 3, 5)
	first, mark := l.Get(birth), l.Get(birth+3)
	if !first.Has(media.Discontinuity) || !mark.Has(media.Discontinuity) || l.Get(birth+4).Has(media.Discontinuity) {
		t.Error("want the first packet of each epoch marked, and no other")
	}
	if first.Params.Width != 0 || mark.Params.Width != 1280 || mark.Params.Epoch != first.Params.Epoch+1 {
		t.Errorf("epochs %+v then %+v: want the next number and the new width", first.Params, mark.Params)
	}
	if first.Params.Epoch != uint32(birth/1e6) {
		t.Errorf("first epoch is %d, want the second of birth", first.Params.Epoch)
	}
}

func TestTakeover(t *testing.T) {
	l, old := newTestLog(t, Config{})
	write(t, old, 0, 3)
	w := l.Writer()
	if err := old.Write(packet(3)); !errors.Is(err, ErrReplaced) {
		t.Fatalf("old writer: %v, want ErrReplaced", err)
	}
	if w.Next() != birth+3 {
		t.Fatalf("the new writer goes on at %d, want %d", w.Next()-birth, 3)
	}
	write(t, w, 3, 5)
	got, _ := drain(l.Cursor(Offset(birth)))
	wantRange(t, "across the takeover", got, 0, 5)
}

func TestReadWaits(t *testing.T) {
	l, w := newTestLog(t, Config{})
	c := l.Cursor(Live())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := c.Read(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("read of an empty log under a cancelled context: %v", err)
	}
	ready := c.Ready()
	select {
	case <-ready:
		t.Fatal("ready before there is anything to read")
	default:
	}
	write(t, w, 0, 1)
	<-ready
	if p, _, err := c.Read(t.Context()); err != nil || p.Offset != birth {
		t.Fatalf("read %v, %v; want packet 0", p, err)
	}
	l.Close()
	if _, _, err := c.Read(t.Context()); !errors.Is(err, io.EOF) {
		t.Fatalf("read of a closed log: %v, want io.EOF", err)
	}
}

func TestKeyframeRequestsMerge(t *testing.T) {
	l, w := newTestLog(t, Config{})
	for range 100 {
		l.RequestKeyframe()
	}
	<-w.KeyframeRequests()
	select {
	case <-w.KeyframeRequests():
		t.Fatal("a second wish was queued; want them merged")
	default:
	}
}

// TestProperties drives a log with random writes and cursors and checks every read against a model
// that remembers all that was ever written.
func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		config := Config{
			Window:     time.Duration(rapid.IntRange(1, 200).Draw(t, "window frames")) * time.Second / 30,
			MaxBytes:   rapid.IntRange(packetOverhead+8, 1<<16).Draw(t, "max bytes"),
			MaxPackets: rapid.IntRange(1, 2*firstSlots).Draw(t, "max packets"),
		}
		m := &model{Log: New(videoID, birth, config), written: map[int64]bool{}}
		m.w = m.Writer()
		_ = m.w.Begin(videoParams)
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) { m.append(t, rapid.Int64Range(1, 40).Draw(t, "packets"), 1) },
			"jump":   func(t *rapid.T) { m.append(t, 1, rapid.Int64Range(2, 2000).Draw(t, "by")) },
			"fill":   m.fill,
			"join":   m.join,
			"read":   m.read,
			"":       m.check,
		})
	})
}

type model struct {
	*Log
	w       *Writer
	next    int64 // frame number
	written map[int64]bool
	leaps   []leap
	cursors []*reader
}

// leap is where a jump of offsets began the window anew: those between never were.
type leap struct{ end, at int64 }

type reader struct {
	*Cursor
	last int64
	read bool
}

func (m *model) append(t *rapid.T, n, step int64) {
	for range n {
		m.next += step
		if head := m.Head() - birth; m.next+1-int64(m.config.MaxPackets) >= head {
			m.leaps = append(m.leaps, leap{head, m.next})
		}
		if err := m.w.Write(packet(m.next)); err != nil {
			t.Fatalf("append %d: %v", m.next, err)
		}
		m.written[m.next] = true
	}
}

func (m *model) fill(t *rapid.T) {
	n := m.next - rapid.Int64Range(0, 500).Draw(t, "back")
	err := m.w.Write(packet(n))
	switch inWindow := birth+n >= m.Tail(); {
	case inWindow && m.written[n] && !errors.Is(err, ErrDuplicate):
		t.Fatalf("second copy of %d: %v", n, err)
	case inWindow && !m.written[n] && err != nil:
		t.Fatalf("fill hole %d: %v", n, err)
	case !inWindow && !errors.Is(err, ErrLate):
		t.Fatalf("late packet %d: %v", n, err)
	}
	if err == nil {
		m.next, m.written[n] = max(m.next, n), true
	}
}

func (m *model) join(t *rapid.T) {
	starts := []Start{Live(), LastKeyframe(), Offset(birth + m.next - rapid.Int64Range(-5, 600).Draw(t, "back")),
		KeyframeBefore(m.NewestTime().Add(-time.Duration(rapid.IntRange(0, 300).Draw(t, "ago")) * time.Second / 30))}
	m.cursors = append(m.cursors, &reader{Cursor: m.Cursor(rapid.SampledFrom(starts).Draw(t, "start"))})
}

func (m *model) read(t *rapid.T) {
	if len(m.cursors) == 0 {
		return
	}
	r := rapid.SampledFrom(m.cursors).Draw(t, "cursor")
	for range rapid.IntRange(1, 300).Draw(t, "reads") {
		p, lost := r.Next()
		if p == nil {
			return
		}
		n := p.Offset - birth
		if string(p.Payload) != string(payload(n)) || p.Params == nil || !m.written[n] {
			t.Fatalf("offset %d has the wrong packet %+v", n, p)
		}
		if low, high := m.missed(r.last+1, n); r.read && (lost < low || lost > high) {
			t.Fatalf("read %d after %d with %d said to be lost, want %d to %d", n, r.last, lost, low, high)
		}
		r.last, r.read = n, true
	}
}

// missed is how many offsets from one to another are lost to a reader that reads none of them. One that has more than
// one leap before it cannot know them all.
func (m *model) missed(from, to int64) (low, high int64) {
	ahead := 0
	high = to - from
	for _, l := range m.leaps {
		if l.at > from {
			ahead++
		}
		if from <= l.end && l.at <= to {
			high -= l.at - l.end
		}
	}
	if ahead > 1 {
		return 0, to - from
	}
	return high, high
}

func (m *model) check(t *rapid.T) {
	s := m.Stats()
	if held := m.Head() - m.Tail(); held > int64(m.config.MaxPackets) {
		t.Fatalf("the window holds %d offsets, its bound is %d", held, m.config.MaxPackets)
	}
	if s.WindowBytes > m.config.MaxBytes && s.WindowPackets > 1 {
		t.Fatalf("the window holds %d bytes, its bound is %d", s.WindowBytes, m.config.MaxBytes)
	}
	if key := m.lastKey.Load(); key != noOffset && m.Get(key) == nil {
		t.Fatalf("the newest keyframe %d is not in the window", key-birth)
	}
	count := 0
	for offset := m.Tail(); offset < m.Head(); offset++ {
		p := m.Get(offset)
		if (p != nil) != m.written[offset-birth] {
			t.Fatalf("offset %d: in the window is %v, written was %v", offset-birth, p != nil, m.written[offset-birth])
		}
		if p != nil {
			count++
		}
	}
	if count != s.WindowPackets {
		t.Fatalf("the window has %d packets and says %d", count, s.WindowPackets)
	}
}

// TestConcurrentReaders lets readers of every kind race one writer that evicts under their feet.
func TestConcurrentReaders(t *testing.T) {
	l, w := newTestLog(t, Config{Window: time.Second, MaxPackets: firstSlots})
	const frames = 20000
	var readers sync.WaitGroup
	for i := range 8 {
		c := l.Cursor([]Start{Live(), LastKeyframe(), Offset(birth), KeyframeBefore(0)}[i%4])
		readers.Go(func() {
			last := int64(-1)
			for {
				p, lost, err := c.Read(t.Context())
				if err != nil {
					if !errors.Is(err, io.EOF) {
						t.Error(err)
					}
					return
				}
				n := p.Offset - birth
				if n <= last || last >= 0 && n != last+1+lost || string(p.Payload) != string(payload(n)) {
					t.Errorf("read %d after %d, %d lost, payload %x", n, last, lost, p.Payload)
					return
				}
				last = n
			}
		})
	}
	write(t, w, 0, frames)
	l.Close()
	readers.Wait()
}

// BenchmarkFanOut is one append and one read of it by each of n cursors. The allocations are those
// of the append (slabs), whatever n is.
func BenchmarkFanOut(b *testing.B) {
	for _, n := range []int{1, 100, 10000} {
		b.Run(fmt.Sprintf("cursors=%d", n), func(b *testing.B) {
			l, w := newTestLog(b, Config{})
			cursors := make([]*Cursor, n)
			for i := range cursors {
				cursors[i] = l.Cursor(Live())
			}
			p := packet(0)
			p.Payload = make([]byte, 1152)
			b.ReportAllocs()
			for b.Loop() {
				_ = w.Write(p)
				p.Offset, p.Ticks = p.Offset+1, p.Ticks+tick/10
				for _, c := range cursors {
					if got, _ := c.Next(); got == nil {
						b.Fatal("a cursor missed the packet")
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/read")
		})
	}
}

// The rate of a source that has changed is its own as soon as there is enough of it, and nothing before.
func TestFrameRateIsThatOfTheEpoch(t *testing.T) {
	l, w := newTestLog(t, Config{Window: 4 * time.Second})
	write(t, w, 0, 90)
	ticks := packet(90).Ticks
	for n := range int64(300) {
		if n == 0 {
			if err := w.Begin(videoParams); err != nil {
				t.Fatal(err)
			}
		}
		p := packet(90 + n)
		p.Ticks = ticks + n*2*tick
		if err := w.Write(p); err != nil {
			t.Fatal(err)
		}
		s, of := l.Stats(), 15.0
		if n*2 < 15 { // frames of 1/15 s: not yet half a second
			of = 0
		}
		if math.Abs(s.FrameRate-of) > 0.01 {
			t.Fatalf("%d frames of the new epoch: %v frames per second, want %v", n+1, s.FrameRate, of)
		}
		if mixed := n > 0 && n < 15; mixed && (s.WindowFrameRate <= 15 || s.WindowFrameRate > 30) {
			t.Fatalf("%d frames of the new epoch: %v frames per second in the whole window, want between 15 and 30", n+1, s.WindowFrameRate)
		}
	}
	if s := l.Stats(); math.Abs(s.WindowFrameRate-15) > 0.01 {
		t.Errorf("%v frames per second are left of a window without the old epoch, want 15", s.WindowFrameRate)
	}
}

// A publisher that was away for a while has not changed its rates by that.
func TestRatesLeaveOutPauses(t *testing.T) {
	l, w := newTestLog(t, Config{Window: 12 * time.Second})
	away := func(from, to int64, frames time.Duration) {
		t.Helper()
		if err := w.Begin(videoParams); err != nil {
			t.Fatal(err)
		}
		for n := from; n < to; n++ {
			p := packet(n)
			p.Ticks += int64(frames) * tick
			if err := w.Write(p); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := func(what string) {
		t.Helper()
		if s := l.Stats(); math.Abs(s.WindowFrameRate-30) > 0.01 || math.Abs(s.Bitrate-30*64) > 50 {
			t.Errorf("%s: %v frames and %v bits per second, want 30 and about 1920", what, s.WindowFrameRate, s.Bitrate)
		}
	}
	write(t, w, 0, 90)
	want("before")
	away(90, 96, 150) // 5 s later, a fifth of a second
	want("after a pause")
	away(96, 150, 180)
	want("after a second, shorter one")
	away(150, 420, 180)
	want("when the first pause has left the window")
	write(t, w, 600, 1200)
	want("when all pauses have")
}

func TestJumpBeginsTheWindowAnew(t *testing.T) {
	l := New(media.TrackID{}, 0, Config{})
	w := l.Writer()
	if err := w.Begin(media.Params{Epoch: 7, ClockRate: 90000}); err != nil {
		t.Fatal(err)
	}
	const birth = 1_790_000_000_000_000 // a replica's first packet, an epoch of microseconds above zero
	for i := range int64(3) {
		if err := w.Write(media.Packet{Offset: birth + i, Ticks: i, Flags: media.Keyframe}); err != nil {
			t.Fatal(err)
		}
	}
	if l.Tail() != birth {
		t.Errorf("the window begins %d offsets before its first packet, want at it", birth-l.Tail())
	}
	if p, _ := l.Cursor(Offset(birth - 5)).Next(); p == nil || p.Offset != birth {
		t.Errorf("a cursor from before the jump reads %v, want the first packet behind it", p)
	}
}

func numbers(n int64) (list []int64) {
	for i := range n {
		list = append(list, i)
	}
	return list
}

// rebirth writes packets whose offsets begin far above those before.
func rebirth(t *testing.T, w *Writer, n int64) (first int64) {
	t.Helper()
	first = w.Next() + 1<<20
	for i := range n {
		p := packet(30 + i)
		p.Offset, p.Flags = first+i, p.Flags|media.Keyframe
		if err := w.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	return first
}

// TestReadersFinishTheWindowBeforeAJump has readers that are behind get everything: what was there before the jump, and
// what came after it. Only holes and what had left the window are lost, and counted.
func TestReadersFinishTheWindowBeforeAJump(t *testing.T) {
	const most = firstSlots
	for name, c := range map[string]struct {
		written []int64 // before the jump
		from    int64   // where the reader stands
		lost    int64   // in all
		skips   [skipReasons]uint64
	}{
		"level":            {[]int64{0, 1, 2, 3}, 4, 0, [skipReasons]uint64{}},
		"behind":           {[]int64{0, 1, 2, 3, 4, 5}, 2, 0, [skipReasons]uint64{}},
		"behind with hole": {[]int64{0, 1, 2, 4, 5}, 2, 1, [skipReasons]uint64{SkipHole: 1}},
		"overrun":          {numbers(most + 44), 0, 44, [skipReasons]uint64{SkipOverrun: 44}},
	} {
		t.Run(name, func(t *testing.T) {
			l, w := newTestLog(t, Config{MaxPackets: most})
			for _, n := range c.written {
				if err := w.Write(packet(n)); err != nil {
					t.Fatal(err)
				}
			}
			tail := l.Tail()
			reader := l.Cursor(Offset(birth + c.from))
			first := rebirth(t, w, 5)
			var want []int64
			for _, n := range c.written {
				if offset := birth + n; n >= c.from && offset >= tail {
					want = append(want, offset)
				}
			}
			for i := range int64(5) {
				want = append(want, first+i)
			}
			sum := int64(0)
			for _, offset := range want {
				p, lost := reader.Next()
				if p == nil || p.Offset != offset {
					t.Fatalf("read %v, want offset %d", p, offset)
				}
				if l.Get(offset) != p {
					t.Errorf("offset %d cannot be had again", offset)
				}
				sum += lost
			}
			if s := l.Stats(); sum != c.lost || s.Skips != c.skips || s.WindowPackets != 5 {
				t.Errorf("%d lost, skipped %v, %d in the window; want %d, %v and 5", sum, s.Skips, s.WindowPackets, c.lost, c.skips)
			}
		})
	}
}

// TestTheWindowBeforeAJumpIsLetGoOf bounds it in time, and both together in bytes.
func TestTheWindowBeforeAJumpIsLetGoOf(t *testing.T) {
	for name, c := range map[string]struct {
		config Config
		after  int64 // packets, of 30 a second
	}{
		"time":  {Config{}, 61},
		"bytes": {Config{MaxBytes: 30 * (packetOverhead + 8)}, 11},
	} {
		l, w := newTestLog(t, c.config)
		write(t, w, 0, 20)
		reader := l.Cursor(Offset(birth))
		first := rebirth(t, w, c.after-1)
		if l.renewal.Load().before == nil {
			t.Errorf("%s: the window before is let go of too early", name)
		}
		p := packet(30 + c.after)
		p.Offset = first + c.after
		if err := w.Write(p); err != nil {
			t.Fatal(err)
		}
		if l.renewal.Load().before != nil {
			t.Errorf("%s: the window before is kept", name)
		}
		if p, lost := reader.Next(); p == nil || p.Offset != first || lost != 20 {
			t.Errorf("%s: a reader that was left behind reads %v with %d lost, want the new window with 20 lost", name, p, lost)
		}
	}
}

// TestLagOverAJumpIsCountedOnce skips from one window into the next.
func TestLagOverAJumpIsCountedOnce(t *testing.T) {
	l, w := newTestLog(t, Config{})
	write(t, w, 0, 10)
	reader := l.Cursor(Offset(birth + 4))
	reader.MaxLag = time.Millisecond
	first := rebirth(t, w, 3)
	if p, lost := reader.Next(); p == nil || p.Offset != first+2 || lost != 8 {
		t.Errorf("read %v with %d lost, want the newest keyframe with 8 lost", p, lost)
	}
	if s := l.Stats(); s.Skips[SkipLag] != 8 {
		t.Errorf("skipped %v, want 8 for lag", s.Skips)
	}
}
