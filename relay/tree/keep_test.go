package tree

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"banyan/relay/media"
)

// rungs of one stream, as they cost and as they are read.
func rungs(stream media.Name, readers ...int) []Job {
	jobs := []Job{
		{Format: "1080p", Kind: media.Video, Lines: 1080, Cost: 4}, {Format: "720p", Kind: media.Video, Lines: 720, Cost: 2},
		{Format: "360p", Kind: media.Video, Lines: 360, Cost: 0.6}, {Format: "opus", Kind: media.Audio, Cost: 0.1},
	}
	for i := range jobs {
		jobs[i].Stream, jobs[i].Readers, jobs[i].Running = stream, readers[i], true
	}
	return jobs
}

// kept names the jobs that run.
func kept(jobs []Job, on []bool) (names []string) {
	for i, j := range jobs {
		if on[i] {
			names = append(names, fmt.Sprintf("%s:%s", j.Stream, j.Format))
		}
	}
	return names
}

func TestKeep(t *testing.T) {
	waiting := func(jobs []Job, formats ...media.Format) []Job {
		for i := range jobs {
			jobs[i].Running = !slices.Contains(formats, jobs[i].Format)
		}
		return jobs
	}
	for _, c := range []struct {
		why      string
		jobs     []Job
		capacity float64
		want     []string
	}{
		{"there is enough", rungs("a", 9, 9, 9, 9), 8, []string{"a:1080p", "a:720p", "a:360p", "a:opus"}},
		{"what nobody reads goes first, the dearest before others", rungs("a", 5, 0, 0, 5), 6.5, []string{"a:1080p", "a:360p", "a:opus"}},
		{"the largest picture goes first", rungs("a", 9, 9, 9, 9), 6, []string{"a:720p", "a:360p", "a:opus"}},
		{"sound and the smallest picture stay longest", rungs("a", 99, 9, 9, 9), 1, []string{"a:360p", "a:opus"}},
		{"in the end sound stays", rungs("a", 9, 9, 9, 9), 0.2, []string{"a:opus"}},
		{"many readers of a large picture count more than a few of a small one", append(rungs("a", 9000, 0, 100, 9000), rungs("b", 0, 3, 3, 3)...), 5.5,
			[]string{"a:1080p", "a:360p", "a:opus", "b:360p", "b:opus"}},
		{"it comes back when there is more room than it needs", waiting(rungs("a", 9, 9, 9, 9), "1080p"), 7.5, []string{"a:1080p", "a:720p", "a:360p", "a:opus"}},
		{"and not when there is just enough", waiting(rungs("a", 9, 9, 9, 9), "1080p"), 6.8, []string{"a:720p", "a:360p", "a:opus"}},
		{"what is worth more displaces", append(waiting(rungs("a", 0, 0, 50, 50), "360p", "opus"), rungs("b", 0, 3, 0, 0)[1]), 8.1, []string{"a:720p", "a:360p", "a:opus", "b:720p"}},
		{"one that fits alone runs alone", waiting(rungs("a", 0, 9, 0, 0)[1:2], "720p"), 2, []string{"a:720p"}},
		{"one that does not fit at all waits", waiting(rungs("a", 9, 0, 0, 0)[:1], "1080p"), 2, nil},
		{"nothing", nil, 1, nil},
		{"no capacity", rungs("a", 9, 9, 9, 9), 0, nil},
	} {
		if got := kept(c.jobs, Keep(c.jobs, Room{Capacity: c.capacity})); !slices.Equal(got, c.want) {
			t.Errorf("with %v kept are %q, want %q: %s", c.capacity, got, c.want, c.why)
		}
	}
}

// sounds are n jobs that are alike.
func sounds(n int) (jobs []Job) {
	for i := range n {
		jobs = append(jobs, Job{Stream: media.Name(fmt.Sprintf("s%02d", i)), Format: "opus", Kind: media.Audio, Cost: 0.02, Readers: 1, Running: true})
	}
	return jobs
}

// Capacity and the number of jobs are two limits: what takes much of the one and little of the other leaves room for
// its opposite.
func TestKeepCountsJobsApart(t *testing.T) {
	picture := func(running bool) Job {
		return Job{Stream: "cup/cam1", Format: "720p", Kind: media.Video, Lines: 720, Cost: 0.34, Readers: 1, Running: running}
	}
	mixed := sounds(8)
	for i := range 3 {
		j := picture(false)
		j.Stream = media.Name(fmt.Sprintf("cup/%d", i))
		mixed = append(mixed, j)
	}
	count := func(on []bool) (n int) {
		for _, o := range on {
			n += rank01(o)
		}
		return n
	}
	for _, c := range []struct {
		why  string
		jobs []Job
		room Room
		want int
	}{
		{"1.18 of 2 cores and 11 of 16 jobs leave room", mixed, Room{2, 16}, 11},
		{"as many as there may be", sounds(16), Room{2, 16}, 16},
		{"one less than there are", sounds(16), Room{2, 15}, 15},
		{"only their number counts", sounds(9), Room{math.Inf(1), 4}, 4},
		{"nothing counts", sounds(9), Room{math.Inf(1), 0}, 9},
		{"one more waits", append(sounds(4), picture(false)), Room{2, 4}, 4},
	} {
		if got := count(Keep(c.jobs, c.room)); got != c.want {
			t.Errorf("%d of %d run with %+v, want %d: %s", got, len(c.jobs), c.room, c.want, c.why)
		}
	}
}

// What runs fits, and asking again changes nothing: jobs do not start and stop by turns.
func TestKeepRests(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var jobs []Job
		for s := range rapid.IntRange(1, 4).Draw(t, "streams") {
			readers := rapid.SliceOfN(rapid.IntRange(0, 1000), 4, 4).Draw(t, "readers")
			for _, j := range rungs(media.Name(fmt.Sprintf("s%d", s)), readers...) {
				j.Running = rapid.Bool().Draw(t, "running")
				jobs = append(jobs, j)
			}
		}
		capacity := rapid.Float64Range(0, 20).Draw(t, "capacity")
		room := Room{Capacity: capacity, Jobs: rapid.IntRange(0, 12).Draw(t, "jobs")}
		var on []bool
		for round := range 3 {
			next := Keep(jobs, room)
			if round > 1 && !slices.Equal(on, next) {
				t.Fatalf("with the same jobs first %q run, then %q", kept(jobs, on), kept(jobs, next))
			}
			on = next
			cost, running := 0.0, 0
			for i := range jobs {
				jobs[i].Running = on[i]
				if on[i] {
					cost += jobs[i].Cost
					running++
				}
			}
			if cost > capacity || room.Jobs > 0 && running > room.Jobs {
				t.Fatalf("%d run, %q, and cost %v of %+v", running, kept(jobs, on), cost, room)
			}
		}
	})
}
