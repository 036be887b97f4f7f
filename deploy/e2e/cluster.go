package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"banyan/deploy/e2e/impair"
)

// Cluster is several nodes on loopback addresses that found each other.
type Cluster struct {
	t     testing.TB
	key   string
	join  []string // where nodes gossip, in the order of their first start
	Nodes map[string]*Node

	// Binary is the server that nodes started from now on run: another version than this one, where it is not empty.
	Binary string

	doors map[string]doors // of the nodes, also of those that have ended

	network *impair.Switch            // nil where the nodes talk to each other without one
	addrs   map[string]netip.Addr     // of the nodes, behind the network
	links   map[string]netip.AddrPort // where they take links
}

// NewCluster makes a cluster without nodes.
func NewCluster(t testing.TB) *Cluster {
	return &Cluster{t: t, key: newKey(), Nodes: map[string]*Node{}, doors: map[string]doors{}}
}

func newKey() string { return fmt.Sprintf("%032d", time.Now().UnixNano()) }

// doors are a node's towards others, which stay the same when it is started again.
type doors struct {
	flags  []string
	gossip string // where it can be joined
}

// NewDivisibleCluster makes one whose nodes can be cut off from each other: gossip and links pass a switch.
func NewDivisibleCluster(t testing.TB) *Cluster {
	c := NewCluster(t)
	c.network, c.addrs, c.links = impair.NewSwitch(), map[string]netip.Addr{}, map[string]netip.AddrPort{}
	t.Cleanup(c.network.Close)
	return c
}

// Split cuts the named nodes off from the others. Those of one part go on to talk to each other.
func (c *Cluster) Split(names ...string) {
	var part []netip.Addr
	for _, name := range names {
		part = append(part, c.addrs[name])
	}
	c.network.Split(part)
}

// CutLink cuts two nodes off from each other in their links alone: their gossip goes on, and so do their links to others.
func (c *Cluster) CutLink(a, b string) {
	c.network.Cut(c.addrs[a], c.links[b])
	c.network.Cut(c.addrs[b], c.links[a])
}

// Heal lets all nodes talk to each other again.
func (c *Cluster) Heal() { c.network.Heal() }

// open finds doors for a new node.
func (c *Cluster) open(name string) doors {
	c.t.Helper()
	gossip := freePort(c.t)
	if c.network == nil {
		return doors{[]string{"--cluster.addr", gossip, "--link.addr", "127.0.0.1:0"}, gossip}
	}
	own, known := c.addrs[name]
	if !known {
		own = netip.AddrFrom4([4]byte{127, 0, 1, byte(len(c.addrs) + 1)})
		c.addrs[name] = own
	}
	front := netip.AddrFrom4([4]byte{127, 0, 2, own.As4()[3]})
	behind := func(free string) netip.AddrPort {
		at := netip.AddrPortFrom(own, netip.MustParseAddrPort(free).Port())
		if err := c.network.Front(front, at); err != nil {
			c.t.Fatal(err)
		}
		return at
	}
	gossips, links := behind(gossip), behind(freePort(c.t))
	c.links[name] = links
	return doors{
		[]string{"--cluster.addr", gossips.String(), "--link.addr", links.String(), "--cluster.advertise", front.String()},
		netip.AddrPortFrom(front, gossips.Port()).String(),
	}
}

// Start adds a node with the given roles in a region, or starts it again, and waits until it is ready.
func (c *Cluster) Start(name, roles, region string, flags ...string) *Node {
	c.t.Helper()
	own, known := c.doors[name]
	if !known {
		own = c.open(name)
		c.doors[name] = own
	}
	all := append([]string{"--node.name", name, "--roles", roles, "--node.region", region}, own.flags...)
	const enough = 3
	others := slices.DeleteFunc(slices.Clone(c.join), func(gossip string) bool { return gossip == own.gossip })
	if len(others) > 0 {
		all = append(all, "--cluster.join", strings.Join(others[:min(len(others), enough)], ","))
	}
	binary := c.Binary
	if binary == "" {
		var err error
		if binary, err = build(); err != nil {
			c.t.Fatal(err)
		}
	}
	n := startNode(c.t, binary, []string{"--cluster.key", c.key}, append(all, flags...))
	if !known {
		c.join = append(c.join, own.gossip)
	}
	c.Nodes[name] = n
	return n
}

