package replica

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"banyan/relay"
	"banyan/relay/link"
	"banyan/relay/log"
	"banyan/relay/media"
	"banyan/relay/tree"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	cup  = media.Name("cup/cam1")
	soon = 15 * time.Second // for what takes no time on an idle machine
)

var pictureID = media.TrackID{Stream: cup, Format: media.Source, Kind: media.Video}

// eventually polls until ok, or fails with what was awaited.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(soon); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s", soon, what)
		}
	}
}

// world is a cluster whose gossip is a shared table: what a node says is known to all at once, and tests change it.
type world struct {
	t      *testing.T
	logger *slog.Logger
	limits link.Limits // of nodes that are started from now on

	mu        sync.Mutex // guards the fields below
	nodes     map[string]tree.Node
	announced map[string][]tree.Track
	apart     map[string]bool // those that are cut off from the others, and know of each other only
	version   int
	changed   chan struct{}
}

func newWorld(t *testing.T) *world {
	said := &diary{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("the nodes said:\n" + said.text.String())
		}
	})
	return &world{
		t: t, logger: slog.New(slog.NewTextHandler(said, &slog.HandlerOptions{Level: slog.LevelDebug})), nodes: map[string]tree.Node{},
		announced: map[string][]tree.Track{}, changed: make(chan struct{}),
		limits: link.Limits{ // the machine may be busy with other things
			Silence: 5 * time.Second, Dial: 5 * time.Second, Patience: 5 * time.Second, Stale: 5 * time.Second,
		},
	}
}

// diary keeps what the nodes of a world log, up to a bound.
type diary struct {
	mu   sync.Mutex
	text strings.Builder
}

func (d *diary) Write(p []byte) (int, error) {
	const most = 64 << 10
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.text.Len() < most {
		d.text.Write(p)
	}
	return len(p), nil
}

// change edits what the cluster knows.
func (w *world) change(edit func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	edit()
	w.version++
	close(w.changed)
	w.changed = make(chan struct{})
}

// update edits what the cluster knows of a node.
func (w *world) update(name string, edit func(*tree.Node)) {
	w.change(func() {
		n := w.nodes[name]
		edit(&n)
		w.nodes[name] = n
	})
}

// forget lets a node and its tracks go, as gossip does with the dead.
func (w *world) forget(name string) {
	w.change(func() {
		delete(w.nodes, name)
		delete(w.announced, name)
	})
}

// split cuts nodes off from the others, as far as gossip goes; none makes the cluster whole.
func (w *world) split(names ...string) {
	w.change(func() {
		w.apart = map[string]bool{}
		for _, name := range names {
			w.apart[name] = true
		}
	})
}

// gossip is what one node sees of the world. It is a Cluster.
type gossip struct {
	*world
	self string
	// ahead is by how much the node's clock is ahead of the true time: stamps of others look older to it by that.
	ahead  time.Duration
	makers []relay.Supplier

	cached  *tree.View // guarded by world.mu
	version int
}

func (g *gossip) View() *tree.View {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cached != nil && g.version == g.world.version {
		return g.cached
	}
	var tracks []tree.Track
	var nodes []tree.Node
	for name, n := range g.nodes {
		if g.apart[name] == g.apart[g.self] {
			nodes = append(nodes, n)
		}
	}
	for name, list := range g.announced {
		if g.apart[name] != g.apart[g.self] {
			continue
		}
		for _, t := range list {
			t.Since -= int64(g.ahead)
			tracks = append(tracks, t)
		}
	}
	g.cached, g.version = tree.NewView(nodes, tracks), g.world.version
	return g.cached
}

func (g *gossip) Changed() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

