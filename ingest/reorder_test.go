package ingest

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtp"
	"pgregory.net/rapid"
)

func at(ms int) time.Time { return noon.Add(time.Duration(ms) * time.Millisecond) }

// numbered is packet n of a stream whose 16-bit sequence numbers start at first; n is in the payload.
func numbered(first uint16, n int) *rtp.Packet {
	return &rtp.Packet{
		Header:  rtp.Header{Version: 2, SequenceNumber: first + uint16(n), Timestamp: uint32(n) * 3000, SSRC: 7, PayloadType: 96},
		Payload: binary.BigEndian.AppendUint32(nil, uint32(n)),
	}
}

// sink collects what a Reorder passes on, checking that it is what was sent.
type sink struct {
	t     interface{ Fatalf(string, ...any) }
	got   []int // packet numbers, as they came
	late  []int
	first []int // that began a numbering
	now   time.Time
	wait  time.Duration // the longest that a packet was held
}

func (s *sink) take(p Packet) {
	n := int(binary.BigEndian.Uint32(p.Payload))
	if p.Timestamp != uint32(n)*3000 {
		s.t.Fatalf("packet %d was passed on with timestamp %d; its fields are mixed up", n, p.Timestamp)
	}
	if p.First {
		s.first = append(s.first, n)
	}
	if p.Late {
		s.late = append(s.late, n)
		return
	}
	s.got = append(s.got, n)
	s.wait = max(s.wait, s.now.Sub(p.Arrived))
}

// push feeds packets that arrive at ms.
func (s *sink) push(r *Reorder, ms int, first uint16, numbers ...int) {
	s.now = at(ms)
	for _, n := range numbers {
		r.Push(numbered(first, n), at(ms), s.take)
	}
}

func (s *sink) want(what string, numbers ...int) {
	if !slices.Equal(s.got, numbers) {
		s.t.Fatalf("%s: passed on %v, want %v", what, s.got, numbers)
	}
}

func TestReorderMends(t *testing.T) {
	r := &Reorder{Wait: 100 * time.Millisecond}
	s := &sink{t: t}
	s.push(r, 0, 65534, 0, 2, 4, 3) // wraps in the midst
	s.want("behind a hole packets wait", 0)
	if deadline, ok := r.Deadline(); !ok || !deadline.Equal(at(100)) {
		t.Fatalf("deadline %v, %v; want 100 ms after the hole was seen", deadline, ok)
	}
	s.push(r, 99, 65534, 1)
	s.want("the hole was mended in time", 0, 1, 2, 3, 4)
	s.push(r, 99, 65534, 1, 3)
	s.want("duplicates are dropped", 0, 1, 2, 3, 4)
	if got := r.Stats(); got.Mended != 2 || got.Duplicates != 2 || got.Lost != 0 {
		t.Fatalf("stats %+v; want 2 mended, 2 duplicates, none lost", got)
	}
	if _, ok := r.Deadline(); ok {
		t.Fatal("there is a deadline though nothing waits")
	}
}

func TestReorderGivesUp(t *testing.T) {
	r := &Reorder{Wait: 100 * time.Millisecond}
	s := &sink{t: t}
	s.push(r, 0, 0, 0, 2)
	s.push(r, 50, 0, 4)
	r.Expire(at(99), s.take)
	s.want("one tick before the deadline", 0)
	r.Expire(at(100), s.take)
	s.want("at the deadline the first hole is given up, not the one seen later", 0, 2)
	s.push(r, 149, 0, 1)
	if !slices.Equal(s.late, []int{1}) {
		t.Fatalf("late packets %v, want packet 1", s.late)
	}
	s.push(r, 150, 0, 5)
	s.want("arrivals move the clock, too", 0, 2, 4, 5)
	s.push(r, 151, 0, 1)
	if got := r.Stats(); got.Lost != 2 || got.Late != 1 || got.Duplicates != 1 {
		t.Fatalf("stats %+v; want 2 lost, 1 late, and the late one's twin as a duplicate", got)
	}
}

func TestReorderLearnsToWait(t *testing.T) {
	r := &Reorder{Wait: 100 * time.Millisecond, MaxWait: 250 * time.Millisecond}
	s := &sink{t: t}
	wait := func(ms int) time.Duration {
		deadline, ok := r.Deadline()
		if !ok {
			t.Fatal("nothing waits")
		}
		return deadline.Sub(at(ms))
	}
	s.push(r, 0, 0, 0, 2)
	if got := wait(0); got != 100*time.Millisecond {
		t.Fatalf("waits %v at first, want 100 ms", got)
	}
	r.Expire(at(100), s.take)
	s.push(r, 160, 0, 1) // late: repairs take 160 ms here
	s.push(r, 200, 0, 4)
	if got := wait(200); got != 200*time.Millisecond {
		t.Fatalf("waits %v after a repair of 160 ms, want a quarter more than that", got)
	}
	s.push(r, 440, 0, 3)
	s.push(r, 500, 0, 6)
	if got := wait(500); got != 250*time.Millisecond {
		t.Fatalf("waits %v after a repair of 240 ms, want no more than 250 ms", got)
	}
	for n := 7; n < 200; n += 2 { // repairs are quick again
		s.push(r, 500, 0, n-2, n+1)
	}
	if got := wait(500); got >= 110*time.Millisecond {
		t.Fatalf("still waits %v after many quick repairs, want it back near 100 ms", got)
	}
}

