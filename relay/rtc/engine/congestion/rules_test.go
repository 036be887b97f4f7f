package congestion

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

var epoch = time.Unix(1_700_000_000, 0)

// TestNumbers counts without a hole, around the corner too.
func TestNumbers(t *testing.T) {
	e := NewEstimator(1_000_000, epoch)
	for i := range 200_000 {
		if seq := e.Sent(1200, epoch.Add(time.Duration(i)*time.Millisecond)); seq != uint16(i) {
			t.Fatalf("packet %d has number %d", i, seq)
		}
	}
}

// TestLies hears a viewer that makes up everything. It can spoil nothing but its own figures, and not even make them
// unreadable.
func TestLies(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		e := NewEstimator(1_000_000, epoch)
		var c Chooser
		var p Pacer
		now, format := epoch, 1
		for range 300 {
			now = now.Add(time.Duration(random.IntN(100)) * time.Millisecond)
			for range random.IntN(20) {
				e.Sent(random.IntN(70_000), now)
			}
			b := report(uint16(random.IntN(1<<16)), uint16(1+random.IntN(30)), 0xd5, 0x55, 0xd5, 0x55, 0xd5, 0x55, 0xd5, 0x55, 0xd5, 0x55)
			if random.IntN(2) == 0 { // of what was sent, at least
				binary.BigEndian.PutUint16(b[feedbackHeader:], uint16(max(0, e.next-int64(random.IntN(40)))))
			}
			binary.BigEndian.PutUint32(b[feedbackHeader+4:], random.Uint32())
			for range 70 {
				b = append(b, byte(random.Uint32()))
			}
			_ = e.Hear(b, now)
			check(t, e, now)
			link := e.Link(now)
			var padded int
			format, padded = c.Choose(formats, format, link, now)
			if format < 0 || format >= len(formats) || padded < 0 || padded > 2*formats[len(formats)-1] {
				t.Fatalf("format %d, padded to %d, for %+v", format, padded, link)
			}
			p.Turn(link, padded, now)
			for n := 0; p.Padding(); n++ {
				p.Padded(1200)
				if n > 100 {
					t.Fatal("padding without end")
				}
			}
		}
	}
}

func check(t *testing.T, e *Estimator, now time.Time) {
	t.Helper()
	link := e.Link(now)
	for _, f := range []float64{e.rate, e.loss.rate, e.delay.trend, e.delay.threshold, e.delay.smoothed, link.Loss} {
		if math.IsNaN(f) || f < 0 && f != e.delay.trend && f != e.delay.smoothed {
			t.Fatalf("%v among %+v", f, link)
		}
	}
	if link.Rate < leastRate || link.Delivered < 0 || link.Capacity < 0 || link.Loss > 1 {
		t.Fatalf("%+v", link)
	}
}

// FuzzEstimator hears foreign bytes of what was sent.
func FuzzEstimator(f *testing.F) {
	f.Add(report(0, 2, 0x20, 2, 4, 4), report(2, 3, 0x20, 3, 40, 4, 0))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		e := NewEstimator(1_000_000, epoch)
		now := epoch
		for i := range 40 {
			now = now.Add(10 * time.Millisecond)
			for range 5 {
				e.Sent(1200, now)
			}
			_ = e.Hear([][]byte{a, b}[i%2], now)
			check(t, e, now)
		}
	})
}

// TestPacer sends a keyframe at the pace that is said, and audio meanwhile.
func TestPacer(t *testing.T) {
	const rate, size = 2_000_000, 1200
	var p Pacer
	now := epoch
	left, sounds := 80, 0
	for turn := 0; left > 0; turn++ {
		if turn > 100 {
			t.Fatalf("%d packets of a keyframe are left after %v", left, now.Sub(epoch))
		}
		p.Turn(Link{Rate: rate}, 0, now)
		if turn%4 == 0 {
			p.Audio(120)
			sounds++
		}
		sent := 0
		for left > 0 && p.Video(size) {
			left--
			sent++
		}
		if sent > 6 { // what is due in 10 ms
			t.Fatalf("%d packets in one turn", sent)
		}
		now = now.Add(PaceTurn)
	}
	took := now.Sub(epoch)
	want := time.Duration(80 * size * 8 / (paceFactor * rate) * float64(time.Second))
	if took < want*8/10 || took > want*12/10 {
		t.Errorf("a keyframe took %v, want %v with %d packets of audio", took, want, sounds)
	}
}

