package tree

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"banyan/relay/media"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var final = media.TrackID{Stream: "cup/final", Format: "720p", Kind: media.Video}

// host makes link addresses on different hosts.
func host(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 7947)
}

// fleet makes nodes of a role, each on a host of its own.
func fleet(role Role, region string, n int) (nodes []Node) {
	for i := range n {
		name := fmt.Sprintf("%s-%s-%d", region, role, i)
		nodes = append(nodes, Node{Name: name, Region: region, Roles: []Role{role}, Link: host(int(seed(name) % (1 << 24))), HTTP: "https://" + name})
	}
	return nodes
}

// cluster is a view of one track that is born on "birth", and of nodes.
func cluster(groups ...[]Node) *View {
	nodes := []Node{{Name: "birth", Region: "eu-west", Roles: []Role{Transcoder}, Link: host(1)}}
	return NewView(slices.Concat(append(groups, nodes)...), []Track{{ID: final, Node: "birth"}})
}

// with is v with one node changed.
func with(v *View, name string, change func(*Node)) *View {
	nodes := slices.Clone(v.Nodes)
	change(&nodes[slices.IndexFunc(nodes, func(n Node) bool { return n.Name == name })])
	return NewView(nodes, slices.Clone(v.Tracks))
}

// without is v with nodes dead.
func without(v *View, dead ...string) *View {
	gone := func(name string) bool { return slices.Contains(dead, name) }
	return NewView(slices.DeleteFunc(slices.Clone(v.Nodes), func(n Node) bool { return gone(n.Name) }),
		slices.DeleteFunc(slices.Clone(v.Tracks), func(t Track) bool { return gone(t.Node) }))
}

func anyView(t *rapid.T) *View {
	regions := []string{"", "eu-west", "eu-north", "us-east", "mars"}
	formats := []media.Format{media.Source, "720p", "360p"}
	nodes := make([]Node, rapid.IntRange(1, 40).Draw(t, "nodes"))
	for i := range nodes {
		var roles []Role
		for _, role := range []Role{Ingest, Transcoder, Relay, Edge} {
			if rapid.Bool().Draw(t, "role") {
				roles = append(roles, role)
			}
		}
		var carried []media.Format
		if rapid.IntRange(0, 3).Draw(t, "some formats") == 0 {
			carried = rapid.SliceOfNDistinct(rapid.SampledFrom(formats), 1, 2, rapid.ID).Draw(t, "formats")
		}
		nodes[i] = Node{
			Name: fmt.Sprintf("n%d", i), Region: rapid.SampledFrom(regions).Draw(t, "region"), Roles: roles, Formats: carried,
			Link: host(rapid.IntRange(0, 20).Draw(t, "host")), Capacity: float64(rapid.IntRange(0, 3).Draw(t, "capacity")),
			Load: rapid.SampledFrom([]float64{0, 0.5, 0.9, 1, 2}).Draw(t, "load"), Draining: rapid.IntRange(0, 4).Draw(t, "drains") == 0,
			HTTP: rapid.SampledFrom([]string{"", "https://x", "https://y"}).Draw(t, "http"),
		}
	}
	var tracks []Track
	for range rapid.IntRange(1, 5).Draw(t, "tracks") {
		id := final
		id.Format = rapid.SampledFrom(formats).Draw(t, "format")
		tracks = append(tracks, Track{
			ID: id, Node: fmt.Sprintf("n%d", rapid.IntRange(0, len(nodes)).Draw(t, "maker")), // the last is not alive
			Source: id.Format == media.Source, Since: int64(rapid.IntRange(0, 3).Draw(t, "since")),
		})
	}
	return NewView(nodes, tracks)
}

// Whichever entries nodes choose, the way up ends at the birthplace, and meets no node twice.
func TestEveryChoiceLeadsToTheBirthplace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := anyView(t)
		p := NewPlan(v)
		id := rapid.SampledFrom(v.Tracks).Draw(t, "track").ID
		birth, born := p.Birthplace(id)
		for _, n := range v.Nodes {
			path := []string{n.Name}
			for at := n.Name; at != birth; at = path[len(path)-1] {
				parents := p.Parents(at, id)
				if !born && len(parents) == 0 {
					break
				}
				if len(parents) == 0 || !born {
					t.Fatalf("born: %v, but the parents of %s are %q", born, at, parents)
				}
				next := rapid.SampledFrom(parents).Draw(t, "parent")
				if slices.Contains(path, next) {
					t.Fatalf("%s takes the track from %s, which is on its own path %q", at, next, path)
				}
				if at, parent := v.Node(at), v.Node(next); parent == nil || next != birth && !isRelay(parent, id.Format) {
					t.Fatalf("%s is told of %s, which does not pass on the format", at.Name, next)
				}
				path = append(path, next)
			}
			if len(path) > 9 { // what package link takes
				t.Fatalf("the path %q is longer than 9 nodes", path)
			}
		}
	})
}

