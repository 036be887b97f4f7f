package transcoder

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"banyan/relay/media"
	"banyan/relay/tree"
)

// slots decide which processes run where there is not room for all. What a format is worth, and which is given up for
// which, is for tree.Keep; slots see to it that what is given up has ended before another takes its place: at no time
// do more run than may. It is safe for concurrent use.
type slots struct {
	most     int     // processes at one time
	capacity float64 // processors; zero for any number

	mu      sync.Mutex
	asked   []*slot     // that run, end, or wait
	again   *time.Timer // runs while anybody waits; nil before anybody has
	refused uint64      // asked for and not given at once
	shed    uint64      // taken away again
}

// slot is leave to run one process.
type slot struct {
	job     tree.Job
	readers func() int    // how many read what it makes, now; quick
	given   chan struct{} // closed when the slot is given
	taken   chan struct{} // closed when it is to be given back for another
	held    bool          // given is closed
	shed    bool          // taken is closed
}

// reconsiderEvery is how often, while formats wait, it is looked whether what readers want has changed: once for all
// that wait.
const reconsiderEvery = 2 * time.Second

// ask queues for a slot, which may be given at once. It must be released in any case. readers tells how many read what
// is made, whenever it is asked.
func (s *slots) ask(job tree.Job, readers func() int) *slot {
	asked := &slot{job: job, readers: readers, given: make(chan struct{}), taken: make(chan struct{})}
	asked.job.Cost = min(job.Cost, s.room().Capacity) // one that is too much for the machine may have all of it
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, asked)
	s.settle()
	if !asked.held {
		s.refused++
	}
	return asked
}

// room is what all processes may take.
func (s *slots) room() tree.Room {
	if s.capacity <= 0 {
		return tree.Room{Capacity: math.Inf(1), Jobs: s.most}
	}
	return tree.Room{Capacity: s.capacity, Jobs: s.most}
}

// settle gives slots and asks for some back; with mu held.
func (s *slots) settle() {
	room := s.room()
	jobs := make([]tree.Job, len(s.asked))
	cost, held := 0.0, 0 // of all that run, also of those that are about to end
	for i, o := range s.asked {
		jobs[i] = o.job
		jobs[i].Readers = o.readers()
		jobs[i].Running = o.held && !o.shed
		if o.held {
			cost += o.job.Cost
			held++
		}
	}
	for i, keep := range tree.Keep(jobs, room) {
		o := s.asked[i]
		switch {
		case !keep && o.held && !o.shed:
			o.shed = true
			s.shed++
			close(o.taken)
		case keep && !o.held && held < room.Jobs && cost+o.job.Cost <= room.Capacity:
			cost += o.job.Cost
			held++
			o.held = true
			close(o.given)
		}
	}
	s.arm(held < len(s.asked))
}

// arm has settle run again after a while, if anybody waits; with mu held.
func (s *slots) arm(waiting bool) {
	switch {
	case waiting && s.again == nil:
		s.again = time.AfterFunc(reconsiderEvery, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.settle()
		})
	case waiting:
		s.again.Reset(reconsiderEvery)
	case s.again != nil:
		s.again.Stop()
	}
}

// release gives a slot back, or stops waiting for it.
func (s *slots) release(old *slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, o := range s.asked {
		if o == old {
			s.asked = append(s.asked[:i:i], s.asked[i+1:]...)
			break
		}
	}
	s.settle()
}

// counts reads the accounts.
func (s *slots) counts() (running, waiting int, refused, shed uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.asked {
		if o.held {
			running++
		} else {
			waiting++
		}
	}
	return running, waiting, s.refused, s.shed
}

// What FFmpeg does on one processor, in pixels a second, roughly: machines differ by half of it either way. Presets are
// those of libx264.
const (
	decodes    = 300e6
	othersSlow = 3 // times as much as H.264: VP8, VP9, H.265, AV1
	inHardware = 2000e6
)

var encodes = map[string]float64{
	"ultrafast": 250e6, "superfast": 180e6, "veryfast": 110e6, "faster": 80e6, "fast": 65e6, "medium": 50e6, "slow": 25e6,
}

// soundCost is what a format of sound takes, in processors.
const soundCost = 0.02

// costOf estimates what making a format takes, in processors.
func (t *Transcoder) costOf(target Target, source Source) float64 {
	if target.Kind == media.Audio {
		return soundCost
	}
	in, out := source.Params, videoParams(target, source)
	speed := encodes[t.config.Preset]
	switch encoder := t.encoders[target.Codec]; {
	case encoder.hardware:
		speed = inHardware
	case target.Codec != media.H264:
		speed /= othersSlow
	}
	rate := func(p media.Params, fps float64) float64 { return float64(p.Width*p.Height) * fps }
	return rate(in, max(source.FrameRate, out.FPS))/decodes + rate(out, out.FPS)/speed
}

// errElsewhere ends a job.
var errElsewhere = errors.New("there was no room for the format here, and another node makes it now")

// queue waits for a slot. It gives up when the format has been taken over by another node, which then has room for it:
// readers here get it from there. Those elsewhere find it by themselves, and are given a moment for that.
func (j *job) queue(ctx context.Context, source media.Params) (*slot, error) {
	const look = time.Second
	j.account.enter(Queued)
	asked := j.t.slots.ask(j.claim(source), j.readers)
	again := time.NewTicker(look)
	defer again.Stop()
	for gone := 0; ; {
		select {
		case <-asked.given:
			return asked, nil
		case now := <-again.C:
			if j.account.queued(now) < waitsLong || j.t.config.Here(j.stream.Name(), j.target.Format) {
				gone = 0
				continue
			}
			if gone++; gone < 2 {
				continue
			}
			j.t.slots.release(asked)
			return nil, errElsewhere
		case <-ctx.Done():
			j.t.slots.release(asked)
			return nil, ctx.Err()
		}
	}
}

// claim is what a job asks a slot with.
func (j *job) claim(source media.Params) tree.Job {
	claim := tree.Job{
		Stream: j.stream.Name(), Format: j.target.Format, Kind: j.target.Kind, Lines: j.target.Height,
		Cost: j.t.costOf(j.target, sourceOf(source, j.source)),
	}
	if j.target.Kind == media.Audio {
		claim.Lines = 0
	}
	return claim
}

// readers is how many read what the job makes: viewers and children on other nodes.
func (j *job) readers() int { return j.stream.Readers(j.target.Format, j.target.Kind) }