// Kill ends nodes with SIGKILL, all at once, and returns when their processes have ended. The cluster still has to
// notice.
func (c *Cluster) Kill(names ...string) {
	for _, name := range names {
		c.Nodes[name].Signal(syscall.SIGKILL)
	}
	for _, name := range names {
		<-c.Nodes[name].done
	}
}

// WaitParent waits until n has a track from a node that is none of the given ones, and tells from whom.
func (n *Node) WaitParent(t testing.TB, stream, format, kind string, not ...string) (parent string) {
	t.Helper()
	Eventually(t, 20*time.Second, fmt.Sprintf("it has %s %s %s from another node than %v", stream, format, kind, not), func() error {
		view, err := n.Cluster(t)
		if err != nil {
			return err
		}
		if parent = view.Parent(stream, format, kind); parent == "" || slices.Contains(not, parent) {
			return fmt.Errorf("it has it from %q", parent)
		}
		return nil
	})
	return parent
}

// WaitBirthplace waits until n has a track that is born at a node.
func (n *Node) WaitBirthplace(t testing.TB, stream, format, kind, node string) {
	t.Helper()
	Eventually(t, 20*time.Second, fmt.Sprintf("%s %s %s is born at %s", stream, format, kind, node), func() error {
		view, err := n.Cluster(t)
		if err != nil {
			return err
		}
		if at := view.Birthplace(stream, format, kind); at != node {
			return fmt.Errorf("it is born at %q", at)
		}
		return nil
	})
}

// ClusterView is what a node tells of its cluster, see /api/v1/cluster.
type ClusterView struct {
	Nodes []struct {
		Name     string
		Draining bool
		Tracks   int // that it makes, or would if asked
	}
	Replicas []struct {
		Stream, Format, Kind, Parent string
		Path                         []string
	}
}

// Cluster asks a node what it knows of its cluster.
func (n *Node) Cluster(t testing.TB) (v ClusterView, err error) {
	t.Helper()
	body, err := get(n.URL("/api/v1/cluster"), "Authorization", "Bearer "+n.Token(t, "--api"))
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(body, &v)
}

// Birthplace is the node where a track that n follows is born.
func (v ClusterView) Birthplace(stream, format, kind string) string {
	for _, r := range v.Replicas {
		if r.Stream == stream && r.Format == format && r.Kind == kind && len(r.Path) > 0 {
			return r.Path[0]
		}
	}
	return ""
}

// Parent is the node that n has a track from.
func (v ClusterView) Parent(stream, format, kind string) string {
	for _, r := range v.Replicas {
		if r.Stream == stream && r.Format == format && r.Kind == kind {
			return r.Parent
		}
	}
	return ""
}

// OneOwner tells what is missing until all nodes know of each other, and all have each track from one birthplace.
func (c *Cluster) OneOwner(t testing.TB) error {
	t.Helper()
	owners := map[string]string{}
	for name, n := range c.Nodes {
		view, err := n.Cluster(t)
		if err != nil {
			return err
		}
		if len(view.Nodes) != len(c.Nodes) {
			return fmt.Errorf("%s knows of %d nodes", name, len(view.Nodes))
		}
		for _, r := range view.Replicas {
			track := r.Stream + " " + r.Format + " " + r.Kind
			if len(r.Path) == 0 {
				return fmt.Errorf("%s looks for somebody to have %s from", name, track)
			}
			if owner := owners[track]; owner != "" && owner != r.Path[0] {
				return fmt.Errorf("%s is born at %s, and for %s at %s", track, owner, name, r.Path[0])
			}
			owners[track] = r.Path[0]
		}
	}
	return nil
}

// WaitSees waits until a node knows of so many, itself included.
func (c *Cluster) WaitSees(t testing.TB, n *Node, count int) {
	t.Helper()
	Eventually(t, 20*time.Second, fmt.Sprintf("a node knows of %d", count), func() error {
		view, err := n.Cluster(t)
		if err == nil && len(view.Nodes) != count {
			err = fmt.Errorf("it knows of %d", len(view.Nodes))
		}
		return err
	})
}
