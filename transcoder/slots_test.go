package transcoder

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"banyan/relay/media"
	"banyan/relay/tree"
)

// claims are those of one stream, on a machine of one processor.
func claims() map[media.Format]tree.Job {
	return map[media.Format]tree.Job{
		"720p": {Stream: "cup/cam1", Format: "720p", Kind: media.Video, Lines: 720, Cost: 0.5},
		"360p": {Stream: "cup/cam1", Format: "360p", Kind: media.Video, Lines: 360, Cost: 0.3},
		"180p": {Stream: "cup/cam1", Format: "180p", Kind: media.Video, Lines: 180, Cost: 0.2},
		"opus": {Stream: "cup/cam1", Format: "opus", Kind: media.Audio, Cost: 0.1},
	}
}

// take waits for a slot until ctx ends.
func (s *slots) take(ctx context.Context, job tree.Job, readers func() int) (*slot, error) {
	asked := s.ask(job, readers)
	select {
	case <-asked.given:
		return asked, nil
	case <-ctx.Done():
		s.release(asked)
		return nil, ctx.Err()
	}
}

func TestSlotsShedWhatIsWorthLeast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slots{most: 10, capacity: 1}
		var mu sync.Mutex // guards viewers
		viewers := map[media.Format]int{"720p": 10, "360p": 10, "180p": 10, "opus": 30}
		readers := func(f media.Format) int {
			mu.Lock()
			defer mu.Unlock()
			return viewers[f]
		}
		take := func(f media.Format) chan *slot {
			got := make(chan *slot, 1)
			go func() {
				held, err := s.take(t.Context(), claims()[f], func() int { return readers(f) })
				if err != nil {
					t.Error(err)
				}
				got <- held
			}()
			synctest.Wait()
			return got
		}
		shed := func(held *slot) bool {
			select {
			case <-held.taken:
				return true
			default:
				return false
			}
		}
		large, middle := <-take("720p"), <-take("360p")
		sound := <-take("opus") // 0.9 of it is taken: the rest is spare
		small := take("180p")
		if !shed(large) || shed(middle) || shed(sound) {
			t.Fatalf("given up are 720p: %v, 360p: %v, opus: %v; want the largest picture", shed(large), shed(middle), shed(sound))
		}
		if len(small) != 0 {
			t.Fatal("its place was given before it was given back")
		}
		s.release(large)
		low := <-small
		again := take("720p") // asks again
		if len(again) != 0 || shed(middle) || shed(low) {
			t.Error("it displaces others at once")
		}
		mu.Lock()
		viewers["720p"], viewers["360p"], viewers["180p"] = 100_000, 0, 1
		mu.Unlock()
		time.Sleep(reconsiderEvery)
		synctest.Wait()
		if !shed(middle) || shed(sound) {
			t.Error("a hundred thousand viewers of the largest picture get none")
		}
		s.release(middle)
		synctest.Wait()
		if shed(low) {
			s.release(low)
		}
		<-again
		if running, waiting, refused, count := s.counts(); running+waiting < 2 || refused != 2 || count < 2 {
			t.Errorf("running %d, waiting %d, refused %d, shed %d", running, waiting, refused, count)
		}
	})
}

func TestSlotsAreGivenBack(t *testing.T) {
	s := &slots{most: 1}
	one := func() int { return 1 }
	held, err := s.take(t.Context(), claims()["720p"], one)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.take(ctx, claims()["opus"], one); err == nil {
		t.Error("a second place was given")
	}
	s.release(held)
	if running, waiting, _, _ := s.counts(); running != 0 || waiting != 0 {
		t.Errorf("running %d, waiting %d after all have left", running, waiting)
	}
}

// crowd is slots with those who ask, of one processor each hundred.
type crowd struct {
	*slots
	asked []*slot
}

// come adds a format that many read.
func (c *crowd) come(cost float64, readers int) *slot {
	job := tree.Job{Stream: media.Name(fmt.Sprintf("s%d", len(c.asked))), Format: "opus", Kind: media.Audio, Cost: cost}
	asked := c.ask(job, func() int { return readers })
	c.asked = append(c.asked, asked)
	return asked
}

// use is what holds a slot now: what runs, and what has not ended yet.
func (c *crowd) use() (processes int, cost float64) {
	for _, o := range c.slots.asked {
		if o.held {
			processes++
			cost += o.job.Cost
		}
	}
	return processes, cost
}

