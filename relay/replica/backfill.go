package replica

import (
	"context"
	"errors"
	"time"

	"banyan/relay/link"
	"banyan/relay/log"
	"banyan/relay/media"
)

// A replica that runs already may have begun too late for a child: a new reader has started it at the newest keyframe,
// and then a child comes that has lost its parent, and lacks what was just before. Wishes (see there) come too late for
// that, so the replica takes what is missing from its parent beside what it follows, into a log of its own, and puts
// that before its window. The child is accepted when that has been done, or could not be in time.

// reach sees to it that the log of a track, if it is a replica, holds what a child wants from an offset on, or returns
// when ctx ends.
func (n *Node) reach(ctx context.Context, id media.TrackID, l *log.Log, from int64) {
	for from > 0 && n.elsewhere(id) {
		r := n.running(id, l)
		switch {
		case r == nil && l.Head() > 0:
			return // born here, as the job that another node takes over from this one
		case r == nil: // it is about to begin
		case l.Head() == l.Tail():
			r.want(from) // where it has to ask another parent
		case l.Tail() <= from || l.Tail()-from > leap:
			return // there it is, or what is wanted is of another log
		case r.backfill(ctx, from):
			return
		}
		select {
		case <-time.After(settle):
		case <-ctx.Done():
			return
		}
	}
}

// running is the replica that writes to a log; nil where there is none.
func (n *Node) running(id media.TrackID, l *log.Log) *replica {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.replicas[id]
	if r == nil || r.writer.Log() != l {
		return nil
	}
	return r
}

// want has a replica without packets begin at an offset, if that is before where it was to begin.
func (r *replica) want(from int64) {
	for {
		before := r.wanted.Load()
		if before > 0 && before <= from || r.wanted.CompareAndSwap(before, from) {
			return
		}
	}
}

// backfill puts what the parent has from an offset on before the window, and tells whether there is nothing more to be
// had. One is under way at a time.
func (r *replica) backfill(ctx context.Context, from int64) bool {
	select {
	case r.filling <- struct{}{}:
		defer func() { <-r.filling }()
	case <-ctx.Done():
		return false
	}
	until := r.writer.Log().Tail()
	parent := r.node.plan().View().Node(r.describe().Parent)
	if until <= from || parent == nil {
		return until <= from
	}
	peer := r.node.config.Links.Peer(parent.Name, parent.Link)
	defer peer.Close()
	past := &past{Writer: log.New(r.id, 0, log.Config{}).Writer(), until: until}
	err := peer.Follow(ctx, r.id, from, []string{r.node.config.Name}, past)
	if !errors.Is(err, errReached) {
		r.logger.Debug("what a child lacks did not come", "parent", parent.Name, "from", from, "cause", err)
		return false
	}
	packets := past.packets()
	r.logger.Debug("took what a child lacks", "parent", parent.Name, "from", from, "packets", len(packets))
	return r.writer.Prepend(packets) == nil
}

// past is where packets from before a window come in. It is a link.Sink.
type past struct {
	*log.Writer
	until int64 // where the window begins
}

var _ link.Sink = (*past)(nil)

var errReached = errors.New("what follows is there")

// Write takes a packet, until the window is reached.
func (s *past) Write(p media.Packet) error {
	if p.Offset >= s.until {
		return errReached
	}
	if s.Next() == 0 {
		if err := s.StartAt(p.Offset); err != nil {
			return err
		}
	}
	return s.Writer.Write(p)
}

// SetPath is told of the path, which is that of the replica.
func (s *past) SetPath([]string) {}

// packets are all that came, in order.
func (s *past) packets() (list []*media.Packet) {
	l := s.Log()
	for offset := l.Tail(); offset < l.Head(); offset++ {
		if p := l.Get(offset); p != nil {
			list = append(list, p)
		}
	}
	return list
}
