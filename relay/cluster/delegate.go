package cluster

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// gossipEvery and gossipNodes bound how fast word spreads: each node tells three others twenty times a second,
	// for as long as there is something to tell.
	gossipEvery    = 50 * time.Millisecond
	gossipNodes    = 3
	retransmitMult = 4
	// exchangeEvery is how often a node compares all it knows with another; memberlist stretches it beyond 32 nodes.
	exchangeEvery = 10 * time.Second
	// rememberDead is how long memberlist still gossips to a dead node, so that it can object.
	rememberDead = 30 * time.Second
	// tellEvery is the least time between two changes of what this node tells of itself.
	tellEvery = 200 * time.Millisecond
	// goodbyeTimeout is how long a node that leaves waits for its goodbye to be spread.
	goodbyeTimeout = time.Second
	// maxQueued bounds the records that wait to be spread. What has been sent most often goes first; those that miss it
	// learn of it from an exchange.
	maxQueued = 4096
)

// gossip is how memberlist is set up.
func (c *Cluster) gossip() *memberlist.Config {
	m := memberlist.DefaultLANConfig()
	m.Name = c.config.Self.Name
	m.Transport = c.transport
	m.TCPTimeout = streamTimeout
	// Dead in about a second: found within one interval by somebody, unconfirmed after another, and then suspected for
	// two (for more in a cluster of more than ten). With a greater multiplier memberlist would wait up to six times
	// that for others to agree.
	m.ProbeInterval = c.config.ProbeInterval
	m.ProbeTimeout = c.config.ProbeInterval / 2
	m.SuspicionMult = 2
	m.SuspicionMaxTimeoutMult = 1
	m.GossipInterval, m.GossipNodes, m.RetransmitMult = gossipEvery, gossipNodes, retransmitMult
	m.GossipToTheDeadTime = rememberDead
	m.PushPullInterval = exchangeEvery
	// A node that restarts elsewhere takes its place as soon as its former life is known to be dead.
	m.DeadNodeReclaimTime = time.Millisecond
	m.UDPBufferSize = maxPayload
	m.EnableCompression = false // costs more on each small packet than it saves
	m.DelegateProtocolMin, m.DelegateProtocolMax, m.DelegateProtocolVersion = 1, 1, 1
	m.HandoffQueueDepth = 4096
	m.Logger = log.New(lines{c.logger}, "", 0)
	d := delegate{c}
	m.Delegate, m.Events, m.Alive, m.Conflict, m.Merge, m.Ping = d, d, d, d, d, d
	return m
}

// delegate is what memberlist calls back. It often holds a lock of its own then.
type delegate struct{ *Cluster }

// NodeMeta implements memberlist.Delegate.
func (d delegate) NodeMeta(int) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.meta
}

// NotifyMerge implements memberlist.MergeDelegate.
func (d delegate) NotifyMerge(nodes []*memberlist.Node) error {
	if len(nodes) > maxNodes {
		d.metrics.refused(refusedMessage, 1)
		return fmt.Errorf("a list of %d nodes is longer than %d", len(nodes), maxNodes)
	}
	return nil
}

// NotifyAlive implements memberlist.AliveDelegate. It has the last word on who is taken in.
func (d delegate) NotifyAlive(n *memberlist.Node) error {
	got, err := d.admit(n)
	if err != nil {
		d.metrics.refused(refusedMessage, 1)
		return err
	}
	if got.node.Name == d.config.Self.Name {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.meet(got)
	}
	return nil
}

