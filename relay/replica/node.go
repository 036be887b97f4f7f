package replica

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"banyan/relay"
	"banyan/relay/media"
	"banyan/relay/tree"
)

// Cluster is what a node knows of others and tells them (package cluster).
type Cluster interface {
	View() *tree.View
	// Changed returns a channel that is closed when the view next changes. Take it before the view.
	Changed() <-chan struct{}
	// Announce replaces what was said to be made on this node.
	Announce([]tree.Track)
}

// Config says what a Node joins.
type Config struct {
	Name    string // of this node
	Hub     *relay.Hub
	Cluster Cluster
	Links   Links
	// Carries tells whether tracks of a format are had from other nodes. If nil, all are.
	Carries func(media.Format) bool
	// Linger is how long a replica goes on after its last reader has left. If zero, 10 s.
	Linger time.Duration
	Logger *slog.Logger
}

// Node joins the hub of this node with those of others. It is a relay.Supplier.
type Node struct {
	config Config
	makers []relay.Supplier

	children children
	wishes   wishes
	lapses   lapses

	mu       sync.Mutex
	replicas map[media.TrackID]*replica // those that run
	begun    chan struct{}              // closed and replaced when one begins
	planned  *tree.Plan                 // of the newest view that was asked for
}

// plan is that of the present view.
func (n *Node) plan() *tree.Plan {
	v := n.config.Cluster.View()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.planned == nil || n.planned.View() != v {
		n.planned = tree.NewPlan(v)
	}
	return n.planned
}

// New makes a node. Add it to the hub's suppliers behind those that make tracks here, and call Run.
func New(config Config) *Node {
	if config.Linger <= 0 {
		config.Linger = 10 * time.Second
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	if config.Carries == nil {
		config.Carries = func(media.Format) bool { return true }
	}
	return &Node{config: config, replicas: map[media.TrackID]*replica{}, begun: make(chan struct{})}
}

// AddMaker tells the cluster from now on what a supplier of the hub offers to make on this node, out of other tracks.
// Call it before Run.
func (n *Node) AddMaker(s relay.Supplier) { n.makers = append(n.makers, s) }

// settle is how long changes are gathered before they are acted upon.
const settle = 20 * time.Millisecond

// Run keeps the hub's streams and the cluster's view in step until ctx ends.
func (n *Node) Run(ctx context.Context) error {
	w := newWatcher(ctx, n.config.Hub)
	defer w.stop()
	a := &adopter{node: n, adopted: map[media.Name]*adopted{}, seen: map[media.Name]sighting{}, met: map[string]time.Time{}}
	defer a.close()
	again := time.NewTicker(time.Second) // what time decides: disputes, and lapses
	defer again.Stop()
	for {
		changed := n.config.Cluster.Changed()
		v := n.config.Cluster.View()
		n.lapses.follow(v, n.config.Name, time.Now())
		a.follow(v, time.Now())
		n.config.Cluster.Announce(n.made(v))
		select {
		case <-changed:
		case <-w.changed():
		case <-again.C:
		case <-ctx.Done():
			return nil
		}
		select {
		case <-time.After(settle):
		case <-ctx.Done():
			return nil
		}
	}
}

// made lists the tracks that are born on this node, or would be if somebody asked for them.
func (n *Node) made(v *tree.View) (tracks []tree.Track) {
	for _, s := range n.config.Hub.Streams() {
		if !s.Live() {
			continue
		}
		_, since, _ := s.Publisher()
		if s.Local() {
			since := after(since.UnixNano(), v.Stream(s.Name()), n.config.Name)
			for _, t := range s.Published() { // and those that are only claimed, so that others know what is still to come
				if t.Live {
					tracks = append(tracks, tree.Track{ID: t.ID, Node: n.config.Name, Params: t.Params, Source: true, Since: since})
				}
			}
		}
		for _, maker := range n.makers {
			for _, o := range maker.Offers(s) {
				id := media.TrackID{Stream: s.Name(), Format: o.Format, Kind: o.Kind}
				tracks = append(tracks, tree.Track{ID: id, Node: n.config.Name, Params: &o.Params, Since: since.UnixNano(), Waits: o.Waits})
			}
		}
	}
	return tracks
}

// after is when the publisher here came, or, where a publisher elsewhere that came before has a later stamp, just
// after that: who publishes here still is the one who came last.
func after(since int64, tracks []tree.Track, self string) int64 {
	for _, t := range tracks {
		if t.Source && t.Node != self {
			since = max(since, t.Since+1)
		}
	}
	return since
}

// nextReplica is closed when a replica next begins.
func (n *Node) nextReplica() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.begun
}

// Replica tells of a track that is had from another node.
type Replica struct {
	ID     media.TrackID
	Parent string   // who it is had from; empty while there is nobody
	Path   []string // from the birthplace to this node
}

// Replicas lists the tracks that are had from other nodes now.
func (n *Node) Replicas() []Replica {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := make([]Replica, 0, len(n.replicas))
	for _, r := range n.replicas {
		list = append(list, r.describe())
	}
	slices.SortFunc(list, func(a, b Replica) int { return tree.CompareIDs(a.ID, b.ID) })
	return list
}

// watcher tells when anything of a hub's streams changes.
type watcher struct {
	hub    *relay.Hub
	bell   chan struct{} // capacity 1
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func newWatcher(ctx context.Context, hub *relay.Hub) *watcher {
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{hub: hub, bell: make(chan struct{}, 1), cancel: cancel}
	w.wg.Go(func() { w.run(ctx) })
	return w
}

func (w *watcher) changed() <-chan struct{} { return w.bell }

func (w *watcher) stop() {
	w.cancel()
	w.wg.Wait()
}

func (w *watcher) ring() {
	select {
	case w.bell <- struct{}{}:
	default:
	}
}

// run watches the set of streams, and has each stream watched.
func (w *watcher) run(ctx context.Context) {
	watched := map[*relay.Stream]bool{}
	for {
		changed := w.hub.Changed()
		streams := w.hub.Streams()
		maps.DeleteFunc(watched, func(s *relay.Stream, _ bool) bool { return !slices.Contains(streams, s) })
		for _, s := range streams {
			if !watched[s] {
				watched[s] = true
				w.wg.Go(func() { w.watch(ctx, s) })
			}
		}
		w.ring()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// watch watches one stream until it is forgotten.
func (w *watcher) watch(ctx context.Context, s *relay.Stream) {
	for !s.Closed() {
		changed := s.Changed()
		w.ring()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
