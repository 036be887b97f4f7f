package ingest

import (
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"banyan/relay"
	"banyan/relay/media"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	ms = time.Millisecond
	// The publisher's wall clock is years off.
	publisherClockError = -7*365*24*time.Hour + 1234567*time.Microsecond
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// sender is a publisher's track: its clock, and what the network does to its packets.
type sender struct {
	t      *testing.T
	clock  *Clock
	rate   int
	first  uint32        // timestamp at noon
	ppm    float64       // by how much its clock runs fast
	delay  time.Duration // on the way, least
	jitter time.Duration
	random *rand.Rand
}

func newSender(t *testing.T, timeline *Timeline, rate int) *sender {
	return &sender{t: t, clock: timeline.Clock(rate), rate: rate, first: 0xffff0000, random: rand.New(rand.NewPCG(1, 2))}
}

// stamp is the timestamp of what was taken at time at after noon.
func (s *sender) stamp(at time.Duration) uint32 {
	exact := float64(at) * (1 + s.ppm/1e6) * float64(s.rate) / float64(time.Second)
	return s.first + uint32(int64(exact+0.5))
}

func (s *sender) arrival(at time.Duration) time.Time {
	late := s.delay
	if s.jitter > 0 {
		late += time.Duration(s.random.Int64N(int64(s.jitter)))
	}
	return noon.Add(at + late)
}

// send gives the media time of what was taken at time at, relative to noon.
func (s *sender) send(at time.Duration) (got time.Duration, jumped bool) {
	ticks, jumped := s.clock.Ticks(s.stamp(at), s.arrival(at))
	return media.TimeAt(ticks, s.rate).Sub(media.TimeOf(noon)), jumped
}

func (s *sender) report(at time.Duration) {
	wall := at + publisherClockError + 3e9*time.Second // somewhere in NTP's first era
	ntp := uint64(wall/time.Second)<<32 | uint64(wall%time.Second)<<32/uint64(time.Second)
	s.clock.SenderReport(ntp, s.stamp(at), s.arrival(at))
}

func near(got, want, most time.Duration) bool { return (got - want).Abs() <= most }

func TestTimestampsCountFromArrival(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rate := rapid.SampledFrom([]int{8000, 44100, 48000, 90000}).Draw(rt, "rate")
		c := NewTimeline().Clock(rate)
		rtp := rapid.Uint32().Draw(rt, "first") // so that most runs do not wrap and some do
		at := noon
		first, _ := c.Ticks(rtp, at)
		if want := media.TicksOf(media.TimeOf(at), rate); first != want {
			rt.Fatalf("first packet got ticks %d; want its arrival, %d", first, want)
		}
		sent := int64(0)
		for range 50 {
			step := rapid.Int64Range(-int64(rate)/2, int64(rate)).Draw(rt, "step")
			sent += step
			at = at.Add(time.Duration(rapid.Int64Range(0, int64(150*ms)).Draw(rt, "wait")))
			if sent < -int64(rate)/2 || time.Duration(sent)*time.Second/time.Duration(rate) > at.Sub(noon)+2*time.Second {
				sent -= step
			}
			got, jumped := c.Ticks(rtp+uint32(sent), at)
			if jumped {
				return
			}
			if got-first != sent {
				rt.Fatalf("after %d ticks of the publisher media time went on by %d", sent, got-first)
			}
		}
	})
}

func TestWrapIsNoJump(t *testing.T) {
	s := newSender(t, NewTimeline(), 90000)
	s.first = 0xffffffff - 90000
	for at := time.Duration(0); at < 3*time.Second; at += 40 * ms {
		got, jumped := s.send(at)
		if jumped || !near(got, at, time.Microsecond*12) {
			t.Fatalf("at %v: media time %v, jumped %v; want it to pass the wrap", at, got, jumped)
		}
	}
}

func TestFramesOutOfOrder(t *testing.T) {
	s := newSender(t, NewTimeline(), 90000)
	for group := range 100 {
		for _, frame := range []int{3, 1, 2} { // P before the two B-frames that are shown before it
			at := time.Duration(group*3+frame) * 40 * ms
			if got, jumped := s.send(at); jumped || got%(40*ms) > 12*time.Microsecond+ms/10 && got%(40*ms) < 39*ms {
				t.Fatalf("frame at %v: media time %v, jumped %v; want the publisher's grid", at, got, jumped)
			}
		}
	}
}

