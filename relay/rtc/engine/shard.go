package engine

import (
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"banyan/relay/log"
	"banyan/relay/rtc/engine/batch"
)

// Feed says what a viewer gets. Its methods are called by the viewer's shard, one at a time, and must not wait.
type Feed interface {
	// Turn sends what there is, a fair share at a time, by the methods of the viewer's tracks, and says when to be
	// called again. due says why it is called. An error ends the session.
	Turn(now time.Time, due Due) (Next, error)
	// Sent tells that all which turns have sent is with the kernel at now.
	Sent(now time.Time)
	// Look is called every LookInterval, for what no log tells.
	Look(now time.Time) error
}

// LookInterval is the time between two calls of Feed.Look.
const LookInterval = 250 * time.Millisecond

// Next says when a viewer wants its next turn.
type Next struct {
	// Logs are those in which a new packet, or their end, is a reason. Nil ones are none.
	Logs [4]*log.Log
	// More tells that the share was used up. The next turn comes after Pause at the latest, at once if that is zero.
	More  bool
	Pause time.Duration
}

// Due is why a viewer has a turn, so that what is not concerned need not be looked at: with hundreds of viewers, all that
// is looked at has left the cache since the last turn.
type Due uint8

// All is a turn for any reason, or for one that is not known: its first one, one after Feed.Look or a pause, and when
// the viewer has asked for something.
const All Due = 0xff

// Has tells whether there may be something new in log i of the last Next.
func (d Due) Has(i int) bool { return d>>i&1 != 0 }

// shard serves a share of the viewers, in one goroutine.
type shard struct {
	engine *Engine
	batch  *batch.Batch
	wake   chan struct{} // capacity 1, never closed
	stop   chan struct{} // closed by the engine, when there are no more viewers
	ended  chan struct{} // closed by the goroutine when it returns

	mu     sync.Mutex // guards all below
	calls  []func()   // for the goroutine to run
	asking []*Viewer  // that asked for repairs or a keyframe, each once for either

	// Owned by the goroutine.
	viewers []*Viewer
	watches map[*log.Log]*watch
	queue   []*Viewer // to have a turn now
	served  []*Viewer // had one since packets were last given to the kernel
	again   []*Viewer // to have one at Viewer.again
	looked  int       // of viewers, where the last look ended
	unseen  int       // parts of a viewer that the last look was short of
}

func newShard(e *Engine) *shard {
	s := &shard{
		engine: e, batch: e.socket.Batch(), wake: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{}),
		watches: map[*log.Log]*watch{},
	}
	s.batch.Flushed = s.sent
	return s
}

// alert makes the shard have a turn soon.
func (s *shard) alert() {
	select {
	case s.wake <- struct{}{}:
	default: // it has been told
	}
}

// do runs f in the shard's goroutine, and waits. Once that has ended, there is nothing that f could be about.
func (s *shard) do(f func()) {
	done := make(chan struct{})
	s.mu.Lock()
	s.calls = append(s.calls, func() { defer close(done); f() })
	s.mu.Unlock()
	s.alert()
	select {
	case <-done:
	case <-s.ended:
	}
}

// ask makes the shard see to what v asked for.
func (s *shard) ask(v *Viewer) {
	s.mu.Lock()
	s.asking = append(s.asking, v)
	s.mu.Unlock()
	s.alert()
}

// lookSteps is how many parts the viewers are looked at in: all at once would delay who has something to send.
const lookSteps = 5

// run serves until stop is closed.
func (s *shard) run() {
	defer close(s.ended)
	ticker := time.NewTicker(LookInterval / lookSteps)
	defer ticker.Stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-s.wake:
		case <-timer.C:
		case <-ticker.C:
			s.look(time.Now())
		}
		s.turn(time.Now())
		s.batch.Flush()
		s.sent() // what went by TCP
		if pause, ok := s.pause(); ok {
			timer.Reset(pause)
		}
	}
}

// turn serves everyone for whom there is something to do.
func (s *shard) turn(now time.Time) {
	s.mu.Lock()
	calls, asking := s.calls, s.asking
	s.calls, s.asking = nil, nil
	s.mu.Unlock()
	for _, f := range calls {
		f()
	}
	for _, v := range asking { // what is missing is needed sooner than what is new
		s.guarded(v, func(v *Viewer) error { v.listen(now); v.repair(now); return nil })
		if len(v.keyframe) > 0 {
			s.mark(v, All)
		}
	}
	for _, w := range s.watches {
		if w.take() {
			for _, v := range w.viewers {
				s.mark(v, v.dueFor(w.log))
			}
		}
	}
	s.again = slices.DeleteFunc(s.again, func(v *Viewer) bool {
		ready := !v.again.After(now)
		if ready {
			s.mark(v, All)
		}
		return ready
	})
	s.serve(now)
}

