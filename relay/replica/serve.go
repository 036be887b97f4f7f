package replica

import (
	"context"
	"errors"
	"slices"
	"time"

	"banyan/relay"
	"banyan/relay/link"
	"banyan/relay/log"
	"banyan/relay/media"
)

// heardOf is how long a child waits for a track that this node has not heard of yet: gossip may reach it later than
// the child.
const heardOf = time.Second

// Open subscribes to a track for a child that wants it from an offset on, and waits for a moment for what comes before
// the replica here, where that is wanted. It is a link.Source.
func (n *Node) Open(ctx context.Context, id media.TrackID, wish link.Wish) (link.Track, error) {
	who := child{id: id}
	if len(wish.Below) > 0 {
		who.name = wish.Below[0]
	}
	if why := n.children.refuse(who, n.load(), time.Now()); why != nil && n.elsewhere(id) {
		return nil, why
	}
	n.wishes.make(id, wish.From, time.Now())
	ctx, cancel := context.WithTimeout(ctx, heardOf)
	defer cancel()
	for {
		changed := n.config.Cluster.Changed()
		sub, err := n.subscribe(id, wish.After)
		if err == nil {
			n.children.come(who)
			n.reach(ctx, id, sub.Log(), wish.From)
			return &served{node: n, child: who, subscription: sub}, nil
		}
		if !errors.Is(err, relay.ErrNoStream) && !errors.Is(err, relay.ErrNoTrack) {
			return nil, err
		}
		select {
		case <-changed:
		case <-time.After(settle):
		case <-ctx.Done():
			return nil, link.ErrNoTrack
		}
	}
}

// load is what the cluster is told of this node.
func (n *Node) load() float64 {
	if self := n.config.Cluster.View().Node(n.config.Name); self != nil {
		return self.Load
	}
	return 0
}

func (n *Node) subscribe(id media.TrackID, after media.Time) (*relay.Subscription, error) {
	s, err := n.config.Hub.Stream(id.Stream)
	if err != nil {
		return nil, err
	}
	return s.SubscribeAfter(id.Format, id.Kind, after)
}

// served is a track that a child reads.
type served struct {
	node         *Node
	child        child
	subscription *relay.Subscription
}

func (s *served) Log() *log.Log { return s.subscription.Log() }

// Close tells that the child has left.
func (s *served) Close() {
	s.subscription.Close()
	s.node.children.leave(s.child, time.Now())
}

// replica is what is served where the track is born elsewhere; nil where it is born here.
func (s *served) replica() *replica { return s.node.running(s.child.id, s.Log()) }

// Path names the nodes from the birthplace to this one; none while there is no way to the birthplace.
func (s *served) Path() []string {
	r := s.replica()
	switch {
	case r == nil && s.begins():
		return nil
	case r == nil:
		return []string{s.node.config.Name}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.path)
}

// begins tells whether the track is born elsewhere, and the replica that was started for this child about to begin.
func (s *served) begins() bool { return s.Log().Head() == 0 && s.node.elsewhere(s.child.id) }

// PathChanged is closed when Path next changes; nil where it never does.
func (s *served) PathChanged() <-chan struct{} {
	begun := s.node.nextReplica()
	r := s.replica()
	switch {
	case r == nil && s.begins():
		return begun
	case r == nil:
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.moved
}