func TestJitterMovesNothing(t *testing.T) {
	s := newSender(t, NewTimeline(), 48000)
	first, _ := s.send(0)
	s.jitter = 25 * ms // within what is taken for granted, so that no correction begins
	for at := 20 * ms; at < time.Minute; at += 20 * ms {
		got, jumped := s.send(at)
		if jumped || got != first+at {
			t.Fatalf("at %v: media time %v, jumped %v; want %v, to the sample", at, got, jumped, first+at)
		}
	}
}

func TestReportsAlignTracks(t *testing.T) {
	for _, skew := range []time.Duration{-900 * ms, -300 * ms, -60 * ms, 0, 60 * ms, 300 * ms, 900 * ms} {
		timeline := NewTimeline()
		audio, video := newSender(t, timeline, 48000), newSender(t, timeline, 90000)
		video.first = 12345
		// Video's first frame takes longer or shorter on its way than audio's.
		audio.delay, video.delay = 1000*ms, 1000*ms+skew
		firstAudio, _ := audio.send(0)
		before, _ := video.send(0)
		audio.delay, video.delay = 0, 0
		for at := 20 * ms; at < 10*time.Second; at += 20 * ms {
			if at == 2*time.Second {
				audio.report(at)
				video.report(at)
			}
			sound, _ := audio.send(at)
			if sound != firstAudio+at {
				t.Fatalf("skew %v, at %v: audio moved by %v; want it exact to the sample", skew, at, sound-firstAudio-at)
			}
			if at%(40*ms) != 0 {
				continue
			}
			picture, jumped := video.send(at)
			if jumped || picture <= before {
				t.Fatalf("skew %v, at %v: video went from %v to %v, jumped %v", skew, at, before, picture, jumped)
			}
			before = picture
			if at > 8*time.Second && !near(picture, sound, 3*ms) {
				t.Fatalf("skew %v, at %v: video is %v off audio; want it aligned", skew, at, picture-sound)
			}
		}
	}
}

func TestReportsBeforeMediaAlignFromTheStart(t *testing.T) {
	timeline := NewTimeline()
	audio, video := newSender(t, timeline, 8000), newSender(t, timeline, 90000)
	audio.first, video.first = 7, 0x80000000
	audio.report(0)
	video.report(0)
	video.delay = 200 * ms
	sound, _ := audio.send(0)
	picture, _ := video.send(0)
	if !near(sound, picture, ms) {
		t.Errorf("audio starts at %v, video at %v; want both where the reports tell", sound, picture)
	}
}

func TestSenselessReportsAreIgnored(t *testing.T) {
	timeline := NewTimeline()
	audio, video := newSender(t, timeline, 48000), newSender(t, timeline, 90000)
	audio.send(0)
	video.send(0)
	audio.report(time.Second)
	for i, rtp := range []uint32{0, 1 << 31, 0xffffffff, video.stamp(time.Hour)} {
		for _, ntp := range []uint64{0, 1, 1 << 63, 1<<64 - 1} {
			video.clock.SenderReport(ntp, rtp, noon.Add(time.Second))
			at := time.Second + time.Duration(i)*40*ms
			if got, jumped := video.send(at); jumped || !near(got, at, ms) {
				t.Fatalf("report %#x/%#x moved video to %v at %v", ntp, rtp, got, at)
			}
		}
	}
}

func TestLeapAnchorsAnew(t *testing.T) {
	for name, leap := range map[string]int64{
		"ahead": 90000 * 60, "far ahead": 1<<31 - 90000*20, "back": -90000 * 2, "far back": -90000 * 3600, "half way round": 1 << 31,
	} {
		s := newSender(t, NewTimeline(), 90000)
		before := time.Duration(-1)
		for at := time.Duration(0); at < 4*time.Second; at += 40 * ms {
			if at == 2*time.Second {
				s.first += uint32(leap)
			}
			got, jumped := s.send(at)
			if want := at == 2*time.Second; jumped != want {
				t.Fatalf("%s, at %v: jumped is %v", name, at, jumped)
			}
			if got <= before || !near(got, at, ms) {
				t.Fatalf("%s, at %v: media time went from %v to %v; want it to go on with the clock", name, at, before, got)
			}
			before = got
		}
	}
}

