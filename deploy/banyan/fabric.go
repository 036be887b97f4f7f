package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"banyan/deploy/api"
	"banyan/relay/cluster"
	"banyan/relay/link"
	"banyan/relay/media"
	"banyan/relay/replica"
	"banyan/relay/tree"
)

// fabric is what joins this node to others. A node that stands alone has none.
type fabric struct {
	cluster *cluster.Cluster
	link    *link.Node
	replica *replica.Node
	measure func(now time.Time) loads // how much this node carries
	own     func() []byte             // what it tells of itself; set before any link is up
	asked   asked
}

// buildFabric opens the links and prepares the gossip. The transcoder, where there is one, must have been built.
func (n *node) buildFabric() error {
	c := &n.cfg
	self, err := n.self()
	if err != nil {
		return err
	}
	keys := c.ClusterKeys()
	if len(keys) == 0 { // it has to reach somebody at all, see cluster.join
		keys = [][]byte{nil}
	}
	identity, err := link.NewIdentity(keys[0], c.Node.Name, time.Now(), keys[1:]...)
	if err != nil {
		return fmt.Errorf("cluster.key: %w", err)
	}
	meter := n.newMeter()
	self.Capacity = meter.capacity(n.has("transcoder"))
	f := &fabric{measure: func(now time.Time) loads { return n.measure(meter, now) }}
	f.link, err = link.New(link.Config{
		Node: c.Node.Name, Identity: identity, Source: source{f}, State: func() []byte { return f.own() }, Addr: c.Link.Addr, Metrics: n.metrics, Logger: n.log,
	})
	if err != nil {
		return fmt.Errorf("link.addr: %w", err)
	}
	n.parts.fabric = f
	self.Link = netip.AddrPortFrom(self.Link.Addr(), f.link.Addr().Port())
	allow, err := networks(c.Cluster.Allow)
	if err != nil {
		return err
	}
	f.cluster, err = cluster.New(cluster.Config{
		Allow: allow, ProbeInterval: c.Cluster.Probe,
		Self: self, Addr: c.Cluster.Addr, Join: c.Cluster.Join, Advertise: c.Cluster.Advertise, Keys: keys,
		Metrics: n.metrics, Logger: n.log,
	})
	if err != nil {
		return err
	}
	// Its address may only be known now.
	f.cluster.Update(func(self *tree.Node) { self.HTTP = n.publicURL(self.Link.Addr()) })
	f.replica = replica.New(replica.Config{
		Name: c.Node.Name, Hub: n.parts.hub, Cluster: f.cluster, Links: peers{f.link}, Carries: n.carries, Logger: n.log,
	})
	if t := n.parts.transcoder; t != nil {
		f.replica.AddMaker(t)
	}
	n.parts.hub.AddSupplier(f.replica)
	return nil
}

func networks(texts []string) (list []netip.Prefix, err error) {
	for _, text := range texts {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("cluster.allow: %w", err)
		}
		list = append(list, network)
	}
	return list, nil
}

// self is what the cluster is told of this node.
func (n *node) self() (tree.Node, error) {
	c := &n.cfg
	self := tree.Node{Name: c.Node.Name, Region: c.Node.Region, HTTP: n.baseURL(), Formats: n.formats()}
	for _, role := range n.opt.Roles {
		self.Roles = append(self.Roles, tree.Role(role))
	}
	host, _, err := net.SplitHostPort(c.Link.Addr)
	if err != nil {
		return self, fmt.Errorf("link.addr: %w", err)
	}
	addr, err := netip.ParseAddr(cmp.Or(c.Cluster.Advertise, host, "0.0.0.0"))
	if err != nil {
		return self, fmt.Errorf("link.addr: write an IP address, not the name %q", host)
	}
	self.Link = netip.AddrPortFrom(addr, 0)
	return self, nil
}

// formats are those that the node is restricted to; none where it carries all.
func (n *node) formats() []media.Format {
	relays, edges := n.cfg.Relay.Formats, n.cfg.Edge.Formats
	switch {
	case n.has("relay") && n.has("edge") && len(relays) > 0 && len(edges) > 0:
		return append(append([]media.Format{}, relays...), edges...)
	case n.has("relay") && !n.has("edge"):
		return relays
	case n.has("edge") && !n.has("relay"):
		return edges
	}
	return nil
}