func (d delegate) admit(n *memberlist.Node) (member, error) {
	ip, ok := netip.AddrFromSlice(n.Addr)
	addr := netip.AddrPortFrom(ip.Unmap(), n.Port)
	if !ok || n.Port == 0 || ip.IsUnspecified() || ip.IsMulticast() || addr != d.transport.advertise && !d.transport.allowed(ip) {
		return member{}, errors.New("its address is not one to gossip with")
	}
	if err := checkLabel(n.Name); err != nil {
		return member{}, err
	}
	node, err := decodeMeta(n.Name, n.Meta)
	if err != nil {
		return member{}, fmt.Errorf("what it tells of itself makes no sense: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, known := d.nodes[n.Name]; !known && len(d.nodes) >= maxNodes {
		return member{}, fmt.Errorf("there are %d nodes already", maxNodes)
	}
	node.Link = reachable(node.Link, ip.Unmap())
	return member{node: node, addr: addr, sum: metaSum(n.Name, n.Meta)}, nil
}

// NotifyJoin implements memberlist.EventDelegate.
func (d delegate) NotifyJoin(n *memberlist.Node) {
	if got, ok := d.enter(n); ok {
		d.logger.Info("node joined", "member", n.Name, "addr", got.addr.String(), "region", got.node.Region, "roles", got.node.Roles)
	}
}

// NotifyUpdate implements memberlist.EventDelegate.
func (d delegate) NotifyUpdate(n *memberlist.Node) { d.enter(n) }

func (d delegate) enter(n *memberlist.Node) (member, bool) {
	if n.Name == d.config.Self.Name {
		return member{}, false
	}
	got, err := d.admit(n)
	if err != nil {
		return member{}, false // NotifyAlive refused it
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if boot, left := d.left[n.Name]; left {
		if boot == got.node.Boot {
			return member{}, false // others are still to hear of its goodbye
		}
		delete(d.left, n.Name)
	}
	d.nodes[n.Name] = got
	delete(d.lost, n.Name)
	d.registry.alive(n.Name, got.node.Boot)
	d.touch()
	return got, true
}

// NotifyLeave implements memberlist.EventDelegate. Nodes that left of their own accord have said goodbye before.
func (d delegate) NotifyLeave(n *memberlist.Node) {
	d.mu.Lock()
	defer d.mu.Unlock()
	gone, known := d.nodes[n.Name]
	if !known || d.transport.closed.Err() != nil { // memberlist's last suspicions outlast it
		return
	}
	d.remove(n.Name)
	d.miss(gone)
	d.departures.note(gone.node, time.Now(), false)
	d.metrics.deaths.Inc()
	d.logger.Warn("node is dead", "member", n.Name, "addr", gone.addr.String())
}

// remove takes a node out of the view; with mu held.
func (c *Cluster) remove(name string) {
	delete(c.nodes, name)
	c.registry.dead(name)
	c.touch()
}

// goodbye takes a life of a node for ended, and passes the word on; with mu held.
func (c *Cluster) goodbye(name string, boot int64) {
	if last, ok := c.left[name]; name == c.self.Name || ok && last >= boot {
		return
	}
	m, known := c.nodes[name]
	if _, lost := c.lost[name]; !known && !lost || known && m.node.Boot != boot {
		return
	}
	for other := range c.left { // any: they are only of use until memberlist knows, too
		if len(c.left) < maxLost {
			break
		}
		delete(c.left, other)
	}
	c.left[name] = boot
	delete(c.lost, name)
	c.queue.QueueBroadcast(broadcast{name: name, msg: encodeGoodbye(name, boot)})
	if known {
		c.remove(name)
		c.departures.note(m.node, time.Now(), true)
		c.metrics.goodbyes.Inc()
		c.logger.Info("node left", "member", name)
	}
}

// NotifyMsg implements memberlist.Delegate: it takes in one record of a track, or a goodbye.
func (d delegate) NotifyMsg(b []byte) {
	node, boot, rec, err := decodeNews(b)
	if err != nil {
		d.metrics.refused(refusedMessage, 1)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if rec.Version == 0 {
		d.goodbye(node, boot)
		return
	}
	switch d.registry.hear(node, boot, rec) {
	case news:
		d.touch()
		d.spread(node, boot, []record{rec})
	case full:
		d.metrics.refused(refusedFull, 1)
	}
}

// GetBroadcasts implements memberlist.Delegate.
func (d delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.queue.GetBroadcasts(overhead, limit)
}

// LocalState implements memberlist.Delegate.
func (d delegate) LocalState(bool) []byte {
	d.mu.Lock()
	all := d.registry.state()
	d.mu.Unlock()
	return encodeState(all)
}

// MergeRemoteState implements memberlist.Delegate.
func (d delegate) MergeRemoteState(b []byte, _ bool) {
	d.mu.Lock()
	member := d.joined
	d.mu.Unlock()
	err := decodeState(b, func(a announcement) {
		d.mu.Lock()
		defer d.mu.Unlock()
		fresh, changed, refused := d.registry.merge(a)
		d.metrics.refused(refusedFull, refused)
		if changed {
			d.touch()
		}
		// To one that has just come everything is news, and to nobody else.
		if member {
			d.spread(a.Node, a.Boot, fresh)
		}
	})
	if err != nil {
		d.metrics.refused(refusedMessage, 1)
		d.logger.Warn("a node's account of the tracks makes no sense", "err", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.joined = true
}

// spread queues records for others; with mu held. A newer record of a track takes the place of the one before.
func (c *Cluster) spread(node string, boot int64, records []record) {
	if c.transport == nil || len(records) == 0 {
		return
	}
	for _, rec := range records {
		c.queue.QueueBroadcast(broadcast{name: node + " " + rec.Track.ID.String(), msg: encodeNews(node, boot, rec)})
	}
	c.queue.Prune(maxQueued)
}

// broadcast implements memberlist.NamedBroadcast.
type broadcast struct {
	name string
	msg  []byte
}

func (b broadcast) Invalidates(memberlist.Broadcast) bool { return false }
func (b broadcast) Message() []byte                       { return b.msg }
func (b broadcast) Finished()                             {}
func (b broadcast) Name() string                          { return b.name }

// lines passes memberlist's own log on, all of it as details: what an operator should know we say ourselves.
type lines struct{ logger *slog.Logger }

func (l lines) Write(b []byte) (int, error) {
	const most = 300 // some lines quote what others sent
	if l.logger.Enabled(context.Background(), slog.LevelDebug) {
		s := strings.TrimSpace(string(b))
		l.logger.Debug("memberlist", "line", s[:min(len(s), most)])
	}
	return len(b), nil
}