// What is remembered must not show, nor the order in which nodes and tracks were learnt.
func TestEqualViewsChooseAlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := anyView(t)
		twin := NewView(slices.Clone(v.Nodes), slices.Clone(v.Tracks))
		slices.Reverse(twin.Nodes)
		twin = NewView(twin.Nodes, twin.Tracks)
		p := NewPlan(v)
		for _, track := range v.Tracks {
			for _, n := range v.Nodes {
				if a, b := p.Parents(n.Name, track.ID), Parents(twin, n.Name, track.ID); !slices.Equal(a, b) {
					t.Fatalf("parents of %s: %q and %q", n.Name, a, b)
				}
			}
			a, _ := p.Worker(track.ID.Stream, track.ID.Format)
			if b, _ := Worker(twin, track.ID.Stream, track.ID.Format); a != b {
				t.Fatalf("workers %q and %q", a, b)
			}
		}
		for key := range 5 {
			a := p.Edges("eu-west", fmt.Sprint(key), "720p")
			if b := Edges(twin, "eu-west", fmt.Sprint(key), "720p"); !slices.Equal(a, b) {
				t.Fatalf("edges %q and %q", a, b)
			}
		}
	})
}

// What the first choice may not be, where there is another way.
func TestFirstChoice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := anyView(t)
		p := NewPlan(v)
		for _, track := range v.Tracks {
			birth, _ := p.Birthplace(track.ID)
			for _, n := range v.Nodes {
				parents := p.Parents(n.Name, track.ID)
				if len(parents) == 0 {
					continue
				}
				if first := v.Node(parents[0]); first.Draining && parents[0] != birth {
					t.Fatalf("%s is sent to %s, which drains", n.Name, parents[0])
				} else if full(first) && parents[0] != birth && isEdge(&n, track.ID.Format) {
					for _, r := range v.With(Relay) {
						if isRelay(r, track.ID.Format) && !full(r) && !r.Draining {
							t.Fatalf("%s is sent to %s, which is full, though %s has room", n.Name, parents[0], r.Name)
						}
					}
				}
				if !p.Stay(n.Name, track.ID, parents[0]) {
					t.Fatalf("%s would not stay with its first choice %s", n.Name, parents[0])
				}
			}
		}
	})
}

// homes are the parents of all edges.
func homes(v *View) map[string]string {
	p, at := NewPlan(v), map[string]string{}
	for _, e := range v.With(Edge) {
		at[e.Name] = p.Parents(e.Name, final)[0]
	}
	return at
}

func counts(homes map[string]string) map[string]int {
	count := map[string]int{}
	for _, relay := range homes {
		count[relay]++
	}
	return count
}

func TestEdgesSpreadOverRelays(t *testing.T) {
	for _, c := range []struct{ edges, relays int }{{10000, 100}, {10000, 20}, {1000, 50}, {100, 10}, {30, 3}} {
		v := cluster(fleet(Relay, "eu-west", c.relays), fleet(Edge, "eu-west", c.edges))
		for i := range v.Nodes {
			v.Nodes[i].Capacity = float64(1 + i%4/3)
		}
		total := 0.0
		for _, r := range v.With(Relay) {
			total += r.Capacity
		}
		before := homes(v)
		for name, n := range counts(before) {
			share := float64(c.edges) * v.Node(name).Capacity / total
			if most := max(1.3*share, share+1); float64(n) > most {
				t.Errorf("%d edges over %d relays: %s has %d, want at most %.0f", c.edges, c.relays, name, n, most)
			}
		}
		moved, own := 0, 0
		rnd := rand.New(rand.NewPCG(1, uint64(c.edges)))
		for range 3 {
			relays := v.With(Relay)
			dead := relays[rnd.IntN(len(relays))].Name
			own += counts(before)[dead]
			for edge, home := range homes(without(v, dead)) {
				if home != before[edge] {
					moved++
				}
			}
		}
		if float64(moved) > 1.5*float64(own) {
			t.Errorf("%d edges over %d relays: %d move where relays with %d children die, want at most 1.5 times as many", c.edges, c.relays, moved, own)
		}
	}
}

// Nearly always the warm second is whom the next view names first, so that a child moves once.
func TestTheSecondIsNextInLine(t *testing.T) {
	v := cluster(fleet(Relay, "eu-west", 20), fleet(Edge, "eu-west", 1000))
	p := NewPlan(v)
	before := homes(v)
	right, all := 0, 0
	for _, dead := range v.With(Relay) {
		after := homes(without(v, dead.Name))
		for edge, home := range before {
			if home == dead.Name {
				all++
				right += rank01(after[edge] == p.Parents(edge, final)[1])
			}
		}
	}
	if right*10 < all*9 {
		t.Errorf("of %d children %d find their second named first; want nine of ten", all, right)
	}
}
