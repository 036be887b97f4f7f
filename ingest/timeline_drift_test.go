package ingest

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"banyan/relay/media"
)

// crystal is the clock of a publisher, which runs fast by so many parts per million: one number for each minute.
type crystal []float64

// passed is the time, by our clock, in which it counts to own.
func (c crystal) passed(own time.Duration) (ours time.Duration) {
	for minute := 0; own > 0; minute++ {
		part := min(own, time.Minute)
		ours += time.Duration(float64(part) / (1 + c[min(minute, len(c)-1)]/1e6))
		own -= part
	}
	return ours
}

// studio sends sound in packets of one length and 25 pictures a second, all by one crystal.
type studio struct {
	crystal
	rate, length int64 // of sound: Hz, samples in a packet
	jitter       time.Duration
	reports      time.Duration // between sender reports; none if zero
	random       *rand.Rand

	sound, pictures *Clock
	stamps          [2]uint32 // of the first of each
}

func (c *studio) arrival(own time.Duration) time.Time {
	return noon.Add(20*ms + c.passed(own) + time.Duration(c.random.Int64N(int64(c.jitter))))
}

// run tells see of each packet that is sent within the time d: its number, when it is due by our clock, and its media
// time relative to noon, in ticks. Timestamps count samples exactly, as those of a sound card do.
func (c *studio) run(d time.Duration, see func(clock *Clock, n int64, due time.Duration, ticks int64, jumped bool)) {
	timeline := NewTimeline()
	c.sound, c.pictures = timeline.Clock(int(c.rate)), timeline.Clock(media.VideoClockRate)
	c.stamps = [2]uint32{c.random.Uint32(), c.random.Uint32()}
	next, reported := [2]int64{}, time.Duration(0)
	for {
		i, clock, ticks := 0, c.sound, next[0]*c.length
		own := media.DurationOf(ticks, clock.rate)
		if picture := time.Duration(next[1]) * 40 * ms; picture < own {
			i, clock, ticks, own = 1, c.pictures, next[1]*3600, picture
		}
		if own >= d {
			return
		}
		if c.reports > 0 && own-reported >= c.reports {
			reported = own
			c.report(own)
		}
		got, jumped := clock.Ticks(c.stamps[i]+uint32(ticks), c.arrival(own))
		see(clock, next[i], c.passed(own), got-media.TicksOf(media.TimeOf(noon), clock.rate), jumped)
		next[i]++
	}
}

// report says by the publisher's wall clock, which runs by the same crystal and is years off, how the tracks lie.
func (c *studio) report(own time.Duration) {
	wall := own + publisherClockError + 3e9*time.Second
	ntp := uint64(wall/time.Second)<<32 | uint64(wall%time.Second)<<32/uint64(time.Second)
	for i, clock := range []*Clock{c.sound, c.pictures} {
		clock.SenderReport(ntp, c.stamps[i]+uint32(media.TicksOf(media.Time(own), clock.rate)), c.arrival(own))
	}
}

// TestDriftIsFollowed: for an hour, media time stays with our clock and the tracks with each other, and sound is whole
// but for a few steps.
func TestDriftIsFollowed(t *testing.T) {
	const hour = time.Hour
	wandering := make(crystal, 60)
	for i, random := 0, rand.New(rand.NewPCG(3, 4)); i < len(wandering); i++ {
		wandering[i] = random.Float64()*200 - 100
	}
	for name, c := range map[string]*studio{
		"slow, Opus":             {crystal: crystal{-100}, rate: 48000, length: 960},
		"fast, Opus":             {crystal: crystal{100}, rate: 48000, length: 960},
		"fast, Opus, reports":    {crystal: crystal{100}, rate: 48000, length: 960, reports: 5 * time.Second},
		"slow, Opus of 5 ms":     {crystal: crystal{-100}, rate: 48000, length: 240, reports: time.Second},
		"fast, AAC, reports":     {crystal: crystal{100}, rate: 44100, length: 1024, reports: 5 * time.Second},
		"wandering, G.711":       {crystal: wandering, rate: 8000, length: 160, reports: 5 * time.Second},
		"much too fast, Opus":    {crystal: crystal{300}, rate: 48000, length: 960},
		"exact, Opus":            {crystal: crystal{0}, rate: 48000, length: 960},
		"slow, long Opus frames": {crystal: crystal{-100}, rate: 48000, length: 2880},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.jitter, c.random = 25*ms, rand.New(rand.NewPCG(1, 2))
			last := map[*Clock]int64{}
			var off time.Duration // of sound from its due time
			steps := 0
			most := c.length / 2
			apart := 20 * ms
			if c.reports == 0 { // nothing tells how the tracks lie but when the first packet of each arrived
				apart += c.jitter
			}
			c.run(hour, func(clock *Clock, n int64, due time.Duration, ticks int64, jumped bool) {
				before, went := last[clock]
				last[clock] = ticks
				at := media.DurationOf(ticks, clock.rate)
				if jumped || went && ticks <= before {
					t.Fatalf("packet %d: media time went from %d to %d ticks, jumped %v", n, before, ticks, jumped)
				}
				if !near(at, due+20*ms, 70*ms) {
					t.Fatalf("packet %d is %v off our clock", n, at-due)
				}
				if clock == c.pictures {
					if late := at - due - off; due > 10*time.Second && late.Abs() > apart {
						t.Fatalf("picture %d is %v behind the sound", n, late)
					}
					if step := ticks - before; went && (step < 3600-180 || step > 3600+180) {
						t.Fatalf("picture %d comes %d ticks after the one before", n, step)
					}
					return
				}
				off = at - due
				if step := ticks - before - c.length; went && step != 0 {
					steps++
					if step < -most || step > most {
						t.Fatalf("packet %d comes %d samples after the one before", n, step+c.length)
					}
				}
			})
			ppm := 0.0
			for _, part := range c.crystal {
				ppm = max(ppm, part, -part)
			}
			step := min(soundStep, media.DurationOf(c.length, int(c.rate))/2)
			if allowed := int(float64(hour)*ppm/1e6/float64(step)) + 2; steps > allowed {
				t.Errorf("sound took %d steps in an hour, want no more than the %d that the drift asks for", steps, allowed)
			}
		})
	}
}

// Whatever clock a publisher has, and whatever its reports say, no two packets of sound have the same time, and none comes
// before the one that it follows.
func TestSoundStaysInOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		samples := rapid.SampledFrom([]int64{120, 240, 480, 960, 1920, 2880}).Draw(rt, "samples")
		c := &studio{
			crystal: rapid.SliceOfN(rapid.Float64Range(-5000, 5000), 1, 4).Draw(rt, "ppm"),
			rate:    48000, length: samples,
			jitter:  time.Duration(rapid.Int64Range(1, int64(200*ms)).Draw(rt, "jitter")),
			reports: time.Duration(rapid.IntRange(0, 7).Draw(rt, "reports")) * time.Second,
			random:  rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0)),
		}
		last := map[*Clock]int64{}
		c.run(40*time.Second, func(clock *Clock, n int64, _ time.Duration, ticks int64, jumped bool) {
			if before, went := last[clock]; jumped || went && ticks <= before {
				rt.Fatalf("packet %d: media time went from %d to %d, jumped %v", n, before, ticks, jumped)
			}
			last[clock] = ticks
		})
	})
}

func ExampleTimeline() {
	sound := NewTimeline().Clock(48000)
	first, _ := sound.Ticks(4711, noon)
	second, _ := sound.Ticks(4711+960, noon.Add(33*time.Millisecond)) // late on its way, which moves nothing
	fmt.Println(second - first)
	// Output: 960
}
