package whep

import (
	"testing"
	"time"
)

// sound is a log of packets of 20 ms, on a clock of its own.
type sound struct {
	pace   pace
	now    time.Time
	at     time.Time // media time of the next packet
	sent   int
	passed int
}

const packet = 20 * time.Millisecond

func newSound() *sound {
	now := time.Unix(1e9, 0)
	return &sound{now: now, at: now}
}

// reads takes n packets, one every so often.
func (s *sound) reads(n int, every time.Duration) {
	for range n {
		s.now = s.now.Add(every)
		if s.pace.arrives(s.now, false) && s.pace.late(s.now.Sub(s.at), s.now) {
			s.passed++
		} else {
			s.sent++
		}
		s.at = s.at.Add(packet)
	}
}

// waits lets time go by in which nothing is read.
func (s *sound) waits(d time.Duration) { s.now = s.now.Add(d) }

func TestPace(t *testing.T) {
	for _, c := range []struct {
		what        string
		play        func(s *sound)
		least, most int // packets passed over
	}{
		{"live from the first packet", func(s *sound) { s.reads(500, packet) }, 0, 0},
		{"three seconds of backlog, then live", func(s *sound) {
			s.waits(3 * time.Second)
			s.reads(150, time.Millisecond)
			s.reads(100, packet)
		}, 130, 150},
		{"a backlog that pauses in its midst", func(s *sound) {
			s.waits(3 * time.Second)
			s.reads(50, time.Millisecond)
			s.waits(300 * time.Millisecond)
			s.reads(120, time.Millisecond)
		}, 140, 165},
		{"a second late for good", func(s *sound) { s.waits(time.Second); s.reads(500, packet) }, 1, 13},
		{"two seconds late, with jitter", func(s *sound) {
			s.waits(2 * time.Second)
			for range 100 {
				s.reads(4, 2*time.Millisecond)
				s.waits(72 * time.Millisecond)
			}
		}, 1, 30},
		{"back after three seconds, and once more", func(s *sound) {
			for range 2 {
				s.reads(100, packet)
				s.waits(3 * time.Second)
				s.reads(150, time.Millisecond)
			}
		}, 260, 300},
		{"clumps of half a second", func(s *sound) {
			for range 20 {
				s.waits(475 * time.Millisecond)
				s.reads(25, time.Millisecond)
			}
		}, 0, 25},
		{"ahead of live", func(s *sound) { s.waits(-time.Second); s.reads(100, packet) }, 0, 0},
	} {
		s := newSound()
		c.play(s)
		if s.passed < c.least || s.passed > c.most {
			t.Errorf("%s: %d packets were passed over and %d sent, want %d to %d passed over", c.what, s.passed, s.sent, c.least, c.most)
		}
	}
}
