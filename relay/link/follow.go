package link

import (
	"context"
	"fmt"
	"slices"

	"banyan/relay/log"
	"banyan/relay/media"
)

// Sink is where a child puts a track. It writes to one log; embedding its *log.Writer gives all but SetPath.
// Calls come one at a time.
type Sink interface {
	// Log is the log that the sink writes to.
	Log() *log.Log
	// Begin starts the epoch of p.
	Begin(p media.Params) error
	// Write publishes p, whose payload is only lent. Late packets fill holes. log.ErrLate and log.ErrDuplicate are
	// counted; any other error ends the subscription.
	Write(p media.Packet) error
	// SetPath tells the nodes from the track's birthplace to this one, both included, at first and when it changes. This one
	// alone tells that the parent has nobody to take the track from.
	SetPath(path []string)
	// KeyframeRequests delivers the wishes of readers, which go to the parent.
	KeyframeRequests() <-chan struct{}
}

// Follow takes a track from the peer, from the first offset that the sink lacks (ResumeOffset), or, where from is 0,
// from where a new reader begins. A sink that is empty gets what precedes from as well, beginning at a keyframe, as
// others may want to begin there. It writes to w until the track ends there, ctx ends, or the peer can no longer be
// relied on, and says why; it never returns nil, and never writes after it has returned. below are the nodes that get
// the track through this one.
//
// A peer that is not connected, and has been tried, fails at once with ErrSilent; Down tells beforehand. When the peer
// says that it goes away, Follow ends with ErrGoingAway although the peer goes on to serve: where there is no other
// parent, call it again, and it will stay.
func (p *Peer) Follow(ctx context.Context, id media.TrackID, from int64, below []string, w Sink) error {
	link, err := p.connected(ctx)
	if err == nil {
		err = link.follow(ctx, id, from, below, w)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("take %s from node %s: %w", id, p.key.name, err)
}

// connected waits for the first attempt to connect, and no longer.
func (p *Peer) connected(ctx context.Context) (*uplink, error) {
	for {
		p.mu.Lock()
		link, cause, changed := p.link, p.cause, p.changed
		p.mu.Unlock()
		if link != nil || cause != nil {
			return link, cause
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (u *uplink) follow(ctx context.Context, id media.TrackID, from int64, below []string, w Sink) error {
	if len(below)+1 > MaxDepth || slices.Contains(below, u.peer) {
		return ErrLoop
	}
	away := u.away
	if u.leaving() {
		away = nil // the caller knows, and has nobody better
	}
	s, err := u.subscribe(id, from, below, w)
	if err != nil {
		return err
	}
	u.node.metrics.followed.Add(1)
	defer u.node.metrics.followed.Add(-1)
	defer u.unsubscribe(s)
	return s.run(ctx, away)
}

func (u *uplink) subscribe(id media.TrackID, from int64, below []string, w Sink) (*subscription, error) {
	u.mu.Lock()
	defer u.mu.Unlock() // over send, so that numbers go out in their order
	if u.gone {
		return nil, u.cause
	}
	u.last++
	s := &subscription{
		link: u, id: u.last, sink: w, turns: newTurns(), ended: make(chan struct{}), last: make(chan struct{}),
	}
	u.subs[s.id] = s
	wish := subscribe{sub: s.id, id: id, from: max(from, 0), below: below, whole: from > 0 && empty(w.Log()), after: w.Log().NewestTime()}
	if empty(w.Log()) {
		wish.after = w.Log().Wanted()
	}
	if err := u.send(frameSubscribe, wish.append(nil)); err != nil {
		delete(u.subs, s.id)
		return nil, err
	}
	u.ringRoom()
	return s, nil
}

// unsubscribe forgets s. Groups of it that are still under way are not read.
func (u *uplink) unsubscribe(s *subscription) {
	s.end(context.Canceled)
	u.mu.Lock()
	_, held := u.subs[s.id]
	delete(u.subs, s.id)
	u.mu.Unlock()
	if held {
		_ = u.send(frameUnsubscribe, appendNumber(s.id)) // fails only if the link is down
	}
}
