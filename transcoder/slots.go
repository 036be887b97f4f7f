package transcoder

import (
	"context"
	"slices"
	"sync"

	"banyan/relay/media"
)

// slots bounds the processes that run at once. Where all are taken, a format that is worth more takes
// the place of the one that is worth least, which then waits in turn: with too little capacity the
// ladder loses its dearest rungs first. It is safe for concurrent use.
type slots struct {
	most int

	mu      sync.Mutex
	held    []*slot
	waiting []*slot // by falling worth
	refused uint64  // asked for and not given at once
	shed    uint64  // taken away again
}

// slot is leave to run one process.
type slot struct {
	worth int
	given chan struct{} // closed when the slot is given
	taken chan struct{} // closed when it is to be given back for another
	shed  bool          // taken is closed
}

// take waits for a slot.
func (s *slots) take(ctx context.Context, worth int) (*slot, error) {
	asked := &slot{worth: worth, given: make(chan struct{}), taken: make(chan struct{})}
	s.mu.Lock()
	s.ask(asked)
	s.mu.Unlock()
	select {
	case <-asked.given:
		return asked, nil
	case <-ctx.Done():
		s.release(asked)
		return nil, ctx.Err()
	}
}

func (s *slots) ask(asked *slot) {
	if len(s.held) < s.most {
		s.give(asked)
		return
	}
	s.refused++
	i, _ := slices.BinarySearchFunc(s.waiting, asked, func(a, b *slot) int {
		if a.worth >= b.worth {
			return -1
		}
		return 1
	})
	s.waiting = slices.Insert(s.waiting, i, asked)
	least := slices.MinFunc(s.held, func(a, b *slot) int { return effective(a) - effective(b) })
	if least.worth < asked.worth && !least.shed {
		least.shed = true
		s.shed++
		close(least.taken)
	}
}

// effective ranks slots that are being given back already above all, so that none is asked twice.
func effective(s *slot) int {
	if s.shed {
		return 1 << 30
	}
	return s.worth
}

func (s *slots) give(to *slot) {
	s.held = append(s.held, to)
	close(to.given)
}

// release gives a slot back, or stops waiting for it.
func (s *slots) release(old *slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	is := func(o *slot) bool { return o == old }
	s.waiting = slices.DeleteFunc(s.waiting, is)
	s.held = slices.DeleteFunc(s.held, is)
	for len(s.held) < s.most && len(s.waiting) > 0 {
		next := s.waiting[0]
		s.waiting = s.waiting[1:]
		s.give(next)
	}
}

// counts reads the accounts.
func (s *slots) counts() (running, waiting int, refused, shed uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.held), len(s.waiting), s.refused, s.shed
}

// worthOf ranks formats when capacity is short: sound first, then the smaller pictures, as everybody
// can watch these.
func worthOf(t Target) int {
	if t.Kind == media.Audio {
		return maxHeight + 1
	}
	return maxHeight - t.Height
}
