package replica

import (
	"maps"
	"sync"
	"time"

	"banyan/relay/media"
)

// wishes are the offsets from which children want tracks that this node may not have yet. Children who have lost their
// parent come with what they have got so far, and would miss something if the replica here began at the newest
// keyframe, as one for a new reader does. A replica that runs already is mended otherwise (reach). The zero value is
// ready to use.
type wishes struct {
	mu   sync.Mutex
	made map[media.TrackID]wish
}

type wish struct {
	from int64
	at   time.Time
}

const (
	// wishHolds is how long a wish counts: until the replica has been started, if it was for that.
	wishHolds = 2 * heardOf
	maxWishes = 4096
)

// make notes that a child wants a track from an offset on. The lowest counts; zero is no wish.
func (w *wishes) make(id media.TrackID, from int64, now time.Time) {
	if from <= 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.made == nil {
		w.made = map[media.TrackID]wish{}
	}
	if len(w.made) >= maxWishes {
		maps.DeleteFunc(w.made, func(_ media.TrackID, old wish) bool { return now.Sub(old.at) > wishHolds })
	}
	before, known := w.made[id]
	if known && now.Sub(before.at) <= wishHolds {
		from = min(from, before.from)
	}
	if known || len(w.made) < maxWishes {
		w.made[id] = wish{from, now}
	}
}

// take returns where a replica is to begin, and forgets it; zero where nobody has said.
func (w *wishes) take(id media.TrackID, now time.Time) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	made := w.made[id]
	delete(w.made, id)
	if now.Sub(made.at) > wishHolds {
		return 0
	}
	return made.from
}