func (g *gossip) Announce(tracks []tree.Track) {
	for i := range tracks {
		tracks[i].Since += int64(g.ahead)
	}
	g.mu.Lock()
	_, alive := g.nodes[g.self]
	same := slices.EqualFunc(g.announced[g.self], tracks, func(a, b tree.Track) bool {
		return a.ID == b.ID && a.Source == b.Source && a.Since == b.Since && (a.Params == b.Params || a.Params != nil && b.Params != nil && a.Params.Equal(b.Params))
	})
	g.mu.Unlock()
	if alive && !same {
		g.change(func() { g.announced[g.self] = tracks })
	}
}

// station is a node of the world with a real hub and real links.
type station struct {
	*Node
	t    *testing.T
	hub  *relay.Hub
	link *link.Node
	stop func() // closes its sockets and waits until all of it has ended
}

// option changes how a station is set up.
type option func(*Config, *gossip)

func clockAhead(d time.Duration) option { return func(_ *Config, g *gossip) { g.ahead = d } }

func carrying(formats ...media.Format) option {
	return func(c *Config, _ *gossip) {
		c.Carries = func(f media.Format) bool { return slices.Contains(formats, f) }
	}
}

type sourceOf struct{ node *Node }

func (s sourceOf) Open(ctx context.Context, id media.TrackID, wish link.Wish) (link.Track, error) {
	return s.node.Open(ctx, id, wish)
}

type linksOf struct{ node *link.Node }

func (l linksOf) Peer(name string, addr netip.AddrPort) Peer { return l.node.Peer(name, addr) }

// start adds a node with a role to the world.
func (w *world) start(name string, role tree.Role, options ...option) *station {
	w.t.Helper()
	logger := w.logger.With("self", name)
	s := &station{t: w.t, hub: relay.New(relay.Config{Logger: logger, Log: log.Config{Window: time.Hour}})}
	g := &gossip{world: w, self: name}
	config := Config{Name: name, Hub: s.hub, Cluster: g, Linger: 50 * time.Millisecond, Logger: logger}
	identity, err := link.NewIdentity([]byte("a cluster key of these tests"), name, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	source := &sourceOf{}
	s.link, err = link.New(link.Config{
		Node: name, Identity: identity, Source: source, Addr: "127.0.0.1:0", Logger: logger, Metrics: prometheus.NewRegistry(),
		Limits: w.limits,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	config.Links = linksOf{s.link}
	for _, o := range options {
		o(&config, g)
	}
	s.Node = New(config)
	for _, m := range g.makers {
		s.AddMaker(m)
	}
	source.node = s.Node
	s.hub.AddSupplier(s.Node)
	w.change(func() {
		w.nodes[name] = tree.Node{Name: name, Roles: []tree.Role{role}, Link: s.link.Addr()}
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = s.link.Run(ctx) })
	running.Go(func() { _ = s.Run(ctx) })
	s.stop = sync.OnceFunc(func() {
		cancel()
		s.hub.Close()
		running.Wait()
	})
	w.t.Cleanup(s.stop)
	return s
}

// subscribe reads a track of the cup, once it is there.
func (s *station) subscribe(format media.Format) *relay.Subscription {
	s.t.Helper()
	var sub *relay.Subscription
	eventually(s.t, fmt.Sprintf("%s has %s on offer", s.config.Name, format), func() bool {
		stream, err := s.hub.Stream(cup)
		if err != nil {
			return false
		}
		sub, err = stream.Subscribe(format, media.Video)
		return err == nil
	})
	s.t.Cleanup(sub.Close)
	return sub
}

// parent is who the station has a track from; empty where from nobody.
func (s *station) parent(format media.Format) string {
	for _, r := range s.Replicas() {
		if r.ID.Format == format && r.ID.Kind == media.Video {
			return r.Parent
		}
	}
	return ""
}

func (s *station) readers(format media.Format) (n int) {
	stream, err := s.hub.Stream(cup)
	if err != nil {
		return 0
	}
	for _, t := range stream.Tracks() {
		if t.ID.Format == format {
			n += t.Readers
		}
	}
	return n
}

// camera publishes pictures of three packets on a station.
type camera struct {
	t           *testing.T
	publication *relay.Publication
	w           *log.Writer
	n           int
	next        int64
	ticks       int64
}

const gop = 10 // pictures from keyframe to keyframe

var h264 = media.Params{
	Codec: media.H264, ClockRate: 90000, Width: 1280, Height: 720, FPS: 30, Sets: [][]byte{{0x67, 1, 2, 3}, {0x68, 4}},
}

func publish(s *station) *camera {
	s.t.Helper()
	p, err := s.hub.Publish(cup, "test")
	if err != nil {
		s.t.Fatal(err)
	}
	w, err := p.Source(media.Video)
	if err != nil {
		s.t.Fatal(err)
	}
	c := &camera{t: s.t, publication: p, w: w, next: w.Next(), ticks: media.TicksOf(media.TimeOf(time.Now()), 90000)}
	if err := w.Begin(h264); err != nil {
		s.t.Fatal(err)
	}
	p.Announce()
	return c
}

func (c *camera) shoot(pictures int) {
	c.t.Helper()
	for range pictures {
		for i := range 3 {
			var flags media.Flags
			if i == 0 && c.n%gop == 0 {
				flags |= media.Keyframe
			}
			if i == 2 {
				flags |= media.FrameEnd
			}
			err := c.w.Write(media.Packet{
				Offset: c.next, Ticks: c.ticks, Flags: flags, Payload: binary.BigEndian.AppendUint64(nil, uint64(c.next)),
				Arrived: media.TimeOf(time.Now()),
			})
			if err != nil {
				c.t.Fatal(err)
			}
			c.next++
		}
		c.n++
		c.ticks += 3000
	}
}

// run shoots 50 pictures a second until the test ends or stop is called.
func (c *camera) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				c.shoot(1)
			case <-ctx.Done():
				return
			}
		}
	})
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	c.t.Cleanup(stop)
	return stop
}