func TestReorderRestarts(t *testing.T) {
	for _, c := range []struct {
		name  string
		feed  func(r *Reorder, s *sink)
		want  []int
		first []int
		stray uint64
	}{
		{"a lone packet far away is a stray", func(r *Reorder, s *sink) {
			s.push(r, 0, 0, 0, 1, 10000, 2, 3)
		}, []int{0, 1, 2, 3}, []int{0}, 0},
		{"two lone packets far away are strays", func(r *Reorder, s *sink) {
			s.push(r, 0, 0, 0, 10000, 20000, 1)
		}, []int{0, 1}, []int{0}, 1},
		{"two in a row far away are a new beginning", func(r *Reorder, s *sink) {
			s.push(r, 0, 0, 0, 1, 10000, 10001, 10002)
		}, []int{0, 1, 10000, 10001, 10002}, []int{0, 10000}, 0},
		{"what waits goes first", func(r *Reorder, s *sink) {
			s.push(r, 0, 0, 0, 2, 10000, 10001)
		}, []int{0, 2, 10000, 10001}, []int{0, 10000}, 0},
		{"backwards as well", func(r *Reorder, s *sink) {
			s.push(r, 0, 0, 10000, 0, 1, 2)
		}, []int{10000, 0, 1, 2}, []int{10000, 0}, 0},
		{"before the beginning", func(r *Reorder, s *sink) {
			s.push(r, 0, 0, 5, 4, 6)
		}, []int{5, 6}, []int{5}, 1},
		{"another SSRC", func(r *Reorder, s *sink) {
			s.push(r, 0, 0, 0, 1)
			other := numbered(0, 50)
			other.SSRC = 8
			r.Push(other, at(0), s.take)
		}, []int{0, 1, 50}, []int{0, 50}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &Reorder{Wait: time.Second}
			s := &sink{t: t}
			c.feed(r, s)
			s.want(c.name, c.want...)
			if !slices.Equal(s.first, c.first) || r.Stats().Strays != c.stray {
				t.Fatalf("numberings began at %v with %d strays, want %v with %d", s.first, r.Stats().Strays, c.first, c.stray)
			}
		})
	}
}

func TestReorderIsBounded(t *testing.T) {
	r := &Reorder{Wait: time.Hour}
	s := &sink{t: t}
	s.push(r, 0, 0, 0)
	for n := 2; n < 3*maxHeld; n++ {
		s.push(r, 0, 0, n)
	}
	if got := r.Stats(); got.Lost != 1 || got.Overflows != 1 {
		t.Fatalf("stats %+v; want the one hole given up early", got)
	}
	if len(s.got) != 3*maxHeld-1 || len(r.slots) > maxHeld || len(r.free) > maxHeld {
		t.Fatalf("passed on %d with %d slots and %d buffers", len(s.got), len(r.slots), len(r.free))
	}
	s.push(r, 0, 0, 3*maxHeld+maxHeld+100) // a hole wider than everything
	if got := s.got[len(s.got)-1]; got != 3*maxHeld+maxHeld+100 {
		t.Fatalf("last passed on is %d, want the packet behind the wide hole", got)
	}
}

// arrival is a packet as a network delivers it.
type arrival struct{ n, ms int }

// journey sends packets, one per 3 ms, through a network that loses, delays and doubles them.
func journey(t *rapid.T, mostDelay int, lossy bool) (arrivals []arrival, arrived map[int]bool) {
	arrived = map[int]bool{}
	count := rapid.IntRange(1, 300).Draw(t, "packets")
	for n := range count {
		copies := 1
		if lossy {
			copies = rapid.SampledFrom([]int{1, 1, 1, 1, 1, 0, 2, 3}).Draw(t, "copies")
		}
		if n == 0 {
			copies = 1
		}
		for range copies {
			delay := 0
			if n > 0 { // the first is there first: what is before it has no place
				delay = rapid.IntRange(0, mostDelay).Draw(t, "delay")
			}
			arrivals = append(arrivals, arrival{n, n*3 + delay})
			arrived[n] = true
		}
	}
	slices.SortStableFunc(arrivals, func(a, b arrival) int { return a.ms - b.ms })
	return arrivals, arrived
}