func TestLeapNeverGoesBackInMediaTime(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := NewTimeline().Clock(90000)
		at, newest := noon, int64(0)
		for range 200 {
			at = at.Add(time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(rt, "wait")))
			ticks, jumped := c.Ticks(rapid.Uint32().Draw(rt, "rtp"), at)
			if jumped && ticks <= newest {
				rt.Fatalf("after a jump media time is %d, before it was %d", ticks, newest)
			}
			// A straggler may be a second older than a leap that was up to a second ago, of a life that had stood still.
			if ticks < newest-90000*20 {
				rt.Fatalf("media time went back from %d to %d", newest, ticks)
			}
			newest = max(newest, ticks)
		}
	})
}

func TestStragglersOfTheLifeBefore(t *testing.T) {
	s := newSender(t, NewTimeline(), 90000)
	s.send(0)
	s.send(40 * ms)
	old := s.first
	s.first += 90000 * 100
	if _, jumped := s.send(80 * ms); !jumped {
		t.Fatal("want a jump")
	}
	late, jumped := s.clock.Ticks(old+3600, noon.Add(90*ms))
	if got := media.TimeAt(late, 90000).Sub(media.TimeOf(noon)); jumped || !near(got, 40*ms, ms) {
		t.Errorf("a packet sent before the jump got %v, jumped %v; want its frame's time", got, jumped)
	}
	if got, jumped := s.send(120 * ms); jumped || !near(got, 120*ms, ms) {
		t.Errorf("after the straggler: %v, jumped %v", got, jumped)
	}
}

func TestPacketsOfAFrameShareItsTime(t *testing.T) {
	timeline := NewTimeline()
	audio, video := newSender(t, timeline, 48000), newSender(t, timeline, 90000)
	audio.send(0)
	video.delay = 50 * ms
	video.send(0)
	audio.report(0)
	video.report(0)
	given := map[uint32]time.Duration{}
	for at := time.Duration(0); at < 2*time.Second; at += 40 * ms {
		given[video.stamp(at)], _ = video.send(at)
		if again := at - 120*ms; again > 40*ms { // a packet that was retransmitted
			if got, _ := video.send(again); got != given[video.stamp(again)] {
				t.Fatalf("frame at %v has times %v and %v", again, given[video.stamp(again)], got)
			}
		}
	}
}

func TestPauseIsMadeUpFor(t *testing.T) {
	s := newSender(t, NewTimeline(), 90000)
	s.send(0)
	s.delay = 5 * time.Second // the publisher stopped, and went on where it was
	got := time.Duration(0)
	for at := 40 * ms; at <= 20*time.Second; at += 40 * ms {
		got, _ = s.send(at)
	}
	if want := 20*time.Second + s.delay; !near(got, want, 100*ms) {
		t.Errorf("media time is %v, arrival %v; want them together again after a window", got, want)
	}
}

func TestNotBefore(t *testing.T) {
	timeline := NewTimeline()
	floor := media.TimeOf(noon).Add(time.Second)
	timeline.NotBefore(floor)
	ticks, _ := timeline.Clock(8000).Ticks(1, noon)
	if got := media.TimeAt(ticks, 8000); got <= floor {
		t.Errorf("first packet at %d; want it after %d", got, floor)
	}
}

// Whatever a publisher sends, media time does not run away from the clock.
func TestMediaTimeStaysWithTheClock(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		timeline := NewTimeline()
		clocks := []*Clock{timeline.Clock(48000), timeline.Clock(90000)}
		var stamps [2]uint32
		at := noon
		rushing := rapid.Bool().Draw(rt, "rushing")
		for n := range 400 {
			most := 100 * ms
			if rushing {
				most = 5 * ms
			}
			at = at.Add(time.Duration(rapid.Int64Range(0, int64(most)).Draw(rt, "wait")))
			i := rapid.IntRange(0, 1).Draw(rt, "track")
			c := clocks[i]
			switch rapid.IntRange(0, 20).Draw(rt, "what") {
			case 0:
				stamps[i] = rapid.Uint32().Draw(rt, "leap")
			case 1:
				c.SenderReport(rapid.Uint64().Draw(rt, "ntp"), stamps[i], at)
			default:
				stamps[i] += uint32(rapid.IntRange(1, 2*c.rate).Draw(rt, "step"))
			}
			ticks, _ := c.Ticks(stamps[i], at)
			ahead := media.TimeAt(ticks, c.rate).Sub(media.TimeOf(at))
			// Frames out of order keep their distance; each that is held is a tick after the one before.
			if ahead > aheadMost+leapAhead+time.Duration(n)*ms/10 {
				rt.Fatalf("packet %d is %v ahead of the clock", n, ahead)
			}
		}
	})
}

