package tree

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"banyan/relay/media"
)

func TestEdgesForViewers(t *testing.T) {
	v := NewView(slices.Concat(fleet(Edge, "eu-west", 3), fleet(Edge, "us-east", 2), fleet(Relay, "eu-west", 2)), nil)
	set := func(v *View, prefix string, change func(*Node)) *View {
		for _, n := range v.With(Edge) {
			if strings.HasPrefix(n.Name, prefix) {
				v = with(v, n.Name, change)
			}
		}
		return v
	}
	drain, fill := func(n *Node) { n.Draining = true }, func(n *Node) { n.Load = 1 }
	for _, c := range []struct {
		why    string
		view   *View
		region string
		want   string // regions of the answer
	}{
		{"all of the region, then another", v, "eu-west", "eu-west eu-west eu-west us-east"},
		{"the nearest region", v, "us-west", "us-east us-east eu-west eu-west"},
		{"one is full", set(v, "eu-west-edge-0", fill), "eu-west", "eu-west eu-west us-east us-east"},
		{"a region is full", set(v, "eu-west", fill), "eu-west", "us-east us-east eu-west eu-west"},
		{"all are full", set(v, "", fill), "eu-west", "eu-west eu-west eu-west us-east"},
		{"one drains", set(v, "us-east-edge-1", drain), "us-east", "us-east eu-west eu-west eu-west"},
		{"all of a region drain", set(v, "us-east", drain), "us-east", "eu-west eu-west eu-west"},
		{"all drain", set(v, "", drain), "us-east", "us-east us-east eu-west eu-west"},
		{"viewers cannot reach them", set(v, "", func(n *Node) { n.HTTP = "" }), "eu-west", ""},
		{"there is nobody", NewView(nil, nil), "eu-west", ""},
	} {
		var got []string
		for _, e := range Edges(c.view, c.region, "ana") {
			got = append(got, c.view.Node(e).Region)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("edges are of %q, want %s: %s", got, c.want, c.why)
		}
	}
	// A region that nobody knows: all edges alike.
	count := map[string]int{}
	for i := range 1000 {
		count[Edges(v, "mars", fmt.Sprint(i))[0]]++
	}
	if len(count) != 5 {
		t.Errorf("viewers of an unknown region go to %v, want all five", count)
	}
}

func TestTheLastEdgeIsElsewhere(t *testing.T) {
	v := NewView(slices.Concat(fleet(Edge, "eu-west", 9), fleet(Edge, "eu-north", 9), fleet(Edge, "us-east", 9)), nil)
	got := Edges(v, "eu-west", "ana", "720p")
	if len(got) != 4 || v.Node(got[2]).Region != "eu-west" || v.Node(got[3]).Region != "eu-north" {
		t.Errorf("edges are %q; want three of the region and one of the next", got)
	}
}

// Viewers spread by free capacity, and only those of an edge that dies go elsewhere.
func TestViewersSpread(t *testing.T) {
	v := NewView(fleet(Edge, "eu-west", 20), nil)
	v = with(v, "eu-west-edge-3", func(n *Node) { n.Capacity = 2 })
	v = with(v, "eu-west-edge-4", func(n *Node) { n.Load = 0.5 })
	v = with(v, "eu-west-edge-5", func(n *Node) { n.Capacity = math.NaN() })
	before, after := NewPlan(v), NewPlan(without(v, "eu-west-edge-7"))
	count := map[string]int{}
	const viewers = 20_500 // a thousand for each unit of free capacity
	for i := range viewers {
		key := fmt.Sprintf("viewer %d", i)
		edges := before.Edges("eu-west", key, "720p")
		count[edges[0]]++
		next := after.Edges("eu-west", key, "720p")[0]
		if edges[0] == "eu-west-edge-7" {
			edges = edges[1:]
		}
		if next != edges[0] {
			t.Fatalf("%s goes to %s when another edge dies, want %s", key, next, edges[0])
		}
	}
	for _, e := range v.Nodes {
		want := 1000 * capacity(&e) * free(e.Load)
		if got := float64(count[e.Name]); got < 0.85*want || got > 1.15*want {
			t.Errorf("%s has %.0f viewers, want about %.0f", e.Name, got, want)
		}
	}
}

