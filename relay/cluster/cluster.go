package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/sync/errgroup"

	"banyan/relay/tree"
)

// Cluster is this node's part in the gossip. Its methods may be called from anywhere, also before Run.
type Cluster struct {
	config    Config
	logger    *slog.Logger
	metrics   *metrics
	transport *transport // nil where the node is alone
	queue     *memberlist.TransmitLimitedQueue
	others    atomic.Int64 // len(nodes), for queue
	troubles  troubles
	tell      chan struct{} // has room for one: self changed
	hold      chan struct{} // has room for one: a load is held back
	seek      chan struct{} // has room for one: there is somebody to look for

	// mu guards what follows. memberlist calls back with locks of its own held, so it is never called under mu.
	mu         sync.Mutex
	self       tree.Node
	loads      steady // of self
	meta       []byte // self, as it is told
	nodes      map[string]member
	registry   *registry
	view       *tree.View    // nil where it is out of date
	changed    chan struct{} // nil where nobody waits
	lost       map[string]lostNode
	left       map[string]int64             // lives that said goodbye
	reached    map[netip.AddrPort]time.Time // addresses of cluster.join that answered, and when
	joined     bool                         // states were exchanged with somebody, or there is nobody to look for
	twin       *twin
	departures departures
	doubles    doubles
	odds       odds
	complained time.Time      // that nobody can be reached
	mend       netip.AddrPort // with whom to exchange states out of turn; zero if with nobody
	sum        uint64         // the digest of all this; zero where it is out of date
}

// member is another node that is alive.
type member struct {
	node tree.Node
	addr netip.AddrPort // of its gossip
	sum  uint64         // of name and meta data, see digest
}

// New checks the configuration and opens the sockets. Run must follow, and closes them.
func New(config Config) (*Cluster, error) {
	alone := config.alone()
	if err := config.setDefaults(); err != nil {
		return nil, err
	}
	m, err := newMetrics(config.Metrics)
	if err != nil {
		return nil, err
	}
	c := &Cluster{
		config: config, logger: config.Logger, metrics: m,
		tell: make(chan struct{}, 1), hold: make(chan struct{}, 1), seek: make(chan struct{}, 1),
		self: normal(config.Self), nodes: map[string]member{}, lost: map[string]lostNode{}, left: map[string]int64{},
		reached: map[netip.AddrPort]time.Time{}, doubles: doubles{}, joined: len(config.Join) == 0,
	}
	c.loads.line, c.loads.encoder = clamp(config.Self.Load), clamp(config.Self.Encoding)
	c.self.Boot = time.Now().UnixNano()
	c.registry = newRegistry(c.self.Name, c.self.Boot)
	c.queue = &memberlist.TransmitLimitedQueue{RetransmitMult: retransmitMult, NumNodes: func() int { return int(c.others.Load()) + 1 }}
	if !alone {
		if c.transport, err = newTransport(&config, m); err != nil {
			return nil, err
		}
		c.self.Link = reachable(c.self.Link, c.transport.advertise.Addr())
	}
	if c.meta, err = encodeMeta(&c.self); err != nil {
		c.closeSockets()
		return nil, err
	}
	return c, nil
}

func newTransport(config *Config, m *metrics) (*transport, error) {
	bind, err := config.bindAddr()
	if err != nil {
		return nil, err
	}
	keys, err := config.keysFor(bind.Addr())
	if err != nil {
		return nil, err
	}
	t := &transport{
		dial: config.network.Dial, bound: bind.Addr(), packets: newPackets(keys), allowed: config.allowed(), metrics: m,
		packetCh: make(chan *memberlist.Packet), streamCh: make(chan net.Conn),
		conns: map[net.Conn]netip.Addr{}, from: map[netip.Addr]int{},
	}
	t.closed, t.close = context.WithCancel(context.Background())
	if t.tls, err = streamTLS(keys); err != nil {
		return nil, err
	}
	if err := t.listen(config.network, bind); err != nil {
		return nil, fmt.Errorf("cluster.addr: %w", err)
	}
	bound := t.listener.Addr().(*net.TCPAddr).AddrPort()
	if t.advertise, err = config.advertised(netip.AddrPortFrom(bound.Addr().Unmap(), bound.Port())); err != nil {
		t.line.Close()
		t.listener.Close()
		return nil, err
	}
	return t, nil
}

