package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"banyan/relay"
	"banyan/relay/link"
	"banyan/relay/log"
	"banyan/relay/media"
	"banyan/relay/tree"
)

// Links are the connections to other nodes (package link).
type Links interface {
	Peer(name string, addr netip.AddrPort) Peer
}

// Peer is a node that tracks are taken from. It is kept connected until it is closed.
type Peer interface {
	// Follow writes what the peer has of a track to sink, from an offset on (zero: from the newest keyframe),
	// and blocks until that is over.
	Follow(ctx context.Context, id media.TrackID, from int64, below []string, sink link.Sink) error
	Close()
}

// Offers lists the tracks of s that are made on other nodes.
func (n *Node) Offers(s *relay.Stream) (offers []relay.Offer) {
	v := n.config.Cluster.View()
	for _, t := range v.Stream(s.Name()) {
		if t.Node == n.config.Name || s.Local() && t.Source || !n.config.Carries(t.ID.Format) {
			continue
		}
		if slices.ContainsFunc(offers, func(o relay.Offer) bool { return o.Format == t.ID.Format && o.Kind == t.ID.Kind }) {
			continue
		}
		o := relay.Offer{Format: t.ID.Format, Kind: t.ID.Kind, Linger: n.config.Linger, Replica: true}
		if t.Params != nil {
			o.Params = *t.Params
		}
		offers = append(offers, o)
	}
	return offers
}

// Supply replicates a track until ctx ends. It returns earlier where nobody makes the track any more, and where it
// was born again with offsets below those that readers here have seen.
func (n *Node) Supply(ctx context.Context, _ *relay.Stream, o relay.Offer, w *log.Writer) error {
	r := newReplica(n, w.Log().ID(), w)
	n.mu.Lock()
	n.replicas[r.id] = r
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.replicas[r.id] == r {
			delete(n.replicas, r.id)
		}
	}()
	return r.run(ctx)
}

// replica follows one track.
type replica struct {
	node   *Node
	id     media.TrackID
	writer *log.Writer
	logger *slog.Logger

	mu     sync.Mutex
	parent string   // who it follows; empty while it looks for one
	path   []string // from the birthplace to this node
	moved  chan struct{}

	late int // packets in a row that were too old, owned by the sink
}

func newReplica(n *Node, id media.TrackID, w *log.Writer) *replica {
	return &replica{node: n, id: id, writer: w, moved: make(chan struct{}),
		logger: n.config.Logger.With("track", id.String())}
}

var errReborn = errors.New("the track was born again with smaller offsets: its birthplace's clock went back")

const (
	// orphaned is how long a track that nobody makes is waited for: word of it may be on its way.
	orphaned = 5 * time.Second
	// firstPause and longestPause bound the time between attempts when no parent can serve the track.
	firstPause   = 50 * time.Millisecond
	longestPause = 2 * time.Second
)

// run goes from parent to parent.
func (r *replica) run(ctx context.Context) error {
	var failed string // the parent that has just failed: not the next to be tried
	var behind int    // parents in a row whose log ends before ours
	pause := firstPause
	since := time.Now() // when a parent was last known
	for {
		changed := r.node.config.Cluster.Changed()
		parents := r.parents(failed)
		if len(parents) == 0 {
			if err := r.await(ctx, changed, since); err != nil {
				return err
			}
			failed = ""
			continue
		}
		since = time.Now()
		before := r.writer.Next()
		err := r.follow(ctx, parents)
		if behind++; !errors.Is(err, link.ErrBehind) {
			behind = 0
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errReborn), behind > len(parents):
			return errReborn
		}
		r.logger.Info("parent left", "parent", parents[0].Name, "cause", err)
		if failed = parents[0].Name; errors.Is(err, errMoved) {
			failed = ""
			continue
		}
		if r.writer.Next() != before {
			pause = firstPause
			continue
		}
		if len(parents) > 1 && pause == firstPause {
			pause *= 2
			continue // at once, at the next one
		}
		if err := sleep(ctx, pause/2+rand.N(pause)); err != nil {
			return err
		}
		pause = min(2*pause, longestPause)
	}
}

// parents are those to try, best first; one that has just failed comes last.
func (r *replica) parents(failed string) (nodes []*tree.Node) {
	p := r.node.plan()
	for _, name := range p.Parents(r.node.config.Name, r.id) {
		if n := p.View().Node(name); n != nil && n.Link.IsValid() {
			nodes = append(nodes, n)
		}
	}
	if len(nodes) > 1 && nodes[0].Name == failed {
		nodes = append(nodes[1:], nodes[0])
	}
	return nodes
}

// await waits for a parent to become known.
func (r *replica) await(ctx context.Context, changed <-chan struct{}, since time.Time) error {
	left := time.Until(since.Add(orphaned))
	if left <= 0 {
		return fmt.Errorf("nobody makes the track any more: %w", relay.ErrNoTrack)
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// follow takes the track from the first of parents, with a connection to the second kept warm.
func (r *replica) follow(ctx context.Context, parents []*tree.Node) error {
	peer := r.node.config.Links.Peer(parents[0].Name, parents[0].Link)
	defer peer.Close()
	if len(parents) > 1 {
		second := r.node.config.Links.Peer(parents[1].Name, parents[1].Link)
		defer second.Close()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var leaving sync.WaitGroup
	defer leaving.Wait()
	leaving.Go(func() { r.leaveWhenMoved(ctx, parents[0].Name, cancel) })
	r.setParent(parents[0].Name)
	defer r.setParent("")
	r.logger.Debug("following", "parent", parents[0].Name, "from", r.writer.Next())
	err := peer.Follow(ctx, r.id, r.writer.Next(), []string{r.node.config.Name}, r)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	cancel(nil)
	return err
}

var errMoved = errors.New("the cluster names another parent now")

// leaveWhenMoved ends a follow when the view sends the track's children elsewhere.
func (r *replica) leaveWhenMoved(ctx context.Context, parent string, cancel context.CancelCauseFunc) {
	for {
		changed := r.node.config.Cluster.Changed()
		p := r.node.plan()
		if !p.Stay(r.node.config.Name, r.id, parent) && len(p.Parents(r.node.config.Name, r.id)) > 0 {
			cancel(errMoved)
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Begin starts an epoch of the replica.
func (r *replica) Begin(p media.Params) error {
	if now := r.writer.Log().Params(); now != nil && now.Epoch == p.Epoch {
		return nil // told again by another parent
	}
	return r.writer.Begin(p)
}

// mostLate is how many packets in a row may be too old before the track counts as born again.
const mostLate = 100

// Write takes a packet of the parent's.
func (r *replica) Write(p media.Packet) error {
	if r.writer.Next() == 0 {
		if err := r.writer.StartAt(p.Offset); err != nil {
			return err
		}
	}
	switch err := r.writer.Write(p); {
	case err == nil:
		r.late = 0
		return nil
	case errors.Is(err, log.ErrDuplicate):
		return nil
	case errors.Is(err, log.ErrLate):
		if r.late++; r.late > mostLate {
			return errReborn
		}
		return nil
	default:
		return err
	}
}

// Log is where the replica is.
func (r *replica) Log() *log.Log { return r.writer.Log() }

// KeyframeRequests are the readers' merged wishes.
func (r *replica) KeyframeRequests() <-chan struct{} { return r.writer.KeyframeRequests() }

func (r *replica) setParent(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.parent = name
}

// SetPath notes the nodes that the track comes by.
func (r *replica) SetPath(path []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Equal(path, r.path) {
		return
	}
	r.path = slices.Clone(path)
	close(r.moved)
	r.moved = make(chan struct{})
}