// leave ends a process, or the wait for one.
func (c *crowd) leave(i int) {
	c.release(c.asked[i])
	c.asked = append(c.asked[:i:i], c.asked[i+1:]...)
}

// However many there may be: all of them run, and those who are worth more start only as others end.
func TestSlotsAreAsManyAsConfigured(t *testing.T) {
	for most := 1; most <= 40; most++ {
		c := crowd{slots: &slots{most: most}}
		for range most {
			c.come(soundCost, 1)
		}
		if running, _, refused, _ := c.counts(); running != most || refused != 0 {
			t.Fatalf("%d of %d processes may run", running, most)
		}
		var better []*slot
		for range min(most, 5) {
			better = append(better, c.come(soundCost, 100))
		}
		if held, _ := c.use(); held != most {
			t.Fatalf("%d processes run where %d may: one starts while what it displaces still ends", held, most)
		}
		for i := 0; i < len(c.asked); {
			if !c.asked[i].shed {
				i++
				continue
			}
			c.leave(i)
			if held, _ := c.use(); held != most {
				t.Fatalf("%d processes run where %d may, after one was displaced", held, most)
			}
		}
		for _, b := range better {
			if !b.held {
				t.Fatalf("of %d, one that is worth more does not run", most)
			}
		}
	}
}

// Whoever comes and goes, and in whatever order: never more run than may, nor at more cost, and a place that could be
// used is used.
func TestSlotsAreNeverExceeded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 40).Draw(t, "most")
		capacity := rapid.SampledFrom([]float64{0, 0.5, 2, 16}).Draw(t, "capacity")
		c := crowd{slots: &slots{most: most, capacity: capacity}}
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			if len(c.asked) > 0 && rapid.IntRange(0, 2).Draw(t, "leaves") == 0 {
				c.leave(rapid.IntRange(0, len(c.asked)-1).Draw(t, "who"))
			} else {
				c.come(rapid.SampledFrom([]float64{0.02, 0.3, 4}).Draw(t, "cost"), rapid.SampledFrom([]int{0, 1, 9, 1000}).Draw(t, "readers"))
			}
			if held, cost := c.use(); held > most || capacity > 0 && cost > capacity+1e-9 {
				t.Fatalf("%d processes of %d hold slots, for %v of %v processors", held, most, cost, capacity)
			}
		}
		for i := 0; i < len(c.asked); i++ {
			if c.asked[i].shed {
				c.leave(i)
				i = -1
			}
		}
		running, waiting, _, _ := c.counts()
		if capacity == 0 && running != min(most, running+waiting) {
			t.Fatalf("%d run and %d wait, where %d may run", running, waiting, most)
		}
	})
}

// Processors and the number of processes are two limits: 8 formats of sound and 3 of 720p take 11 of 16 processes and 1.18
// of 2 processors.
func TestSlotsCountProcessorsApart(t *testing.T) {
	c := crowd{slots: &slots{most: 16, capacity: 2}}
	for range 8 {
		c.come(soundCost, 1)
	}
	for range 3 {
		c.come(0.34, 1)
	}
	if running, waiting, _, _ := c.counts(); running != 11 || waiting != 0 {
		t.Errorf("%d run and %d wait, want all eleven to run", running, waiting)
	}
}

// However many wait, what readers want is looked at once for all of them.
func TestSlotsAreReconsideredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slots{most: 1}
		ctx, cancel := context.WithCancel(t.Context())
		asked := 0
		held := s.ask(claims()["opus"], func() int { asked++; return 100 })
		var waits sync.WaitGroup
		for range 50 {
			waits.Go(func() { _, _ = s.take(ctx, claims()["720p"], func() int { return 1 }) })
		}
		synctest.Wait()
		s.mu.Lock()
		asked = 0
		s.mu.Unlock()
		time.Sleep(10*reconsiderEvery + time.Millisecond)
		synctest.Wait()
		s.mu.Lock()
		if asked != 10 {
			t.Errorf("in ten rounds they were looked at %d times", asked)
		}
		s.mu.Unlock()
		cancel()
		waits.Wait()
		s.release(held)
		if s.again.Stop() {
			t.Error("nobody waits, and the clock runs")
		}
	})
}
