package tree

import (
	"cmp"
	"slices"

	"banyan/relay/media"
)

// Job is a format of a stream that a worker makes, or would make if it had room.
type Job struct {
	Stream media.Name
	Format media.Format
	Kind   media.Kind
	// Lines is the height of the picture; zero for sound.
	Lines int
	// Cost is what it takes of the worker, in the unit of the worker's capacity, such as cores. It is positive.
	Cost float64
	// Readers is how many read it, or would if it were made: viewers, or what stands in for them. Where a job was given up, it
	// is how many there were.
	Readers int
	// Running tells that it is being made.
	Running bool
}

// Room is what a worker has for jobs. A job takes of both, and both must be enough.
type Room struct {
	Capacity float64 // what the costs of jobs add up to at most; may be infinite
	Jobs     int     // how many run at one time; zero for any number
}

// Thresholds of Keep, so that jobs do not start and stop by turns.
const (
	// spare is the share of a worker's capacity that is left free when a job starts, as the costs of jobs go up and down.
	// Their number does not: none of it is spared.
	spare = 0.1
	// better is how many times as much a job must be worth as those it displaces.
	better = 1.5
)

// Keep says which of a worker's jobs run, by index, when its room is not enough for all. It depends on what runs now:
// jobs are given up only where room is exceeded or where others are worth much more, and taken back
// where there is more room than they need.
//
// What a job is worth is what its readers would lose, for the share that it takes of the room: of the capacity or of the
// number of jobs, whichever is more. Without sound or without any picture
// they lose all. Without one rung of several they go to the next lower one of the same stream, and lose the lines between. So
// those that nobody reads go first, the dearest of them before others; then the largest pictures, as they cost most
// and their viewers lose least; the smallest picture and sound stay to the last. A rung with a hundred thousand viewers stays
// before one with three, however, even if it is larger.
func Keep(jobs []Job, room Room) []bool {
	k := keeper{jobs: jobs, on: make([]bool, len(jobs)), room: room}
	for i := range jobs {
		k.on[i] = jobs[i].Running
	}
	for k.exceeds() {
		k.on[k.least()] = false
	}
	// What is displaced may leave room for something that was looked at before it, so look until nothing changes. What a job is
	// worth depends on what else runs; the bound is for a circle of jobs that displace each other, should there be one.
	for range jobs {
		if !k.takeBack() {
			break
		}
	}
	return k.on
}

type keeper struct {
	jobs []Job
	on   []bool // those that run
	room Room
}

// used is what runs takes of the room.
func (k *keeper) used() (cost float64, jobs int) {
	for i, on := range k.on {
		if on {
			cost += max(k.jobs[i].Cost, 0)
			jobs++
		}
	}
	return cost, jobs
}

func (k *keeper) exceeds() bool {
	cost, jobs := k.used()
	return cost > k.room.Capacity || k.tooMany(jobs)
}

func (k *keeper) tooMany(jobs int) bool { return k.room.Jobs > 0 && jobs > k.room.Jobs }

// takeBack starts what waits, the worthiest first, where there is room or where it is worth much more than what runs, and
// tells whether anything started.
func (k *keeper) takeBack() (started bool) {
	waiting := k.list(false)
	slices.SortStableFunc(waiting, func(a, b int) int { return -k.compare(a, b) })
	for _, i := range waiting {
		before := slices.Clone(k.on)
		k.on[i] = true
		mine := k.worth(i)
		for !k.fits(i) {
			k.on[i] = false
			least := k.least()
			if least < 0 || k.worth(least)*better >= mine {
				break
			}
			k.on[least], k.on[i] = false, true
		}
		if !k.on[i] {
			k.on = before
		}
		started = started || k.on[i]
	}
	return started
}

// fits tells whether what runs leaves something to spare, or is i alone.
func (k *keeper) fits(i int) bool {
	cost, jobs := k.used()
	if k.tooMany(jobs) {
		return false
	}
	return cost <= k.room.Capacity*(1-spare) || cost <= k.room.Capacity && cost == k.jobs[i].Cost
}

func (k *keeper) list(on bool) (list []int) {
	for i := range k.on {
		if k.on[i] == on {
			list = append(list, i)
		}
	}
	return list
}

// least is the running job to give up first; negative where none runs.
func (k *keeper) least() int {
	running := k.list(true)
	if len(running) == 0 {
		return -1
	}
	return slices.MinFunc(running, k.compare)
}

// compare orders jobs by what they are worth. Among equals the cheaper is worth more, then what comes first by name.
func (k *keeper) compare(a, b int) int {
	x, y := &k.jobs[a], &k.jobs[b]
	return cmp.Or(cmp.Compare(k.worth(a), k.worth(b)), cmp.Compare(y.Cost, x.Cost),
		CompareIDs(media.TrackID{Stream: y.Stream, Format: y.Format, Kind: y.Kind}, media.TrackID{Stream: x.Stream, Format: x.Format, Kind: x.Kind}))
}

// worth is what the readers of a job lose without it, in viewers who lose all, for the share of the room that it takes. They go to the
// next lower picture that runs, and so count as readers of that one when their own does not run.
func (k *keeper) worth(i int) float64 {
	j := &k.jobs[i]
	readers, lower := j.Readers, 0
	for o := range k.jobs {
		other := &k.jobs[o]
		if o == i || other.Stream != j.Stream || other.Kind != j.Kind || j.Kind != media.Video {
			continue
		}
		if other.Lines < j.Lines && k.on[o] {
			lower = max(lower, other.Lines)
		}
		if !k.on[o] && other.Lines > j.Lines && k.nextBelow(o, i) {
			readers += other.Readers
		}
	}
	lost := 1.0
	if j.Lines > 0 {
		lost = 1 - float64(lower)/float64(j.Lines)
	}
	return float64(readers) * lost / k.share(j)
}

// share is the part of the room that a job takes, where it takes most.
func (k *keeper) share(j *Job) float64 {
	const least, cheapest = 1e-12, 1e-6
	share := max(j.Cost, cheapest) / k.room.Capacity
	if k.room.Jobs > 0 {
		share = max(share, 1/float64(k.room.Jobs))
	}
	return max(share, least)
}

// nextBelow tells whether readers of o, which does not run, end up with i: no running picture lies between.
func (k *keeper) nextBelow(o, i int) bool {
	from, to := &k.jobs[i], &k.jobs[o]
	return !slices.ContainsFunc(k.list(true), func(n int) bool {
		j := &k.jobs[n]
		return n != i && j.Stream == from.Stream && j.Kind == from.Kind && j.Lines > from.Lines && j.Lines < to.Lines
	})
}
