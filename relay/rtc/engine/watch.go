package engine

import (
	"sync/atomic"
	"time"

	"banyan/relay/log"
)

// A turn waits for the rest of a frame: one per packet would cost twice as much. Publishers and pacers spread a frame
// over a few milliseconds, and some never end it, as its last packet is lost: what has come goes out with the first packet
// that comes frameWait later, or when the shard next looks.
const frameWait = 2 * time.Millisecond

// watch listens to a log on behalf of all viewers of a shard that read it: the writer itself wakes the shard, once per
// frame, so that there is no goroutine in between.
type watch struct {
	log     *log.Log
	shard   *shard
	due     atomic.Bool // there is something new; set by the writer, cleared by the shard
	stop    func()      // listening
	waiting time.Time   // since when packets of a frame wait for its rest; zero where none does. Owned by the writer.

	// Owned by the shard.
	viewers []*Viewer
	head    int64 // of the log at the last turn for it
}

// written notes that there is another packet.
func (w *watch) written(frameEnd bool) {
	if !frameEnd {
		now := time.Now()
		if w.waiting.IsZero() {
			w.waiting = now
		}
		if now.Sub(w.waiting) < frameWait {
			return
		}
	}
	w.waiting = time.Time{}
	if !w.due.Swap(true) {
		w.shard.alert()
	}
}

// take tells whether there is something new, which counts as read then.
func (w *watch) take() bool {
	if !w.due.Swap(false) {
		return false
	}
	w.head = w.log.Head()
	return true
}

// look makes what waits for the rest of a frame that does not come go out.
func (w *watch) look() {
	if w.log.Head() > w.head {
		w.due.Store(true)
	}
}