// listen opens a TCP and a UDP socket of one port. Where the kernel chooses it for one, the other may be taken.
func (t *transport) listen(n network, bind netip.AddrPort) (err error) {
	for range 10 {
		if t.listener, err = n.Listen(bind); err != nil {
			return err
		}
		port := t.listener.Addr().(*net.TCPAddr).AddrPort().Port()
		if t.line, err = n.ListenPacket(netip.AddrPortFrom(bind.Addr(), port)); err == nil {
			return nil
		}
		t.listener.Close()
		if bind.Port() != 0 {
			return err
		}
	}
	return err
}

func (c *Cluster) closeSockets() {
	if c.transport != nil {
		c.transport.line.Close()
		c.transport.listener.Close()
	}
}

// normal is n as others will see it, so that equal views are equal here too, and shares no memory with it.
func normal(n tree.Node) tree.Node {
	n.Load, n.Encoding = rounded(n.Load), rounded(n.Encoding)
	n.Capacity = float64(float32(n.Capacity))
	n.Roles, n.Formats = slices.Clone(n.Roles), slices.Clone(n.Formats)
	return n
}

// reachable is link, at the address of the gossip where it stands for any address.
func reachable(link netip.AddrPort, gossip netip.Addr) netip.AddrPort {
	if link.IsValid() && link.Addr().IsUnspecified() {
		return netip.AddrPortFrom(gossip, link.Port())
	}
	return link
}

// Addr is where this node gossips, as others reach it; the zero value where it is alone.
func (c *Cluster) Addr() netip.AddrPort {
	if c.transport == nil {
		return netip.AddrPort{}
	}
	return c.transport.advertise
}

// View is the cluster as this node sees it now, itself included. It never changes; a later call may return another.
func (c *Cluster) View() *tree.View {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.view == nil {
		nodes := make([]tree.Node, 0, len(c.nodes)+1)
		nodes = append(nodes, c.self)
		for _, m := range c.nodes {
			nodes = append(nodes, m.node)
		}
		c.view = tree.NewView(nodes, c.registry.list())
	}
	return c.view
}

// Changed returns a channel that is closed at the next change of the view. Take it first, and View after it, so that
// no change is missed.
func (c *Cluster) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return c.changed
}

// touch says that the view is another; with mu held.
func (c *Cluster) touch() {
	c.view, c.sum = nil, 0
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
	c.others.Store(int64(len(c.nodes)))
	c.metrics.nodes.Set(float64(len(c.nodes) + 1))
	c.metrics.tracks.Set(float64(c.registry.tracks))
	c.metrics.changes.Inc()
}

// Update changes what others know of this node, such as its load or that it is draining. Name and Boot stay as they
// are. Loads are told in steps of 1/32, only where they have changed by 1/16 or a node has become full or roomy by them, and each
// 2 s at most: others see the same load for as long as it flutters. change must not call the Cluster.
func (c *Cluster) Update(change func(*tree.Node)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := normal(c.self)
	n.Load, n.Encoding = c.loads.line, c.loads.encoder // the newest, so that nobody who changes something else takes them back
	change(&n)
	line, encoder := clamp(n.Load), clamp(n.Encoding)
	n = normal(n)
	n.Name, n.Boot = c.self.Name, c.self.Boot
	if c.transport != nil {
		n.Link = reachable(n.Link, c.transport.advertise.Addr())
	}
	err := checkNode(&n)
	if err == nil {
		now := time.Now()
		n.Load, n.Encoding = c.loads.offer(line, encoder, c.self.Load, c.self.Encoding, now)
		if _, held := c.loads.waits(n.Load, n.Encoding, now); held {
			signal(c.hold)
		}
		err = c.become(n)
	}
	if err != nil {
		c.logger.Error("what this node is to tell of itself is out of bounds, and the others keep what they have", "err", err)
	}
}

// become makes n what this node is; with mu held.
func (c *Cluster) become(n tree.Node) error {
	meta, err := encodeMeta(&n)
	if err != nil || slices.Equal(meta, c.meta) {
		return err
	}
	c.self, c.meta = n, meta
	c.touch()
	signal(c.tell)
	return nil
}

