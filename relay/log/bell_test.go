package log

import (
	"math"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"banyan/relay/media"
)

// Whoever waits for the end of a frame is woken by what it waits for, whatever is lost, late or of another epoch, and
// not by each packet.
func TestFrameReady(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := New(videoID, birth, Config{})
		m := &frameModel{Log: l, w: l.Writer(), written: map[int64]bool{}}
		_ = m.w.Begin(videoParams)
		for range rapid.IntRange(1, 4).Draw(t, "waiters") {
			m.waiters = append(m.waiters, &waiter{Cursor: l.Cursor(Live())})
		}
		t.Repeat(map[string]func(*rapid.T){
			"packet": func(t *rapid.T) { m.packet(t, m.next+1) },
			"frame": func(t *rapid.T) {
				m.at += tick
				m.packet(t, m.next+1)
			},
			"jump":  func(t *rapid.T) { m.packet(t, m.next+rapid.Int64Range(2, 20).Draw(t, "by")) },
			"late":  func(t *rapid.T) { m.packet(t, m.next-rapid.Int64Range(0, 30).Draw(t, "back")) },
			"epoch": m.epoch,
			"wait":  m.wait,
		})
		l.Close()
		for _, w := range m.waiters {
			if w.ready != nil && !rung(w.ready) {
				t.Fatal("the end of the log woke nobody")
			}
		}
	})
}

type frameModel struct {
	*Log
	w       *Writer
	next    int64 // newest packet
	at      int64 // ticks of the frame in work
	written map[int64]bool
	waiters []*waiter
}

// waiter waits for a frame of time from.
type waiter struct {
	*Cursor
	seen  *media.Params // of the packet read last
	from  media.Time
	ready <-chan struct{} // nil while it does not wait
	due   bool            // what it waits for has come
	quiet bool            // nothing has come that might have woken it
}

// packet writes packet n, at random the end of a frame.
func (m *frameModel) packet(t *rapid.T, n int64) {
	p := packet(n)
	p.Ticks, p.Flags = packet(0).Ticks+m.at, 0
	if rapid.Bool().Draw(t, "ends") {
		p.Flags = media.FrameEnd
	}
	if n < 0 || m.written[n] {
		return
	}
	if err := m.w.Write(p); err != nil {
		t.Fatalf("write packet %d: %v", n, err)
	}
	m.written[n], m.next = true, max(m.next, n)
	p.Params = m.Get(p.Offset).Params
	for _, w := range m.waiters {
		if w.ready == nil || p.Flags == 0 {
			continue
		}
		w.quiet = false
		if p.Offset >= w.Offset() && (p.Time() >= w.from || w.seen != p.Params) {
			w.due = true
		}
	}
	m.check(t)
}

func (m *frameModel) epoch(t *rapid.T) {
	_ = m.w.Begin(videoParams)
	m.at += rapid.Int64Range(-100*tick, 100*tick).Draw(t, "leap")
}

// wait lets one waiter read all that there is, and wait.
func (m *frameModel) wait(t *rapid.T) {
	w := rapid.SampledFrom(m.waiters).Draw(t, "waiter")
	for p, _ := w.Next(); p != nil; p, _ = w.Next() {
		w.seen = p.Params
	}
	w.due, w.quiet = false, true
	if w.from = math.MinInt64; rapid.Bool().Draw(t, "any frame") {
		w.ready = w.FrameReady()
	} else {
		w.from = m.NewestTime().Add(time.Duration(rapid.IntRange(-3, 10).Draw(t, "frames ahead")) * time.Second / 30)
		w.ready = w.FrameReadyAt(w.from, w.seen)
	}
	m.check(t)
}

func (m *frameModel) check(t *rapid.T) {
	for i, w := range m.waiters {
		switch {
		case w.ready == nil:
		case w.due && !rung(w.ready):
			t.Fatalf("waiter %d was not woken by a frame of time %v or later", i, w.from)
		case w.quiet && rung(w.ready):
			t.Fatalf("waiter %d was woken, and no frame had ended", i)
		}
	}
}

func rung(ready <-chan struct{}) bool {
	select {
	case <-ready:
		return true
	default:
		return false
	}
}

// One who waits for a later frame sleeps through those before, unless others wait for them.
func TestFrameReadyAtSleeps(t *testing.T) {
	l, w := newTestLog(t, Config{})
	write(t, w, 0, 1)
	c := l.Cursor(Live())
	write(t, w, 1, 2)
	drain(c)
	ready := c.FrameReadyAt(l.NewestTime().Add(99*time.Millisecond), l.Params()) // the third frame from here
	for n := int64(2); n < 4; n++ {
		if write(t, w, n, n+1); rung(ready) {
			t.Fatalf("woken by frame %d", n)
		}
	}
	if write(t, w, 4, 5); !rung(ready) {
		t.Fatal("not woken by the frame it waits for")
	}
}

// Who asks when what they wait for is there already need not wait.
func TestFrameReadyAtOnce(t *testing.T) {
	l, w := newTestLog(t, Config{})
	c := l.Cursor(Live())
	write(t, w, 0, 3)
	if !rung(c.FrameReady()) || !rung(c.FrameReadyAt(l.NewestTime(), l.Params())) {
		t.Error("the frames that are there do not count")
	}
	if rung(c.FrameReadyAt(l.NewestTime().Add(1), l.Params())) {
		t.Error("ready before a frame of that time is there")
	}
	if !rung(c.FrameReadyAt(l.NewestTime().Add(1), nil)) {
		t.Error("the frames of an epoch that was not seen do not count")
	}
}

// Readers who sleep until the next frame ends are woken by it, however they race with the writer: it writes each frame
// when all have read the one before, and may be about to sleep.
func TestConcurrentFrameReaders(t *testing.T) {
	l, w := newTestLog(t, Config{})
	const frames, perFrame, waiting = 5000, 3, 4
	read := make(chan struct{}, waiting)
	var readers sync.WaitGroup
	for i := range waiting {
		c := l.Cursor(Offset(birth))
		readers.Go(func() {
			from := media.Time(math.MinInt64)
			for !c.Ended() {
				if i%2 == 0 {
					<-c.FrameReady()
				} else {
					<-c.FrameReadyAt(from, l.Params())
				}
				for p, _ := c.Next(); p != nil; p, _ = c.Next() {
					if p.Has(media.FrameEnd) {
						from = p.Time() + 1
						read <- struct{}{}
					}
				}
			}
		})
	}
	for n := range int64(frames * perFrame) {
		p := packet(n / perFrame)
		p.Offset = birth + n
		if p.Flags = 0; n%perFrame == perFrame-1 {
			p.Flags = media.FrameEnd
		}
		if err := w.Write(p); err != nil {
			t.Fatal(err)
		}
		for range waiting {
			if p.Flags == 0 {
				break
			}
			select {
			case <-read:
			case <-time.After(20 * time.Second):
				l.Close() // ends the readers
				t.Fatalf("frame %d woke not everyone who waited for it", n/perFrame)
			}
		}
	}
	l.Close()
	readers.Wait()
}
