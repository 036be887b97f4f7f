package e2e

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// Cluster is several nodes on loopback addresses that found each other.
type Cluster struct {
	t     testing.TB
	key   string
	join  string // where the first node gossips
	Nodes map[string]*Node
}

// NewCluster makes a cluster without nodes.
func NewCluster(t testing.TB) *Cluster {
	return &Cluster{t: t, key: fmt.Sprintf("%032d", time.Now().UnixNano()), Nodes: map[string]*Node{}}
}

// Start adds a node with the given roles in a region, and waits until it is ready.
func (c *Cluster) Start(name, roles, region string, flags ...string) *Node {
	c.t.Helper()
	gossip := freePort(c.t)
	all := []string{"--node.name", name, "--roles", roles, "--node.region", region,
		"--cluster.addr", gossip, "--link.addr", "127.0.0.1:0"}
	if c.join != "" {
		all = append(all, "--cluster.join", c.join)
	}
	n := startNode(c.t, []string{"--cluster.key", c.key}, append(all, flags...))
	if c.join == "" {
		c.join = gossip
	}
	c.Nodes[name] = n
	return n
}

// ClusterView is what a node tells of its cluster, see /api/v1/cluster.
type ClusterView struct {
	Nodes []struct {
		Name     string
		Draining bool
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

// Parent is the node that n has a track from.
func (v ClusterView) Parent(stream, format, kind string) string {
	for _, r := range v.Replicas {
		if r.Stream == stream && r.Format == format && r.Kind == kind {
			return r.Parent
		}
	}
	return ""
}
