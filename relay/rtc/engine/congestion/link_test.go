package congestion

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pion/interceptor/pkg/twcc"
)

// A simulation of a server, a link and a viewer, in steps of a millisecond. The receiver and its reports are another
// implementation's.
const (
	frames    = 30 // per second
	packet    = 1200
	wayTime   = 20 * time.Millisecond // each way, beside the queue
	hearTime  = 100 * time.Millisecond
	queueMost = 256 << 10 // bytes; a router with too much memory
)

// formats are the rates of video, and audio is that of sound, in bit/s.
var formats = []int{350_000, 1_200_000, 2_500_000}

const audio = 50_000

type simulated struct {
	frame   int
	format  int
	bytes   int
	seq     uint16
	tracked bool // it has a transport-wide number
	born    time.Duration
}

// shown is a frame that arrived whole.
type shown struct {
	at, delay time.Duration
	format    int
}

type simulation struct {
	t        testing.TB
	random   *rand.Rand
	capacity func(time.Duration) int // bit/s
	loss     float64
	jitter   time.Duration
	gop      int // frames

	now       time.Duration
	epoch     time.Time
	estimator *Estimator
	pacer     Pacer
	chooser   Chooser
	format    int // that is sent
	chosen    int
	link      Link
	probe     int
	waiting   []simulated
	resend    []timed[simulated]

	queue  []simulated
	queued int // bytes
	credit float64
	flying []timed[simulated]

	recorder *twcc.Recorder
	missing  map[int]int // packets of a frame
	reports  []timed[[]byte]

	shown    []shown
	sent     int           // bytes, whatever became of them
	padding  int           // of these
	peak     int           // of queued
	sound    time.Duration // that came latest, of what was made since listen
	listen   time.Duration
	switches int
}

type timed[T any] struct {
	at time.Duration
	T  T
}

func simulate(t testing.TB, seed uint64, loss float64, gop int, capacity func(time.Duration) int) *simulation {
	s := &simulation{
		t: t, random: rand.New(rand.NewPCG(seed, 1)), capacity: capacity, loss: loss, gop: gop,
		epoch: time.Unix(1_700_000_000, 0), format: len(formats) - 1, chosen: len(formats) - 1,
		recorder: twcc.NewRecorder(1), missing: map[int]int{},
	}
	s.estimator = NewEstimator(formats[s.format]+audio, s.epoch)
	return s
}

func (s *simulation) wall() time.Time { return s.epoch.Add(s.now) }

func (s *simulation) run(until time.Duration) {
	for ; s.now < until; s.now += time.Millisecond {
		s.hear()
		if s.now%PaceTurn == 0 {
			s.encode()
			s.turn()
		}
		s.carry()
		s.arrive()
	}
}

// encode makes a frame when it is time: a keyframe is six times as large as others.
func (s *simulation) encode() {
	n := int(s.now * frames / time.Second)
	if s.now < PaceTurn || int((s.now-PaceTurn)*frames/time.Second) == n {
		return
	}
	share := 1.0
	if n%s.gop == 0 {
		share = 6
		if s.format != s.chosen {
			s.format = s.chosen
			s.switches++
		}
	}
	if s.chosen < s.format {
		return // the rest of the group was dropped
	}
	size := int(share * float64(formats[s.format]) / 8 / frames * float64(s.gop) / float64(s.gop+5))
	count := (size + packet - 1) / packet
	s.missing[n] = count
	for range count {
		s.waiting = append(s.waiting, simulated{frame: n, format: s.format, bytes: size / count, born: s.now})
	}
}

// turn sends what the pacer allows.
func (s *simulation) turn() {
	s.link = s.estimator.Link(s.wall())
	rates := slices.Clone(formats)
	for i := range rates {
		rates[i] += audio
	}
	before := s.chosen
	s.chosen, s.probe = s.chooser.Choose(rates, s.chosen, s.link, s.wall())
	if s.chosen < before && s.chosen < s.format {
		s.waiting, s.resend = nil, nil
	}
	s.pacer.Turn(s.link, s.probe, s.wall())
	if s.now%(20*time.Millisecond) == 0 {
		s.pacer.Audio(audio / 8 / 50)
		s.enqueue(simulated{frame: -1, bytes: audio / 8 / 50, born: s.now})
	}
	for len(s.resend) > 0 && s.resend[0].at <= s.now && s.pacer.Video(s.resend[0].T.bytes) {
		s.send(s.resend[0].T)
		s.resend = s.resend[1:]
	}
	for len(s.waiting) > 0 && s.pacer.Video(s.waiting[0].bytes) {
		s.send(s.waiting[0])
		s.waiting = s.waiting[1:]
	}
	for s.pacer.Padding() {
		s.pacer.Padded(packet)
		s.padding += packet
		s.send(simulated{frame: -2, bytes: packet})
	}
}

func (s *simulation) send(p simulated) {
	p.seq, p.tracked = s.estimator.Sent(p.bytes, s.wall()), true
	s.enqueue(p)
}