// A file over UDP, ten times as fast as it should be: its frames stay in order, and ten seconds ahead at most.
func TestUnpacedFileIsHeld(t *testing.T) {
	s := newSender(t, NewTimeline(), 90000)
	before := time.Duration(-1)
	for frame := range 25 * 300 {
		at := time.Duration(frame) * 40 * ms
		s.delay = at/10 - at // it arrives early
		got, jumped := s.send(at)
		if got <= before || jumped {
			t.Fatalf("frame %d: media time went from %v to %v, jumped %v", frame, before, got, jumped)
		}
		if ahead := got - at/10; ahead > aheadMost+time.Second {
			t.Fatalf("frame %d is %v ahead of the clock", frame, ahead)
		}
		before = got
	}
}

// Who is ahead of the clock because somebody was before, or because the clock was set back, is not held.
func TestHeadStartIsKept(t *testing.T) {
	timeline := NewTimeline()
	const start = 40 * time.Second
	timeline.NotBefore(media.TimeOf(noon).Add(start))
	s := newSender(t, timeline, 90000)
	for at := time.Duration(0); at < 5*time.Second; at += 40 * ms {
		if got, jumped := s.send(at); jumped || !near(got, start+at, 2*ms) {
			t.Fatalf("at %v: media time %v, jumped %v; want it to go on as the publisher's", at, got, jumped)
		}
	}
}

func TestResume(t *testing.T) {
	hub := relay.New(relay.Config{Logger: slog.New(slog.DiscardHandler)})
	defer hub.Close()
	for _, c := range []struct {
		name  string
		ahead time.Duration // of the publisher before
		want  time.Duration
	}{
		{"behind", -time.Minute, 0},
		{"a little ahead", 20 * time.Second, 20 * time.Second},
		{"unbelievably far ahead", time.Hour, 0},
	} {
		publication, err := hub.Publish("cup/cam1", "test")
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range media.Kinds { // one that never began says nothing
			w, err := publication.Source(kind)
			if err != nil {
				t.Fatal(err)
			}
			if kind == media.Audio {
				continue
			}
			if err := w.Begin(media.Params{Codec: media.VP8, ClockRate: 90000}); err != nil {
				t.Fatal(err)
			}
			p := media.Packet{Offset: w.Next(), Ticks: media.TicksOf(media.TimeOf(noon.Add(c.ahead)), 90000), Payload: []byte{0}}
			if err := w.Write(p); err != nil {
				t.Fatal(err)
			}
		}
		ticks, _ := Resume(publication.Stream(), noon).Clock(90000).Ticks(1, noon)
		if got := media.TimeAt(ticks, 90000).Sub(media.TimeOf(noon)); !near(got, c.want, ms) {
			t.Errorf("%s: the next publisher begins %v after now, want %v", c.name, got, c.want)
		}
	}
}

func FuzzTimeline(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Fuzz(func(t *testing.T, script []byte) {
		timeline := NewTimeline()
		clocks := []*Clock{timeline.Clock(48000), timeline.Clock(90000)}
		at := noon
		for len(script) >= 6 {
			c := clocks[script[0]&1]
			rtp := uint32(script[1])<<24 | uint32(script[2])<<16 | uint32(script[3])<<8 | uint32(script[4])
			at = at.Add(time.Duration(script[5]) * ms)
			if script[0]&2 != 0 {
				c.SenderReport(uint64(rtp)*0x9E3779B97F4A7C15, rtp, at)
			} else if ticks, _ := c.Ticks(rtp, at); ticks <= 0 {
				t.Fatalf("ticks %d", ticks)
			}
			script = script[6:]
		}
	})
}