// carries tells whether the node has tracks of the format from other nodes. A transcoder needs what it makes others of.
func (n *node) carries(f media.Format) bool {
	formats := n.formats()
	if n.has("transcoder") || len(formats) == 0 {
		return true
	}
	for _, carried := range formats {
		if f == carried {
			return true
		}
	}
	return false
}

// makes tells whether a format of a stream is made on this node.
func (n *node) makes(stream media.Name, f media.Format) bool {
	if n.parts.fabric == nil {
		return true
	}
	return tree.Makes(n.parts.fabric.cluster.View(), n.cfg.Node.Name, stream, f)
}

// run keeps the node in the cluster until ctx ends.
func (f *fabric) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return f.link.Run(ctx) })
	group.Go(func() error { return f.cluster.Run(ctx) })
	group.Go(func() error { return f.replica.Run(ctx) })
	group.Go(func() error { return f.tellLoad(ctx) })
	group.Go(func() error { return f.asked.run(ctx) })
	return group.Wait()
}

// tellLoad tells the cluster from time to time what the node carries.
func (f *fabric) tellLoad(ctx context.Context) error {
	return everyLook(ctx, func(now time.Time) {
		l := f.measure(now)
		f.cluster.Update(func(self *tree.Node) { self.Load, self.Encoding = l.line, l.encoding })
	})
}

// byGossip is how long children are given to hear from the cluster that this node drains. They then move without a
// break; word over the link is for those whom gossip did not reach.
const byGossip = time.Second

// drain hands over what other nodes have from this one, until they have it from others or ctx ends.
func (f *fabric) drain(ctx context.Context) {
	f.cluster.Update(func(self *tree.Node) { self.Draining = true })
	ctx, cancel := context.WithCancel(ctx)
	var telling sync.WaitGroup
	telling.Go(func() {
		select {
		case <-time.After(byGossip):
			f.link.GoAway(ctx)
		case <-ctx.Done():
		}
	})
	f.replica.Drain(ctx)
	cancel()
	telling.Wait()
}

// source serves children what the hub has.
type source struct{ *fabric }

func (s source) Open(ctx context.Context, id media.TrackID, wish link.Wish) (link.Track, error) {
	return s.replica.Open(ctx, id, wish)
}

// peers are links to other nodes.
type peers struct{ node *link.Node }

func (p peers) Peer(name string, addr netip.AddrPort) replica.Peer { return p.node.Peer(name, addr) }

// describe tells the API of the cluster.
func (n *node) describe() api.Cluster {
	f := n.parts.fabric
	v := f.cluster.View()
	made := map[string]int{}
	for _, t := range v.Tracks {
		made[t.Node]++
	}
	c := api.Cluster{Nodes: []api.ClusterNode{}, Replicas: []api.Replica{}, Troubles: f.cluster.Troubles()}
	for _, peer := range v.Nodes {
		c.Nodes = append(c.Nodes, api.ClusterNode{
			Name: peer.Name, Region: peer.Region, Roles: texts(peer.Roles), URL: peer.HTTP, Link: peer.Link.String(),
			Formats: peer.Formats, Load: peer.Load, Encoding: peer.Encoding, Draining: peer.Draining, Tracks: made[peer.Name],
		})
	}
	for _, gone := range f.cluster.Departures() {
		c.Gone = append(c.Gone, api.Gone{
			Name: gone.Node.Name, Region: gone.Node.Region, Roles: texts(gone.Node.Roles), At: gone.At.UTC(), Left: gone.Goodbye,
		})
	}
	for _, r := range f.replica.Replicas() {
		c.Replicas = append(c.Replicas, api.Replica{
			Stream: r.ID.Stream, Format: r.ID.Format, Kind: r.ID.Kind, Parent: r.Parent, Path: r.Path, Readers: n.readers(r.ID),
		})
	}
	return c
}

// readers is how many read a track on this node.
func (n *node) readers(id media.TrackID) int {
	s, err := n.parts.hub.Stream(id.Stream)
	if err != nil {
		return 0
	}
	for _, t := range s.Tracks() {
		if t.ID == id {
			return t.Readers
		}
	}
	return 0
}