func (s *simulation) enqueue(p simulated) {
	s.sent += p.bytes
	if s.random.Float64() < s.loss || s.queued+p.bytes > queueMost {
		s.lost(p)
		return
	}
	s.queue = append(s.queue, p)
	s.queued += p.bytes
	s.peak = max(s.peak, s.queued)
}

// lost has a packet sent again when the viewer has noticed.
func (s *simulation) lost(p simulated) {
	if p.frame >= 0 {
		s.resend = append(s.resend, timed[simulated]{s.now + 3*wayTime, p})
	}
}

// carry empties the queue at the link's rate.
func (s *simulation) carry() {
	s.credit += float64(s.capacity(s.now)) / 8 / 1000
	for len(s.queue) > 0 && s.credit >= float64(s.queue[0].bytes) {
		s.credit -= float64(s.queue[0].bytes)
		s.queued -= s.queue[0].bytes
		at := s.now + wayTime
		if s.jitter > 0 {
			at += time.Duration(s.random.Int64N(int64(s.jitter)))
		}
		if n := len(s.flying); n > 0 { // none overtakes
			at = max(at, s.flying[n-1].at)
		}
		s.flying = append(s.flying, timed[simulated]{at, s.queue[0]})
		s.queue = s.queue[1:]
	}
	if len(s.queue) == 0 {
		s.credit = 0
	}
}

func (s *simulation) arrive() {
	for len(s.flying) > 0 && s.flying[0].at <= s.now {
		p := s.flying[0].T
		s.flying = s.flying[1:]
		if p.tracked {
			s.recorder.Record(7, p.seq, s.now.Microseconds()+5_000_000)
		}
		switch {
		case p.frame == -1 && p.born >= s.listen:
			s.sound = max(s.sound, s.now-p.born)
		case p.frame >= 0:
			if s.missing[p.frame]--; s.missing[p.frame] == 0 {
				s.shown = append(s.shown, shown{s.now, s.now - p.born, p.format})
			}
		}
	}
	if s.now%hearTime != 0 {
		return
	}
	for _, p := range s.recorder.BuildFeedbackPacket() {
		b, err := p.Marshal()
		if err != nil {
			s.t.Fatal(err)
		}
		s.reports = append(s.reports, timed[[]byte]{s.now + wayTime, unpadded(b)})
	}
}

func (s *simulation) hear() {
	for len(s.reports) > 0 && s.reports[0].at <= s.now {
		if err := s.estimator.Hear(s.reports[0].T, s.wall()); err != nil {
			s.t.Fatal(err)
		}
		s.reports = s.reports[1:]
	}
}

// between are the frames that were shown from one instant to another.
func (s *simulation) between(from, to time.Duration) []shown {
	return slices.DeleteFunc(slices.Clone(s.shown), func(f shown) bool { return f.at < from || f.at >= to })
}

// pauses is the longest pause between frames.
func pauses(list []shown) (longest time.Duration) {
	for i := 1; i < len(list); i++ {
		longest = max(longest, list[i].at-list[i-1].at)
	}
	return longest
}

// TestStep takes most of a link away and gives it back, at any place in a group of pictures.
func TestStep(t *testing.T) {
	const down, up, end = 20 * time.Second, 50 * time.Second, 75 * time.Second
	for seed := range uint64(8) {
		at := down + time.Duration(seed)*125*time.Millisecond
		s := simulate(t, seed, 0, frames, func(now time.Duration) int {
			if now >= at && now < up {
				return 500_000
			}
			return 4_000_000
		})
		s.run(at)
		if s.format != 2 || s.switches != 0 || s.peak > 64<<10 {
			t.Errorf("step at %v: format %d after %d switches, %d bytes queued, on a link that carries the best", at, s.format, s.switches, s.peak)
		}
		s.run(at + 2*time.Second)
		first := s.peak
		s.peak, s.sound, s.listen = 0, 0, s.now
		s.run(up)
		list := s.between(at+2*time.Second, up)
		for _, f := range list {
			if f.format != 0 || f.delay > 500*time.Millisecond && f.at > at+5*time.Second {
				t.Errorf("step at %v: a frame of format %d came at %v, %v late", at, f.format, f.at, f.delay)
				break
			}
		}
		t.Logf("step at %v: queued %d then %d, sound late by %v, frames %d, pause %v, padding %d", at, first, s.peak, s.sound, len(list), pauses(list), s.padding)
		if p := pauses(list); len(list) < 800 || p > 300*time.Millisecond {
			t.Errorf("step at %v: %d frames with a pause of %v on the narrow link", at, len(list), p)
		}
		if s.peak > 20<<10 || s.sound > 400*time.Millisecond {
			t.Errorf("step at %v: %d bytes queued at 500 kbit/s, sound came %v late", at, s.peak, s.sound)
		}
		s.run(up + 15*time.Second)
		if s.format != 2 {
			t.Errorf("step at %v: format %d, 15 s after the link is back", at, s.format)
		}
		s.run(end)
		if s.format != 2 || s.switches > 4 {
			t.Errorf("step at %v: format %d after %d switches", at, s.format, s.switches)
		}
	}
}

