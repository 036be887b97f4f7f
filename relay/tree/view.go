package tree

import (
	"net/netip"
	"slices"
	"strings"

	"banyan/relay/media"
)

// Role is what a node does.
type Role string

// The roles that matter to the tree.
const (
	Ingest     Role = "ingest"
	Transcoder Role = "transcoder"
	Relay      Role = "relay"
	Edge       Role = "edge"
)

// Node is what the cluster knows of a node.
type Node struct {
	Name   string // unique in the cluster
	Boot   int64  // when it started, in nanoseconds since the Unix epoch by its own clock; tells a node from its successor
	Region string // empty where none is configured
	Roles  []Role
	// Link is where it takes links from other nodes, by UDP.
	Link netip.AddrPort
	// HTTP is the base URL that viewers reach it by, such as "https://edge1.example.org"; empty where none.
	HTTP string
	// Formats are those that it carries as a relay or an edge. Empty means all.
	Formats []media.Format
	// Capacity is how much it can carry, relative to other nodes of its role. Zero counts as one.
	Capacity float64
	// Load is the share of its line that is in use, from 0 to 1, coarse: what children and viewers take of it.
	Load float64
	// Encoding is the share in use of what its encoders may take, from 0 to 1, coarse. It is nothing to children or viewers.
	Encoding float64
	// Draining tells that it takes nothing new and is about to stop.
	Draining bool
}

// Has tells whether n has the role.
func (n *Node) Has(role Role) bool { return slices.Contains(n.Roles, role) }

// Carries tells whether n passes on tracks of the format.
func (n *Node) Carries(f media.Format) bool {
	return len(n.Formats) == 0 || slices.Contains(n.Formats, f)
}

// Track is a track that a node makes, or would make if somebody asked for it.
type Track struct {
	ID     media.TrackID
	Node   string        // its birthplace
	Params *media.Params // what is known of them; nil where nothing is
	Source bool          // a publisher sends it there; otherwise it is made of other tracks
	Waits  bool          // it is wanted, and has waited for room on its maker for a while
	Since  int64         // when the publisher came, in nanoseconds since the Unix epoch by the birthplace's clock
}

// View is the cluster as one node sees it. It does not change.
type View struct {
	// Nodes are those that are alive, by name.
	Nodes []Node
	// Tracks are sorted by ID, then by node.
	Tracks []Track
}

// NewView sorts what it is given into a view, and owns it from then on.
func NewView(nodes []Node, tracks []Track) *View {
	slices.SortFunc(nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(tracks, compareTracks)
	return &View{Nodes: nodes, Tracks: tracks}
}

func compareTracks(a, b Track) int {
	if c := CompareIDs(a.ID, b.ID); c != 0 {
		return c
	}
	return strings.Compare(a.Node, b.Node)
}

// CompareIDs orders tracks by stream, format and kind.
func CompareIDs(a, b media.TrackID) int {
	if c := strings.Compare(string(a.Stream), string(b.Stream)); c != 0 {
		return c
	}
	if c := strings.Compare(string(a.Format), string(b.Format)); c != 0 {
		return c
	}
	return int(a.Kind) - int(b.Kind)
}

// Node finds a node by name; nil where it is not alive.
func (v *View) Node(name string) *Node {
	i, found := slices.BinarySearchFunc(v.Nodes, name, func(n Node, name string) int { return strings.Compare(n.Name, name) })
	if !found {
		return nil
	}
	return &v.Nodes[i]
}

// Makers lists who announces a track, by node. It shares memory with the view.
func (v *View) Makers(id media.TrackID) []Track {
	from := v.search(id)
	to := from
	for to < len(v.Tracks) && v.Tracks[to].ID == id {
		to++
	}
	return v.Tracks[from:to]
}

// search is where tracks of id begin, or would.
func (v *View) search(id media.TrackID) int {
	i, _ := slices.BinarySearchFunc(v.Tracks, id, func(t Track, id media.TrackID) int { return CompareIDs(t.ID, id) })
	return i
}

// With lists the nodes of a role.
func (v *View) With(role Role) (nodes []*Node) {
	for i := range v.Nodes {
		if v.Nodes[i].Has(role) {
			nodes = append(nodes, &v.Nodes[i])
		}
	}
	return nodes
}

// Stream lists the tracks of a stream, made anywhere.
func (v *View) Stream(name media.Name) []Track {
	from, _ := slices.BinarySearchFunc(v.Tracks, name, func(t Track, name media.Name) int { return strings.Compare(string(t.ID.Stream), string(name)) })
	to := from
	for to < len(v.Tracks) && v.Tracks[to].ID.Stream == name {
		to++
	}
	return v.Tracks[from:to]
}