// TestFull holds video back, and no audio.
func TestFull(t *testing.T) {
	var p Pacer
	p.Turn(Link{Rate: 1_000_000, Full: true}, 2_000_000, epoch)
	if p.Video(100) || p.Padding() {
		t.Error("video or padding goes into a link that is full")
	}
	for range 1000 { // more than there should ever be
		p.Audio(1000)
	}
	p.Turn(Link{Rate: 1_000_000}, 0, epoch.Add(100*time.Millisecond))
	if !p.Video(100) {
		t.Error("video starves beside audio")
	}
}

// TestPadding fills up to a rate and no further.
func TestPadding(t *testing.T) {
	const probe = 2_000_000
	var p Pacer
	now, media, padding := epoch, 0, 0
	for turn := range 400 {
		p.Turn(Link{Rate: 1_000_000}, probe, now)
		if turn%6 == 0 && p.Video(2400) {
			media += 2400
		}
		for p.Padding() {
			p.Padded(1200)
			padding += 1200
		}
		now = now.Add(PaceTurn)
	}
	rate := float64(8*(media+padding)) / now.Sub(epoch).Seconds()
	if media != 67*2400 || rate < 0.95*probe || rate > 1.05*probe {
		t.Errorf("%d bytes of media and %d of padding are %.0f bit/s, want %d", media, padding, rate, probe)
	}
}

// TestUpOnlyWhatHeld goes up to no more than arrived in a probe, and down without one.
func TestUpOnlyWhatHeld(t *testing.T) {
	for _, test := range []struct{ carries, want int }{
		{600_000, 0}, {1_250_000, 0}, {1_500_000, 1}, {2_400_000, 1}, {4_000_000, 2},
	} {
		var c Chooser
		now, format, padded := epoch, 0, 0
		for range 4000 {
			before := format
			sent := max(padded, formats[format])
			link := Link{Rate: test.carries, Delivered: min(sent, test.carries)}
			if sent > test.carries {
				link.Queue, link.Capacity = 2*second, test.carries
			}
			if format, padded = c.Choose(formats, format, link, now); format != before && formats[format] > test.carries {
				t.Fatalf("up to %d on a link of %d", formats[format], test.carries)
			}
			now = now.Add(PaceTurn)
		}
		if format != test.want {
			t.Errorf("format %d on a link of %d, want %d", format, test.carries, test.want)
		}
	}
	var c Chooser
	c.Choose(formats, 2, Link{Rate: 3_000_000}, epoch)
	if format, _ := c.Choose(formats, 2, Link{Rate: 450_000, Queue: longWait}, epoch.Add(time.Second)); format != 0 {
		t.Errorf("format %d on a link that breaks down, want 0 at once", format)
	}
}

// TestNothingAllocated sends and hears.
func TestNothingAllocated(t *testing.T) {
	e := NewEstimator(1_000_000, epoch)
	var c Chooser
	var p Pacer
	now := epoch
	b := report(0, 7, 0xd5, 0x55, 4, 4, 4, 4, 4, 4, 4, 0)
	if n := testing.AllocsPerRun(1000, func() {
		now = now.Add(PaceTurn)
		first := e.Sent(1200, now)
		for range 6 {
			e.Sent(1200, now)
		}
		binary.BigEndian.PutUint16(b[feedbackHeader:], first)
		_ = e.Hear(b, now)
		link := e.Link(now)
		_, padded := c.Choose(formats, 1, link, now)
		p.Turn(link, padded, now)
		p.Video(1200)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSent(b *testing.B) {
	e := NewEstimator(1_000_000, epoch)
	now := epoch
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%10 == 0 {
			now = now.Add(33 * time.Millisecond)
		}
		e.Sent(1200, now)
	}
}