// deliver plays a journey, waking the Reorder at its deadlines.
func deliver(r *Reorder, s *sink, first uint16, arrivals []arrival) {
	for _, a := range arrivals {
		for {
			deadline, ok := r.Deadline()
			if !ok || deadline.After(at(a.ms)) {
				break
			}
			s.now = deadline
			r.Expire(deadline, s.take)
		}
		s.push(r, a.ms, first, a.n)
	}
}

func TestReorderProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := rapid.Uint16().Draw(t, "first sequence number")
		arrivals, arrived := journey(t, 200, true)
		r := &Reorder{Wait: 60 * time.Millisecond, MaxWait: 120 * time.Millisecond}
		s := &sink{t: t}
		deliver(r, s, first, arrivals)
		if s.wait > r.MaxWait {
			t.Fatalf("a packet was held for %v, more than %v", s.wait, r.MaxWait)
		}
		r.Flush(s.take)
		if !slices.IsSorted(s.got) {
			t.Fatalf("passed on out of order: %v", s.got)
		}
		all := slices.Sorted(slices.Values(append(slices.Clone(s.got), s.late...)))
		if len(slices.Compact(slices.Clone(all))) != len(all) {
			t.Fatalf("passed on twice: %v", all)
		}
		if len(all) != len(arrived) {
			t.Fatalf("passed on %d packets of the %d that arrived", len(all), len(arrived))
		}
		st := r.Stats()
		if sum := st.Released + st.Late + st.Duplicates + st.Strays; sum != st.Received || st.Received != uint64(len(arrivals)) {
			t.Fatalf("accounts do not add up: %+v for %d arrivals", st, len(arrivals))
		}
		if highest := all[len(all)-1]; st.Lost+st.Released != uint64(highest+1) {
			t.Fatalf("%d lost and %d released do not make the %d places", st.Lost, st.Released, highest+1)
		}
	})
}

func TestReorderKeepsAllThatIsInTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := rapid.Uint16().Draw(t, "first sequence number")
		arrivals, arrived := journey(t, 59, false)
		r := &Reorder{Wait: 60 * time.Millisecond}
		s := &sink{t: t}
		deliver(r, s, first, arrivals)
		if len(s.got) != len(arrived) || !slices.IsSorted(s.got) {
			t.Fatalf("passed on %v of %d packets, all of which came in time", s.got, len(arrived))
		}
	})
}

func FuzzReorder(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2, 0, 1, 0, 4, 0, 3, 0xff, 0xff})
	f.Add([]byte{0xff, 0xfe, 0x40, 0, 0x40, 1, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		r := &Reorder{Wait: 50 * time.Millisecond, MaxWait: 90 * time.Millisecond}
		last := int64(-1 << 62)
		emit := func(p Packet) {
			if p.First {
				last = -1 << 62
			}
			if !p.Late && p.Sequence <= last {
				t.Fatalf("sequence %d after %d", p.Sequence, last)
			}
			if !p.Late {
				last = p.Sequence
			}
		}
		now := noon
		for ; len(script) >= 2; script = script[2:] {
			now = now.Add(time.Duration(script[1]%16) * time.Millisecond)
			r.Push(&rtp.Packet{Header: rtp.Header{
				SequenceNumber: binary.BigEndian.Uint16(script), SSRC: uint32(script[1] >> 7 & script[0] & 1)},
				Payload: script[:1]}, now, emit)
			if deadline, ok := r.Deadline(); ok && deadline.Sub(now) > r.MaxWait {
				t.Fatalf("deadline %v ahead", deadline.Sub(now))
			}
		}
		r.Flush(emit)
		if st := r.Stats(); r.held != 0 || st.Released+st.Late+st.Duplicates+st.Strays > st.Received {
			t.Fatalf("accounts do not add up: %d held, %+v", r.held, st)
		}
	})
}

func BenchmarkReorderInOrder(b *testing.B) {
	r := &Reorder{Wait: time.Second}
	p := numbered(0, 0)
	p.Payload = make([]byte, 1200)
	emit := func(Packet) {}
	b.ReportAllocs()
	for b.Loop() {
		p.SequenceNumber++
		r.Push(p, noon, emit)
	}
}

func BenchmarkReorderSwapped(b *testing.B) {
	r := &Reorder{Wait: time.Second}
	p := numbered(0, 0)
	p.Payload = make([]byte, 1200)
	emit := func(Packet) {}
	b.ReportAllocs()
	for n := uint16(0); b.Loop(); n++ {
		p.SequenceNumber = n ^ 1
		r.Push(p, noon, emit)
	}
}