// mark makes v have a turn.
func (s *shard) mark(v *Viewer, why Due) {
	if v.due == 0 {
		s.queue = append(s.queue, v)
	}
	v.due |= why
}

// dueFor is the reason to have a turn that news of l is.
func (v *Viewer) dueFor(l *log.Log) (due Due) {
	for i, other := range v.logs {
		if other == l {
			due |= 1 << i
		}
	}
	return due
}

// serve gives a turn to each viewer that is due. Each sends all that it has before the next one has its turn: its keys
// are in the cache then, and its packets lie together.
func (s *shard) serve(now time.Time) {
	for _, v := range s.queue {
		due := v.due
		v.due = 0
		if v.attached {
			s.guarded(v, func(v *Viewer) error { return s.serveOne(v, due, now) })
		}
	}
	s.queue = s.queue[:0]
}

// sent tells those who had a turn that their packets are with the kernel: the clock is read once for all of them.
func (s *shard) sent() {
	if len(s.served) == 0 {
		return
	}
	now := time.Now()
	for _, v := range s.served {
		v.feed.Sent(now)
	}
	s.served = s.served[:0]
}

func (s *shard) serveOne(v *Viewer, due Due, now time.Time) error {
	v.listen(now)
	next, err := v.feed.Turn(now, due)
	if err != nil {
		return err
	}
	s.served = append(s.served, v)
	if next.Logs != v.logs {
		s.follow(v, next.Logs)
	}
	if next.More && !slices.Contains(s.again, v) {
		v.again = now.Add(next.Pause)
		s.again = append(s.again, v)
	}
	return nil
}

// guarded keeps a mistake that one viewer's packets bring to light from ending more than its session.
func (s *shard) guarded(v *Viewer, f func(*Viewer) error) {
	defer func() {
		if cause := recover(); cause != nil {
			s.engine.config.Logger.Error("a viewer's turn panicked", "session", v.ShortID(), "stream", v.config.Stream,
				"cause", cause, "stack", string(debug.Stack()))
			v.end(fmt.Errorf("its turn panicked: %v", cause))
		}
	}()
	if err := f(v); err != nil {
		v.end(err)
	}
}

// pause is how long it is until somebody is to have another turn, if somebody is.
func (s *shard) pause() (time.Duration, bool) {
	if len(s.again) == 0 {
		return 0, false
	}
	first := slices.MinFunc(s.again, func(a, b *Viewer) int { return a.again.Compare(b.again) })
	return max(0, time.Until(first.again)), true
}

// look looks after a part of the viewers, and after what all of them read.
func (s *shard) look(now time.Time) {
	for _, w := range s.watches {
		w.look()
	}
	s.unseen += len(s.viewers)
	for ; s.unseen >= lookSteps; s.unseen -= lookSteps {
		if s.looked++; s.looked >= len(s.viewers) {
			s.looked = 0
		}
		v := s.viewers[s.looked]
		s.guarded(v, func(v *Viewer) error { return v.feed.Look(now) })
		s.mark(v, All) // whatever it found out may be a reason to send
	}
}

// attach begins to serve v what f says, unless v is ending.
func (s *shard) attach(v *Viewer, f Feed) {
	if v.detached {
		return
	}
	s.viewers = append(s.viewers, v)
	v.feed, v.attached = f, true
	s.mark(v, All)
}

// detach stops serving v for good. It may not have been attached.
func (s *shard) detach(v *Viewer) {
	isIt := func(other *Viewer) bool { return other == v }
	s.viewers, s.again = slices.DeleteFunc(s.viewers, isIt), slices.DeleteFunc(s.again, isIt)
	v.attached, v.detached = false, true
	s.unseen = min(s.unseen, lookSteps*len(s.viewers))
	s.follow(v, [4]*log.Log{})
}

// follow changes the logs that give v a turn.
func (s *shard) follow(v *Viewer, logs [4]*log.Log) {
	for i, l := range v.logs {
		if l != nil && !slices.Contains(logs[:], l) && !slices.Contains(v.logs[:i], l) {
			s.unwatch(l, v)
		}
	}
	for i, l := range logs {
		if l != nil && !slices.Contains(v.logs[:], l) && !slices.Contains(logs[:i], l) {
			s.watch(l, v)
		}
	}
	v.logs = logs
}

func (s *shard) watch(l *log.Log, v *Viewer) {
	w := s.watches[l]
	if w == nil {
		w = &watch{log: l, shard: s}
		w.stop = l.Listen(w.written)
		w.due.Store(true) // what was written before it began to listen
		s.watches[l] = w
		s.alert()
	}
	w.viewers = append(w.viewers, v)
}

func (s *shard) unwatch(l *log.Log, v *Viewer) {
	w := s.watches[l]
	w.viewers = slices.DeleteFunc(w.viewers, func(other *Viewer) bool { return other == v })
	if len(w.viewers) == 0 {
		w.stop()
		delete(s.watches, l)
	}
}
