package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"banyan/relay"
	"banyan/relay/link"
	"banyan/relay/log"
	"banyan/relay/media"
	"banyan/relay/tree"
)

// replica has one track from other nodes: from its lead, and, while it moves, from an heir beside it.
type replica struct {
	node   *Node
	id     media.TrackID
	writer *log.Writer
	logger *slog.Logger

	mu    sync.Mutex // guards the fields below, and what sinks write
	lead  *sink      // that of the parent; nil while there is none
	heir  *sink      // that of the next parent, while both are followed
	path  []string   // from the birthplace to this node; none while it is cut off, or has not begun
	moved chan struct{}

	ways    chan struct{} // capacity 1: rung when a parent gains its way to the birthplace, or loses it
	wanted  atomic.Int64  // where it begins; zero for the newest keyframe
	filling chan struct{} // capacity 1: held by who gets what comes before

	// Owned by run.
	now, next *upstream // those of lead and heir
	second    Peer      // kept warm; nil where there is none
	warm      string    // its name
	lost      time.Time // since when there is no way to the birthplace; zero while there is one
	shunned   map[string]shun
	behind    int // parents in a row whose log ends before ours
}

// shun puts a parent that has failed off.
type shun struct {
	until time.Time
	pause time.Duration
}

func newReplica(n *Node, id media.TrackID, w *log.Writer) *replica {
	return &replica{
		node: n, id: id, writer: w, moved: make(chan struct{}), shunned: map[string]shun{}, filling: make(chan struct{}, 1),
		ways: make(chan struct{}, 1), logger: n.config.Logger.With("track", id.String()),
	}
}

// errHere ends a replica that nobody else is waited for: whoever asks again gets the track itself.
var errHere = errors.New("the track is made on this node now")

// bornHere tells whether this node has become the maker of the track.
func (r *replica) bornHere() bool {
	at, known := r.node.plan().Birthplace(r.id)
	return known && at == r.node.config.Name
}

var errReborn = errors.New("the track was born again with smaller offsets: its birthplace's clock went back")

const (
	// orphaned is how long a track that nobody makes is waited for: word of it may be on its way.
	orphaned = 5 * time.Second
	// firstPause and longestPause bound the time for which a parent that failed is put off.
	firstPause   = 100 * time.Millisecond
	longestPause = 2 * time.Second
	// overlap bounds the time for which two parents are followed.
	overlap = 10 * time.Second
	// look is how often a move is looked after.
	look = 10 * time.Millisecond
)

// run goes from parent to parent. While one serves, it is left only when the next has delivered what comes next.
func (r *replica) run(ctx context.Context) error {
	defer r.release()
	since := time.Now() // when a parent was last known
	for {
		changed := r.node.config.Cluster.Changed()
		parents := r.parents()
		if len(parents) > 0 || r.now != nil {
			since = time.Now()
		} else if r.bornHere() {
			return errHere
		} else if time.Since(since) >= orphaned {
			return fmt.Errorf("nobody makes the track any more: %w", relay.ErrNoTrack)
		}
		wait := r.settle(ctx, parents)
		r.keepWarm(parents)
		wait = min(wait, r.mind(time.Now()))
		timer := time.NewTimer(wait)
		var err error
		select {
		case <-changed:
		case <-timer.C:
		case <-r.ways:
		case <-r.now.news():
			err = r.heed(len(parents))
		case <-r.next.news():
			if r.next.ended() {
				r.giveUp()
			}
		case <-ctx.Done():
			err = ctx.Err()
		}
		timer.Stop()
		if err != nil {
			return err
		}
	}
}

// release lets go of everything that run holds.
func (r *replica) release() {
	r.next.stop()
	r.now.stop()
	r.setSinks(nil, nil)
	if r.second != nil {
		r.second.Close()
	}
}

