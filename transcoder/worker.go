package transcoder

import (
	"sync"
	"time"

	"banyan/relay/log"
	"banyan/relay/media"
)

// State is what a worker is about.
type State string

// The states of a worker.
const (
	Waiting State = "waiting" // for the source to send something that can be decoded
	Queued  State = "queued"  // for leave to run one more process
	Running State = "running"
	Backoff State = "backoff" // for a moment after a crash
	Open    State = "open"    // after too many crashes: the circuit is open
)

// Worker tells about one format that is being made.
type Worker struct {
	Track    media.TrackID
	State    State
	PID      int       // of the process; zero while none runs
	Since    time.Time // of the state
	Encoder  string
	Params   media.Params  // of the output; those of the newest run
	In, Out  uint64        // frames fed, and made
	Dropped  uint64        // frames of the source that were of no use
	Restarts uint64        // starts but the first
	Lag      time.Duration // media time from the source's newest frame back to the newest made
	Trouble  string        // why the process before this one ended, where that was not in order
}

// account is the part of a job that others may look at. It is safe for concurrent use.
type account struct {
	mu     sync.Mutex
	worker Worker
	source *log.Log   // nil before it is known
	newest media.Time // of what was made; zero before
}

func (a *account) update(change func(*Worker)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.worker)
}

func (a *account) enter(s State) {
	a.update(func(w *Worker) {
		if w.State != s {
			w.State, w.Since = s, time.Now()
		}
	})
}

// queued is how long it has waited for a slot; zero where it does not.
func (a *account) queued(now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.worker.State != Queued {
		return 0
	}
	return now.Sub(a.worker.Since)
}

func (a *account) made(at media.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.worker.Out++
	a.newest = at
}

// read notes where the frames come from.
func (a *account) read(source *log.Log) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.source = source
}

func (a *account) snapshot() Worker {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.worker
	if a.source != nil && a.newest != 0 {
		w.Lag = a.source.NewestTime().Sub(a.newest)
	}
	return w
}
