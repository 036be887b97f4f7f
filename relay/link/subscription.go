package link

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"banyan/relay/log"
	"banyan/relay/media"
)

// subscription is a track that is taken from a parent.
type subscription struct {
	link  *uplink
	id    uint64
	sink  Sink
	turns *turns
	ended chan struct{} // closed when cause is set
	final atomic.Pointer[ending]
	last  chan struct{} // closed when final is set

	mu    sync.Mutex // guards the fields below, and the sink's Write
	over  bool       // nothing more is written
	cause error
	under map[*quic.ReceiveStream]bool // streams that are read; true for that of the newest group
	front uint64                       // the newest group

	order  sync.Mutex // guards the newest group that was seen
	seen   bool
	newest header
}

// ending is an END that waits for the groups before it.
type ending struct {
	groups uint64
	cause  error
}

// run waits for the end of s, and passes wishes for keyframes on meanwhile.
func (s *subscription) run(ctx context.Context, away <-chan struct{}) error {
	for {
		select {
		case <-s.sink.KeyframeRequests():
			if err := s.link.send(frameKeyframe, appendNumber(s.id)); err != nil {
				return err
			}
		case <-s.last:
			return s.rest(ctx)
		case <-away:
			return ErrGoingAway
		case <-s.ended:
			return s.cause
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// rest waits for the groups that the parent began before it ended the subscription: END may overtake them.
func (s *subscription) rest(ctx context.Context) error {
	const patience = time.Second
	final := s.final.Load()
	s.turns.wait(ctx, final.groups, patience, s.ended)
	return final.cause
}

func (s *subscription) endAfter(groups uint64, cause error) {
	if s.final.CompareAndSwap(nil, &ending{groups, cause}) {
		close(s.last)
	}
}

// end ends s: nothing is written from now on.
func (s *subscription) end(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked(cause)
}

func (s *subscription) endLocked(cause error) {
	if !s.over {
		s.over, s.cause = true, cause
		close(s.ended)
		for stream := range s.under {
			stream.CancelRead(streamUnwanted)
		}
	}
}

// attach has a stream end with the subscription, and tells whether that is still on. The newest group may stand still for
// as long as its publisher does. All others, and repairs, are given idleTimeout to come to their end.
func (s *subscription) attach(stream *quic.ReceiveStream, number uint64, repair bool, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		stream.CancelRead(streamUnwanted)
		return false
	}
	if s.under == nil {
		s.under = map[*quic.ReceiveStream]bool{}
	}
	deadline := now.Add(idleTimeout)
	old := repair || number < s.front
	if s.under[stream] = !old; old {
		_ = stream.SetReadDeadline(deadline)
		return true
	}
	s.front = number
	_ = stream.SetReadDeadline(time.Time{})
	for other, newest := range s.under {
		if newest && other != stream {
			s.under[other] = false
			_ = other.SetReadDeadline(deadline)
		}
	}
	return true
}

func (s *subscription) detach(stream *quic.ReceiveStream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.under, stream)
}

// setPath takes what the parent says of the way that the track came. The last defence against a circle is here.
func (s *subscription) setPath(path []string) {
	self := s.link.node.config.Node
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	if slices.Contains(path, self) || len(path) > MaxDepth+1 {
		s.endLocked(fmt.Errorf("%w: it came through %v", ErrLoop, path))
		return
	}
	if err := s.tell(append(slices.Clone(path), self)); err != nil {
		s.endLocked(err)
	}
}

func (s *subscription) tell(path []string) (err error) {
	defer s.link.node.survive(&err, "a sink that is told its path")
	s.sink.SetPath(path)
	return nil
}

// admit checks a group against the newest one that was seen: numbers, offsets and epochs only grow, together.
func (s *subscription) admit(h *header) error {
	s.order.Lock()
	defer s.order.Unlock()
	n := &s.newest
	switch {
	case !s.seen:
	case h.number == n.number:
		return malformed("group %d comes twice", h.number)
	case h.number > n.number && (h.first <= n.first || h.params.Epoch < n.params.Epoch):
		return malformed("group %d goes back to offset %d of epoch %d", h.number, h.first, h.params.Epoch)
	case h.number < n.number && (h.first >= n.first || h.params.Epoch > n.params.Epoch):
		return malformed("group %d is ahead of group %d", h.number, n.number)
	}
	if !s.seen || h.number > n.number {
		s.seen, s.newest = true, *h
	}
	return nil
}

// write puts a packet into the log, and tells whether more is wanted. A repair only fills holes.
func (s *subscription) write(params *media.Params, p media.Packet, repair bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false
	}
	err := s.put(params, p, repair)
	switch {
	case errors.Is(err, log.ErrLate):
		s.link.node.metrics.late.Inc()
	case errors.Is(err, log.ErrDuplicate):
		s.link.node.metrics.duplicate.Inc()
	case err != nil:
		s.endLocked(err)
	}
	return !s.over
}

// put writes to the sink. A sink that panics costs its subscription.
func (s *subscription) put(params *media.Params, p media.Packet, repair bool) (err error) {
	defer s.link.node.survive(&err, "a sink that is written to")
	l := s.sink.Log()
	current := l.Params()
	switch {
	case repair && (current == nil || params.Epoch > current.Epoch || p.Offset >= l.Head()):
		return nil // it came before what it repairs; asking again (ResumeOffset) may still bring it
	case current == nil || params.Epoch > current.Epoch:
		err = s.sink.Begin(*params)
	case params.Epoch < current.Epoch && p.Offset >= l.Head():
		err = fmt.Errorf("%w: it has epoch %d after %d", ErrBehind, params.Epoch, current.Epoch)
	}
	if err != nil {
		return err
	}
	return s.sink.Write(p)
}
