package director

import (
	"net/netip"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"banyan/relay/media"
	"banyan/relay/tree"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// edge is a node that takes viewers, at http://{name}.example.org.
func edge(name, region string, change ...func(*tree.Node)) tree.Node {
	n := tree.Node{Name: name, Region: region, Roles: []tree.Role{tree.Edge}, HTTP: "http://" + name + ".example.org"}
	for _, c := range change {
		c(&n)
	}
	return n
}

func draining(n *tree.Node)  { n.Draining = true }
func isFull(n *tree.Node)    { n.Load = 1 }
func noEdge(n *tree.Node)    { n.Roles = []tree.Role{tree.Ingest} }
func hidden(n *tree.Node)    { n.HTTP = "" }
func only720p(n *tree.Node)  { n.Formats = []media.Format{"720p", "opus"} }
func onlySound(n *tree.Node) { n.Formats = []media.Format{"opus"} }

func atPort8443(n *tree.Node) { n.HTTP += ":8443" }

const cam = media.Name("cup/cam1")

// directorOn is a director on the node self of a cluster with a stream that has 720p, 360p and opus.
func directorOn(t *testing.T, self string, nodes ...tree.Node) *Director {
	t.Helper()
	var tracks []tree.Track
	for _, id := range []media.TrackID{{Stream: cam, Format: "720p", Kind: media.Video}, {Stream: cam, Format: "360p", Kind: media.Video}, {Stream: cam, Format: "opus", Kind: media.Audio}} {
		tracks = append(tracks, tree.Track{ID: id, Node: "ingest1", Source: true})
	}
	view := tree.NewView(nodes, tracks)
	d, err := New(Config{Self: self, View: func() *tree.View { return view }})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestWhoIsServedWhere(t *testing.T) {
	for _, c := range []struct {
		name   string
		self   tree.Node
		others []tree.Node
		region string
		format media.Format
		want   []string // any of these; self for here, nothing for nowhere
	}{
		{"alone", edge("self", "eu"), nil, "us", "", []string{"self"}},
		{"in its region", edge("self", "eu"), []tree.Node{edge("eu2", "eu"), edge("us1", "us")}, "eu", "", []string{"self"}},
		{"of another region", edge("self", "eu"), []tree.Node{edge("us1", "us"), edge("us2", "us")}, "us", "", []string{"us1", "us2"}},
		{"of a nearer region", edge("self", "us-east"), []tree.Node{edge("eu1", "eu-west")}, "eu-north", "", []string{"eu1"}},
		{"of a region nobody knows", edge("self", "eu"), []tree.Node{edge("us1", "us")}, "mars", "", []string{"self"}},
		{"of no known region", edge("self", "eu"), []tree.Node{edge("us1", "us"), edge("eu2", "eu")}, "", "", []string{"self"}},
		{"whose region drains", edge("self", "eu"), []tree.Node{edge("us1", "us", draining)}, "us", "", []string{"self"}},
		{"whose region is full", edge("self", "eu"), []tree.Node{edge("us1", "us", isFull)}, "us", "", []string{"self"}},
		{"at no edge", edge("self", "eu", noEdge), []tree.Node{edge("eu1", "eu"), edge("us1", "us")}, "eu", "", []string{"eu1"}},
		{"at no edge, of no known region", edge("self", "eu", noEdge), []tree.Node{edge("eu1", "eu"), edge("us1", "us")}, "", "", []string{"eu1", "us1"}},
		{"at no edge, and there is none", edge("self", "eu", noEdge), []tree.Node{edge("eu1", "eu", hidden)}, "eu", "", []string{""}},
		{"at an edge that drains", edge("self", "eu", draining), []tree.Node{edge("eu2", "eu"), edge("us1", "us")}, "eu", "", []string{"eu2"}},
		{"where all drain", edge("self", "eu", draining), []tree.Node{edge("eu2", "eu", draining)}, "eu", "", []string{"self"}},
		{"at a full edge", edge("self", "eu", isFull), []tree.Node{edge("us1", "us")}, "eu", "", []string{"us1"}},
		{"where all are full", edge("self", "eu", isFull), []tree.Node{edge("eu2", "eu", isFull)}, "eu", "", []string{"self"}},
		{"who wants what the edge lacks", edge("self", "eu", only720p), []tree.Node{edge("eu2", "eu")}, "eu", "360p", []string{"eu2"}},
		{"who wants what the edge has", edge("self", "eu", only720p), []tree.Node{edge("eu2", "eu")}, "eu", "720p", []string{"self"}},
		{"who wants anything", edge("self", "eu", only720p), []tree.Node{edge("eu2", "eu")}, "eu", "", []string{"self"}},
		{"who wants a picture of an edge for sound", edge("self", "eu", onlySound), []tree.Node{edge("eu2", "eu")}, "eu", "", []string{"eu2"}},
		{"who wants what nobody has", edge("self", "eu", only720p), []tree.Node{edge("eu2", "eu", only720p)}, "eu", "1080p", []string{"self"}},
		{"at an edge without address", edge("self", "eu", hidden), []tree.Node{edge("eu2", "eu")}, "eu", "", []string{"eu2"}},
	} {
		d := directorOn(t, "self", append(c.others, c.self)...)
		better, ok := d.Serve(Viewer{Region: c.region, Key: "192.0.2.7"}, cam, c.format)
		got := ""
		if better != nil {
			got = better.Name
		} else if ok {
			got = "self"
		}
		if !slices.Contains(c.want, got) {
			t.Errorf("a viewer %s goes to %q, want one of %q", c.name, got, c.want)
		}
	}
}

func TestANodeThatStandsAloneServesAll(t *testing.T) {
	d, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if better, ok := d.Serve(Viewer{Region: "us"}, cam, ""); better != nil || !ok {
		t.Errorf("the viewer goes to %v (%v), want to stay", better, ok)
	}
	if list := d.Edges(Viewer{}, cam, ""); len(list) != 0 {
		t.Errorf("there are edges %v, want none", list)
	}
	if lines := d.SteeringLines(cam); len(lines) != 0 {
		t.Errorf("playlists get %q, want nothing", lines)
	}
	if _, err := New(Config{View: func() *tree.View { return nil }}); err == nil {
		t.Error("a director that does not know its node was made")
	}
}

func names(edges []Edge) (list []string) {
	for _, e := range edges {
		list = append(list, e.Name)
	}
	return list
}

func TestTheListBeginsWithWhereTheViewerShouldBe(t *testing.T) {
	nodes := []tree.Node{edge("eu1", "eu"), edge("eu2", "eu"), edge("eu3", "eu"), edge("eu4", "eu"), edge("eu5", "eu"), edge("us1", "us")}
	for _, self := range []string{"eu1", "eu2", "eu3", "eu4", "eu5"} {
		got := names(directorOn(t, self, slices.Clone(nodes)...).Edges(Viewer{Region: "eu", Key: "192.0.2.7"}, cam, ""))
		if len(got) != mostEdges || got[0] != self || slices.Contains(got[1:], self) {
			t.Errorf("on %s the list is %v, want four that begin with it", self, got)
		}
	}
	got := names(directorOn(t, "us1", slices.Clone(nodes)...).Edges(Viewer{Region: "eu", Key: "192.0.2.7"}, cam, ""))
	if len(got) != mostEdges || got[0] == "us1" || got[1] == "us1" {
		t.Errorf("for another region the list is %v, want four that begin with edges of that one", got)
	}
}

func TestViewersSpread(t *testing.T) {
	d := directorOn(t, "in", edge("in", "eu", noEdge), edge("eu1", "eu"), edge("eu2", "eu"))
	count := map[string]int{}
	addr := netip.MustParseAddr("192.0.2.0")
	for range 200 {
		addr = addr.Next()
		e, _ := d.Serve(Viewer{Region: "eu", Key: key(addr, "")}, cam, "")
		again, _ := d.Serve(Viewer{Region: "eu", Key: key(addr, "")}, cam, "")
		if e.Name != again.Name {
			t.Fatalf("a viewer is sent to %s, then to %s", e.Name, again.Name)
		}
		count[e.Name]++
	}
	if count["eu1"] < 60 || count["eu2"] < 60 {
		t.Errorf("200 viewers went to %v, want about half to each", count)
	}
}

func TestBaseOfAnEdge(t *testing.T) {
	for _, c := range []struct{ http, link, want string }{
		{"https://edge1.example.org", "", "https://edge1.example.org"},
		{"https://edge1.example.org/", "", "https://edge1.example.org"},
		{"https://example.org/live/", "", "https://example.org/live"},
		{"http://0.0.0.0:8080", "10.0.0.1:7947", "http://10.0.0.1:8080"},
		{"http://[::]:8080", "[2001:db8::1]:7947", "http://[2001:db8::1]:8080"},
		{"https://0.0.0.0", "10.0.0.1:7947", "https://10.0.0.1:443"},
		{"http://0.0.0.0:8080", "", ""},
		{"http://0.0.0.0:8080", "0.0.0.0:7947", ""},
		{"ftp://edge1", "", ""},
		{"javascript:alert(1)", "", ""},
		{"http://%zz", "", ""},
		{"", "10.0.0.1:7947", ""},
	} {
		n := tree.Node{Name: "edge1", HTTP: c.http}
		if c.link != "" {
			n.Link = netip.MustParseAddrPort(c.link)
		}
		got := ""
		if e, ok := edgeOf(&n); ok {
			got = e.Base.String()
		}
		if got != c.want {
			t.Errorf("%q with a link to %q is reached at %q, want %q", c.http, c.link, got, c.want)
		}
	}
}