func TestServes(t *testing.T) {
	v := NewView(fleet(Edge, "eu-west", 1), nil)
	edge := "eu-west-edge-0"
	for _, c := range []struct {
		change func(*Node)
		want   bool
	}{
		{func(*Node) {}, true},
		{func(n *Node) { n.Load = 1 }, true},
		{func(n *Node) { n.Draining = true }, false},
		{func(n *Node) { n.Formats = []media.Format{"360p"} }, false},
		{func(n *Node) { n.HTTP = "" }, false},
		{func(n *Node) { n.Roles = nil }, false},
	} {
		changed := with(v, edge, c.change)
		if got := NewPlan(changed).Serves(edge, "720p"); got != c.want {
			t.Errorf("%+v serves: %v, want %v", changed.Nodes[0], got, c.want)
		}
	}
	if NewPlan(v).Serves("gone") {
		t.Error("an edge that is not there serves")
	}
}

// Names that viewers make up are all alike to a plan, and take no place from others.
func TestMadeUpNamesAreAlike(t *testing.T) {
	p := NewPlan(NewView(slices.Concat(fleet(Edge, "eu-west", 2), fleet(Edge, "eu-north", 2), fleet(Edge, "us-east", 2)), nil))
	for i := range 2 * mostDoors {
		for _, region := range []string{"%d", "eu-%d", "eu-west-%d", "eu-west-%d-x", "%d-eu", "-%d"} {
			if got := p.Edges(fmt.Sprintf(region, i), "ana", media.Format(fmt.Sprint(i, "p")), "720p", "720p"); len(got) != 4 {
				t.Fatalf("region %s has edges %q", fmt.Sprintf(region, i), got)
			}
		}
	}
	if len(p.doors) != 3 {
		t.Errorf("%d places are remembered, want those far from all, in eu, and in eu-west", len(p.doors))
	}
}

// Where there are more places than are remembered, those that are asked for now are.
func TestDoorsAreBounded(t *testing.T) {
	var nodes []Node
	for i := range 2 * mostDoors {
		nodes = append(nodes, fleet(Edge, fmt.Sprintf("r%d", i), 1)...)
	}
	p := NewPlan(NewView(nodes, nil))
	for i := range 2 * mostDoors {
		region := fmt.Sprintf("r%d", i)
		if got := p.Edges(region, "ana"); p.view.Node(got[0]).Region != region {
			t.Fatalf("viewers of %s go to %q", region, got)
		}
		if class := p.places.class(region); p.doors[class] == nil {
			t.Fatalf("%q was just asked for and is not remembered", class)
		}
	}
	if len(p.doors) > mostDoors {
		t.Errorf("%d places are remembered, want %d at most", len(p.doors), mostDoors)
	}
}

// A class of regions is as near to each place as the region itself.
func TestClassIsAsNear(t *testing.T) {
	region := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"", "eu", "us", "west", "1"}), 0, 4).Draw(t, "words"), "-")
	})
	rapid.Check(t, func(t *rapid.T) {
		known := rapid.SliceOfN(region, 0, 6).Draw(t, "places")
		p := places{}
		for _, k := range known {
			p.add(k)
		}
		r := region.Draw(t, "region")
		class := p.class(r)
		for _, k := range known {
			if got, want := nearness(class, k), nearness(r, k); got != want {
				t.Fatalf("%q, which stands for %q, is %d near to %q, want %d", class, r, got, k, want)
			}
		}
		if again := p.class(class); again != class {
			t.Fatalf("the class of %q is %q", class, again)
		}
	})
}

func TestNearness(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"eu-west", "eu-west", here}, {"eu-west", "eu-north", 1}, {"eu-west-1", "eu-west-2", 2}, {"eu", "eu-west", 1}, {"eu-west", "eu", 1},
		{"eu", "us", 0}, {"", "eu", 0}, {"", "", here}, {"-", "--", 0}, {"europe", "eu", 0},
	} {
		if got := nearness(c.a, c.b); got != c.want {
			t.Errorf("nearness(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