// Announce says which tracks this node makes, or would make if somebody asked. They replace what it said before; for
// tracks that have not changed nothing is sent. Parameter sets travel with a track up to 512 bytes.
func (c *Cluster) Announce(tracks []tree.Track) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if over := len(tracks) - maxNodeTracks; over > 0 {
		c.logger.Error("this node has more tracks than it can announce, and the last ones stay unknown to others", "tracks", len(tracks), "limit", maxNodeTracks)
	}
	changed, err := c.registry.announce(tracks)
	if err != nil {
		c.logger.Error("a track cannot be announced, and others will not find it", "err", err)
	}
	if len(changed) == 0 {
		return
	}
	c.touch()
	c.spread(c.self.Name, c.self.Boot, changed)
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Run gossips until ctx ends, says goodbye then, and returns nil. It returns ErrNameTaken where another node has this
// node's name, and has had it for longer. It may be called once.
//
// A probe of memberlist's that is under way may end up to two seconds later; it touches nothing any more.
func (c *Cluster) Run(ctx context.Context) error {
	if c.transport == nil {
		<-ctx.Done()
		return nil
	}
	c.transport.start()
	list, err := memberlist.Create(c.gossip())
	if err != nil {
		c.transport.Shutdown() //nolint:errcheck // never fails
		return fmt.Errorf("cluster: %w", err)
	}
	c.logger.Info("gossiping", "addr", c.transport.advertise.String(), "join", c.config.Join)
	g, inner := errgroup.WithContext(ctx)
	g.Go(func() error { return c.keepTelling(inner, list) })
	g.Go(func() error { return c.keepJoining(inner, list) })
	g.Go(func() error { return c.watchName(inner) })
	g.Go(func() error { return c.watchTroubles(inner) })
	<-inner.Done()
	// The goodbye first, while everything still runs: a child that hears of it moves before anything is missing. But
	// not where the name is another's, who would be taken for gone. Then the sockets, which ends what waits on them.
	if !errors.Is(context.Cause(inner), ErrNameTaken) {
		c.leave(list)
	}
	list.Shutdown() //nolint:errcheck // ours never fails
	return g.Wait()
}

// leave says goodbye: first in our own words, at which others act, then in memberlist's, which cannot tell a goodbye
// from a death afterwards.
func (c *Cluster) leave(list *memberlist.Memberlist) {
	c.mu.Lock()
	name, boot := c.self.Name, c.self.Boot
	c.mu.Unlock()
	c.queue.Reset() // what this node had to say of tracks is of no use any more
	c.queue.QueueBroadcast(broadcast{name: name, msg: encodeGoodbye(name, boot)})
	for end := time.Now().Add(goodbyeTimeout / 2); c.queue.NumQueued() > 0 && time.Now().Before(end) && c.others.Load() > 0; {
		time.Sleep(gossipEvery / 5)
	}
	if err := list.Leave(goodbyeTimeout / 2); err != nil {
		c.logger.Info("nobody has taken our goodbye; others will find out", "err", err)
	}
}

// keepTelling makes memberlist spread what this node is, whenever it changes.
func (c *Cluster) keepTelling(ctx context.Context, list *memberlist.Memberlist) error {
	for {
		due, stop := c.dueLoad()
		select {
		case <-c.tell:
		case <-due:
			c.Update(func(*tree.Node) {}) // tells it
			continue
		case <-c.hold:
			stop()
			continue
		case <-ctx.Done():
			stop()
			return nil
		}
		stop()
		list.UpdateNode(time.Millisecond) //nolint:errcheck // tells only that others are still to hear of it
		// A load that jumps to and fro must not fill the gossip.
		if !sleep(ctx, tellEvery) {
			return nil
		}
	}
}

// dueLoad is when a load that is held back is to be told; never where there is none.
func (c *Cluster) dueLoad() (due <-chan time.Time, stop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wait, held := c.loads.waits(c.self.Load, c.self.Encoding, time.Now())
	if !held {
		return nil, func() {}
	}
	t := time.NewTimer(wait)
	return t.C, func() { t.Stop() }
}

// sleep waits; false if ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