// TestStepWithLoss does so where a tenth of all packets is lost besides, with keyframes two seconds apart: the change to
// the lower format waits for one.
func TestStepWithLoss(t *testing.T) {
	const up = 45 * time.Second
	for seed := range uint64(16) {
		at := 20*time.Second + time.Duration(seed%8)*250*time.Millisecond
		s := simulate(t, seed, 0.1, 2*frames, func(now time.Duration) int {
			if now >= at && now < up {
				return 500_000
			}
			return 4_000_000
		})
		s.run(up)
		list := s.between(at, up)
		first := slices.IndexFunc(list, func(f shown) bool { return f.format == 0 })
		if first < 0 || list[first].at > at+2500*time.Millisecond || pauses(list[first:]) > 400*time.Millisecond {
			t.Errorf("step at %v: of %d frames, number %d is the first of the lowest format", at, len(list), first)
		}
		s.run(up + 15*time.Second)
		if s.format != 2 {
			t.Errorf("step at %v: format %d, 15 s after the link is back", at, s.format)
		}
	}
}

// TestRandomLoss loses a tenth of all packets, for no reason.
func TestRandomLoss(t *testing.T) {
	for seed := range uint64(4) {
		s := simulate(t, seed, 0.1, 2*frames, func(time.Duration) int { return 4_000_000 })
		s.run(2 * time.Minute)
		best := 0
		for _, f := range s.shown {
			if f.format == 2 {
				best++
			}
		}
		t.Logf("%d of %d frames best, %d switches, estimate %d", best, len(s.shown), s.switches, s.link.Rate)
		if best < len(s.shown)*95/100 || len(s.shown) < 119*frames {
			t.Errorf("seed %d: %d of %d frames are of the best format", seed, best, len(s.shown))
		}
	}
}

// TestNarrowLinks finds the best format that a link carries, keeps to it, and keeps its queue short.
func TestNarrowLinks(t *testing.T) {
	for capacity, want := range map[int]int{450_000: 0, 700_000: 0, 1_700_000: 1, 2_200_000: 1, 3_500_000: 2, 50_000_000: 2} {
		s := simulate(t, 1, 0, 2*frames, func(time.Duration) int { return capacity })
		s.run(10 * time.Second)
		s.peak = 0
		s.run(2 * time.Minute)
		well := 0
		list := s.between(10*time.Second, s.now)
		for _, f := range list {
			if f.format == want {
				well++
			}
		}
		wait := time.Duration(s.peak) * 8 * time.Second / time.Duration(capacity)
		t.Logf("%d: %d of %d frames, %d switches, queue %v, padding %d", capacity, well, len(list), s.switches, wait, s.padding)
		if well < len(list)*9/10 || len(list) < 107*frames || wait > 400*time.Millisecond {
			t.Errorf("%d bit/s: %d of %d frames are of format %d, %d switches, queue up to %v", capacity, well, len(list), want, s.switches, wait)
		}
	}
}

// TestJitter does not take noise for a queue.
func TestJitter(t *testing.T) {
	for _, jitter := range []time.Duration{10 * time.Millisecond, 30 * time.Millisecond, 50 * time.Millisecond} {
		s := simulate(t, 3, 0.01, 2*frames, func(time.Duration) int { return 6_000_000 })
		s.jitter = jitter
		s.run(time.Minute)
		if s.switches != 0 || len(s.shown) < 59*frames {
			t.Errorf("jitter of %v: %d switches, %d frames", jitter, s.switches, len(s.shown))
		}
	}
}

// TestBlackout lets nothing through for three seconds.
func TestBlackout(t *testing.T) {
	s := simulate(t, 4, 0, frames, func(now time.Duration) int {
		if now >= 10*time.Second && now < 13*time.Second {
			return 0
		}
		return 4_000_000
	})
	s.run(20 * time.Second)
	list := s.between(16*time.Second, s.now)
	if p := pauses(list); len(list) < 100 || p > 300*time.Millisecond {
		t.Errorf("%d frames after a blackout, with a pause of %v", len(list), p)
	}
	s.run(28 * time.Second)
	if s.format != 2 {
		t.Errorf("format %d, 15 s after a blackout", s.format)
	}
	if s.peak > 160<<10 { // a third of a second of the rate, and sound
		t.Errorf("%d bytes were sent into a blackout", s.peak)
	}
}

// TestPauses lets nothing through for moments, as a machine does that has no time, or a radio. What was held up comes at
// once behind each: the link is as wide as ever. Just before such a pause there is a short one, behind which some packets
// get through: they wait already when the long one begins.
func TestPauses(t *testing.T) {
	for _, pause := range []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, 600 * time.Millisecond} {
		for _, loss := range []float64{0, 0.1} {
			s := simulate(t, 5, loss, 2*frames, func(now time.Duration) int {
				const short, gap, every = 30 * time.Millisecond, 2 * time.Millisecond, 3 * time.Second
				left := every - now%every
				if left <= pause || left > pause+gap && left <= pause+gap+short {
					return 0
				}
				return 20_000_000
			})
			s.run(30 * time.Second)
			if s.switches != 0 || s.format != 2 {
				t.Errorf("pauses of %v, loss %v: %d switches to format %d, estimate %d", pause, loss, s.switches, s.format, s.link.Rate)
			}
		}
	}
}