// reader reads a track as a viewer does, and notes what is amiss.
type reader struct {
	t      *testing.T
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	first   int64      // offset
	next    int64
	amiss   []string
	gap     time.Duration // the longest without a packet
	stopped error
}

func (s *station) read(sub *relay.Subscription) *reader {
	ctx, cancel := context.WithCancel(context.Background())
	r := &reader{t: s.t, cancel: cancel}
	cursor := sub.Log().Cursor(log.LastKeyframe())
	r.done.Go(func() {
		last := time.Now()
		for {
			p, lost, err := cursor.Read(ctx)
			r.mu.Lock()
			if err != nil {
				r.stopped = err
				r.mu.Unlock()
				return
			}
			if r.first == 0 {
				r.first = p.Offset
			} else {
				r.gap = max(r.gap, time.Since(last))
				if lost != 0 || p.Offset != r.next {
					r.amiss = append(r.amiss, fmt.Sprintf("offset %d after %d, %d lost", p.Offset, r.next-1, lost))
				}
			}
			if got := int64(binary.BigEndian.Uint64(p.Payload)); got != p.Offset {
				r.amiss = append(r.amiss, fmt.Sprintf("offset %d has the payload of %d", p.Offset, got))
			}
			r.next = p.Offset + 1
			r.mu.Unlock()
			last = time.Now()
		}
	})
	s.t.Cleanup(func() { cancel(); r.done.Wait() })
	return r
}

// position is the offset that is read next.
func (r *reader) position() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next
}

// reach waits until the reader has got all before an offset.
func (r *reader) reach(offset int64) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("the reader gets to %d", offset), func() bool { return r.position() >= offset })
}

// advance waits until the reader has got some more packets.
func (r *reader) advance(packets int64) {
	r.t.Helper()
	eventually(r.t, "the reader gets more", func() bool { return r.position() > 0 })
	r.reach(r.position() + packets)
}

func (r *reader) wantWhole() {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, what := range r.amiss {
		r.t.Error("the reader got " + what)
	}
}