// parents are those that the view names, best first.
func (r *replica) parents() (nodes []*tree.Node) {
	p := r.node.plan()
	for _, name := range p.Parents(r.node.config.Name, r.id) {
		if n := p.View().Node(name); n != nil && n.Link.IsValid() {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// settle begins and ends moves, and returns how long nothing is to be done if nothing happens.
func (r *replica) settle(ctx context.Context, parents []*tree.Node) time.Duration {
	if r.next != nil {
		switch {
		case r.ready():
			r.promote()
		case time.Since(r.next.began) > overlap, r.next.sink.stranded(time.Now()):
			r.giveUp()
		default:
			return look
		}
	}
	better := parents
	if r.now != nil {
		better = r.better(parents)
	}
	best, wait := r.pick(better)
	switch {
	case best == nil:
		return wait
	case r.now == nil:
		r.now = r.follow(ctx, best)
		r.setSinks(r.now.sink, nil)
	default:
		r.next = r.follow(ctx, best)
		r.setSinks(r.now.sink, r.next.sink)
		return look
	}
	return orphaned
}

// better are the parents to move to from the present one; none where it is well.
func (r *replica) better(parents []*tree.Node) []*tree.Node {
	leaving := isClosed(r.now.leaving) || r.now.sink.stranded(time.Now())
	if !leaving && (len(parents) == 0 || r.node.plan().Stay(r.node.config.Name, r.id, r.now.node.Name)) {
		return nil
	}
	at := slices.IndexFunc(parents, func(n *tree.Node) bool { return n.Name == r.now.node.Name })
	switch {
	case at < 0:
		return parents
	case leaving:
		return slices.Delete(slices.Clone(parents), at, at+1)
	}
	return parents[:at]
}

// pick is the first of nodes that is not put off. Where all are, it tells when the first comes back.
func (r *replica) pick(nodes []*tree.Node) (best *tree.Node, wait time.Duration) {
	wait = orphaned
	now := time.Now()
	for _, n := range nodes {
		left := r.shunned[n.Name].until.Sub(now)
		if left <= 0 {
			return n, 0
		}
		wait = min(wait, left)
	}
	return nil, wait
}

// putOff keeps a parent that failed from being tried again at once.
func (r *replica) putOff(u *upstream) {
	s := r.shunned[u.node.Name]
	s.pause = min(max(2*s.pause, firstPause), longestPause)
	if u.sink.delivered() {
		s.pause = firstPause
	}
	s.until = time.Now().Add(s.pause/2 + rand.N(s.pause))
	r.shun(u.node.Name, s)
}

// shun keeps a parent from being tried, and forgets those that are long gone.
func (r *replica) shun(name string, s shun) {
	v := r.node.config.Cluster.View()
	maps.DeleteFunc(r.shunned, func(name string, s shun) bool { return v.Node(name) == nil && time.Now().After(s.until) })
	r.shunned[name] = s
}

// heed deals with the end of the parent, or with its word that it is about to go.
func (r *replica) heed(others int) error {
	if !r.now.ended() {
		return nil // it is leaving, which settle sees
	}
	err := r.now.err
	r.now.stop()
	if !errors.Is(err, errHandedOver) {
		r.logger.Info("parent left", "parent", r.now.node.Name, "cause", err)
		r.putOff(r.now)
		if r.next != nil {
			r.next.sink.urge()
		}
	}
	if r.behind++; !errors.Is(err, link.ErrBehind) {
		r.behind = 0
	}
	r.now, r.next = r.next, nil
	switch {
	case r.now != nil:
		r.setSinks(r.now.sink, nil)
	case errors.Is(err, errReborn), r.behind > others:
		return errReborn
	default:
		r.setSinks(nil, nil)
	}
	return nil
}

// giveUp stays with the present parent.
func (r *replica) giveUp() {
	r.next.stop()
	r.logger.Debug("did not move", "parent", r.now.node.Name, "next", r.next.node.Name, "cause", r.next.err)
	r.putOff(r.next)
	r.next = nil
	r.setSinks(r.now.sink, nil)
}

// promote leaves the parent for the next one.
func (r *replica) promote() {
	r.logger.Info("parent changed", "from", r.now.node.Name, "to", r.next.node.Name, "after", time.Since(r.next.began))
	before := r.now
	r.now, r.next = r.next, nil
	r.setSinks(r.now.sink, nil)
	switch {
	case isClosed(before.leaving): // it stops, though gossip may not say so; and it would take us back for a while
		r.shun(before.node.Name, shun{until: time.Now().Add(2 * comeback), pause: longestPause})
	case before.sink.stranded(time.Now()):
		r.putOff(before)
	}
	before.stop()
}

// keepWarm holds a connection to the best parent beside the present one.
func (r *replica) keepWarm(parents []*tree.Node) {
	i := slices.IndexFunc(parents, func(n *tree.Node) bool { return r.now != nil && n.Name != r.now.node.Name })
	var name string
	if i >= 0 {
		name = parents[i].Name + " " + parents[i].Link.String()
	}
	if name == r.warm {
		return
	}
	before := r.second
	r.second, r.warm = nil, name
	if i >= 0 {
		r.second = r.node.config.Links.Peer(parents[i].Name, parents[i].Link)
	}
	if before != nil {
		before.Close()
	}
}

// upstream is a parent that is followed.
type upstream struct {
	node    *tree.Node
	sink    *sink
	began   time.Time
	cancel  context.CancelFunc
	leaving chan struct{} // closed when it has said that it is about to go
	done    chan struct{} // closed when it is no longer followed; err is valid from then on
	bell    chan struct{} // rung by each of both; capacity 2
	err     error
}

// follow begins to take the track from a node, beside another one where there is one.
func (r *replica) follow(ctx context.Context, from *tree.Node) *upstream {
	ctx, cancel := context.WithCancel(ctx)
	u := &upstream{
		node: from, sink: newSink(r, from.Name), began: time.Now(), cancel: cancel,
		leaving: make(chan struct{}), done: make(chan struct{}), bell: make(chan struct{}, 2),
	}
	peer := r.node.config.Links.Peer(from.Name, from.Link)
	go func() {
		defer func() { u.bell <- struct{}{} }()
		defer close(u.done)
		defer peer.Close()
		u.err = u.run(ctx, peer)
	}()
	return u
}

// run follows until that is over. A parent that says that it is going away ends what it serves with that, but goes on
// to serve who asks again, until all have found another one.
func (u *upstream) run(ctx context.Context, peer Peer) error {
	r := u.sink.replica
	below := []string{r.node.config.Name}
	from := r.resume()
	r.logger.Debug("following", "parent", u.node.Name, "from", from)
	err := peer.Follow(ctx, r.id, from, below, u.sink)
	if errors.Is(err, link.ErrBehind) {
		r.wanted.Store(0) // what children want is of another log
	}
	if !errors.Is(err, link.ErrGoingAway) {
		return err
	}
	close(u.leaving)
	u.bell <- struct{}{}
	return peer.Follow(ctx, r.id, r.resume(), below, u.sink)
}

// resume is the first offset that the replica lacks.
func (r *replica) resume() int64 {
	if from := link.ResumeOffset(r.writer.Log()); from > 0 {
		return from
	}
	return r.wanted.Load()
}

// news is rung when u is about to go, and when it has ended.
func (u *upstream) news() <-chan struct{} {
	if u == nil {
		return nil
	}
	return u.bell
}

func (u *upstream) ended() bool { return isClosed(u.done) }

func (u *upstream) stop() {
	if u != nil {
		u.cancel()
		<-u.done
	}
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// describe tells of the replica.
func (r *replica) describe() Replica {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := Replica{ID: r.id, Path: slices.Clone(r.path)}
	if r.lead != nil {
		d.Parent = r.lead.from
	}
	return d
}
