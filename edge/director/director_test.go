package director

import (
	"net/netip"
	"slices"
	"strings"
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
func encodes(n *tree.Node)   { n.Encoding = 1 }
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
		why    Reason   // it leaves
	}{
		{"alone", edge("self", "eu"), nil, "us", "", []string{"self"}, ""},
		{"in its region", edge("self", "eu"), []tree.Node{edge("eu2", "eu"), edge("us1", "us")}, "eu", "", []string{"self"}, ""},
		{"of another region", edge("self", "eu"), []tree.Node{edge("us1", "us"), edge("us2", "us")}, "us", "", []string{"us1", "us2"}, Region},
		{"of a nearer region", edge("self", "us-east"), []tree.Node{edge("eu1", "eu-west")}, "eu-north", "", []string{"eu1"}, Region},
		{"of a region nobody knows", edge("self", "eu"), []tree.Node{edge("us1", "us")}, "mars", "", []string{"self"}, ""},
		{"of no known region", edge("self", "eu"), []tree.Node{edge("us1", "us"), edge("eu2", "eu")}, "", "", []string{"self"}, ""},
		{"whose region drains", edge("self", "eu"), []tree.Node{edge("us1", "us", draining)}, "us", "", []string{"self"}, ""},
		{"whose region is full", edge("self", "eu"), []tree.Node{edge("us1", "us", isFull)}, "us", "", []string{"self"}, ""},
		{"at no edge", edge("self", "eu", noEdge), []tree.Node{edge("eu1", "eu"), edge("us1", "us")}, "eu", "", []string{"eu1"}, NoEdge},
		{"at no edge, of no known region", edge("self", "eu", noEdge), []tree.Node{edge("eu1", "eu"), edge("us1", "us")}, "", "", []string{"eu1", "us1"}, NoEdge},
		{"at no edge, and there is none", edge("self", "eu", noEdge), []tree.Node{edge("eu1", "eu", hidden)}, "eu", "", []string{""}, ""},
		{"at an edge that drains", edge("self", "eu", draining), []tree.Node{edge("eu2", "eu"), edge("us1", "us")}, "eu", "", []string{"eu2"}, Draining},
		{"where all drain", edge("self", "eu", draining), []tree.Node{edge("eu2", "eu", draining)}, "eu", "", []string{"self"}, ""},
		{"at a full edge", edge("self", "eu", isFull), []tree.Node{edge("us1", "us")}, "eu", "", []string{"us1"}, Full},
		{"where all are full", edge("self", "eu", isFull), []tree.Node{edge("eu2", "eu", isFull)}, "eu", "", []string{"later"}, ""},
		{"at a full edge, alone", edge("self", "eu", isFull), nil, "eu", "", []string{"later"}, ""},
		{"at a full edge beside one that drains", edge("self", "eu", isFull), []tree.Node{edge("eu2", "eu", draining)}, "eu", "", []string{"later"}, ""},
		{"at no edge, and all are full", edge("self", "eu", noEdge), []tree.Node{edge("eu2", "eu", isFull)}, "eu", "", []string{"later"}, ""},
		{"at an edge that drains, and all others are full", edge("self", "eu", draining), []tree.Node{edge("eu2", "eu", isFull)}, "eu", "", []string{"later"}, ""},
		{"at an edge without address, and all others are full", edge("self", "eu", hidden), []tree.Node{edge("eu2", "eu", isFull)}, "eu", "", []string{"self"}, ""},
		{"at an edge whose encoders are busy", edge("self", "eu", encodes), []tree.Node{edge("us1", "us")}, "eu", "", []string{"self"}, ""},
		{"who wants what the edge lacks", edge("self", "eu", only720p), []tree.Node{edge("eu2", "eu")}, "eu", "360p", []string{"eu2"}, Format},
		{"who wants what the edge has", edge("self", "eu", only720p), []tree.Node{edge("eu2", "eu")}, "eu", "720p", []string{"self"}, ""},
		{"who wants anything", edge("self", "eu", only720p), []tree.Node{edge("eu2", "eu")}, "eu", "", []string{"self"}, ""},
		{"who wants a picture of an edge for sound", edge("self", "eu", onlySound), []tree.Node{edge("eu2", "eu")}, "eu", "", []string{"eu2"}, Format},
		{"who wants what nobody has", edge("self", "eu", only720p), []tree.Node{edge("eu2", "eu", only720p)}, "eu", "1080p", []string{"self"}, ""},
		{"at an edge without address", edge("self", "eu", hidden), []tree.Node{edge("eu2", "eu")}, "eu", "", []string{"eu2"}, Hidden},
	} {
		d := directorOn(t, "self", append(c.others, c.self)...)
		verdict := d.Serve(Viewer{Region: c.region, Key: "192.0.2.7"}, cam, c.format)
		got := "self"
		if verdict.Better != nil {
			got = verdict.Better.Name
		} else if verdict.NoRoom {
			got = "later"
		} else if verdict.Nowhere {
			got = ""
		}
		if !slices.Contains(c.want, got) {
			t.Errorf("a viewer %s goes to %q, want one of %q", c.name, got, c.want)
		}
		if verdict.Why != c.why {
			t.Errorf("a viewer %s goes because of %q, want %q", c.name, verdict.Why, c.why)
		}
	}
}

func TestANodeThatStandsAloneServesAll(t *testing.T) {
	d, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if verdict := d.Serve(Viewer{Region: "us"}, cam, ""); verdict != (Verdict{}) {
		t.Errorf("the verdict on a viewer is %+v, want to stay", verdict)
	}
	if d.Elsewhere() || d.Probes(Viewer{}, cam, "") != nil {
		t.Error("there is another edge")
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
		e := d.Serve(Viewer{Region: "eu", Key: key(addr, "")}, cam, "").Better
		again := d.Serve(Viewer{Region: "eu", Key: key(addr, "")}, cam, "").Better
		if e.Name != again.Name {
			t.Fatalf("a viewer is sent to %s, then to %s", e.Name, again.Name)
		}
		count[e.Name]++
	}
	if count["eu1"] < 60 || count["eu2"] < 60 {
		t.Errorf("200 viewers went to %v, want about half to each", count)
	}
}

func TestElsewhere(t *testing.T) {
	for _, c := range []struct {
		name   string
		others []tree.Node
		want   bool
	}{
		{"alone", nil, false},
		{"with an edge", []tree.Node{edge("eu2", "eu")}, true},
		{"with an edge far away", []tree.Node{edge("us1", "us")}, true},
		{"with a relay", []tree.Node{edge("relay1", "eu", noEdge)}, false},
		{"with an edge that drains too", []tree.Node{edge("eu2", "eu", draining)}, false},
		{"with an edge that nobody reaches", []tree.Node{edge("eu2", "eu", hidden)}, false},
	} {
		if got := directorOn(t, "self", append(c.others, edge("self", "eu", draining))...).Elsewhere(); got != c.want {
			t.Errorf("a node %s: viewers have another edge: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestProbesAreOfDifferentRegions(t *testing.T) {
	var world []tree.Node
	for _, region := range []string{"eu-west", "eu-north", "eu-south", "us-east", "us-west", "ap-south", "ap-east", "sa", "af"} {
		world = append(world, edge(region+"1", region), edge(region+"2", region))
	}
	for _, c := range []struct {
		name  string
		self  string
		nodes []tree.Node
		want  []string
	}{
		{"one region", "eu1", []tree.Node{edge("eu1", "eu"), edge("eu2", "eu")}, nil},
		{"two regions", "eu1", []tree.Node{edge("eu1", "eu"), edge("eu2", "eu"), edge("us1", "us")}, []string{"eu1", "us1"}},
		{"at no edge", "in", []tree.Node{edge("in", "eu", noEdge), edge("eu2", "eu"), edge("us1", "us")}, []string{"eu2", "us1"}},
		{"at a full edge", "eu1", []tree.Node{edge("eu1", "eu", isFull), edge("eu2", "eu"), edge("us1", "us")}, []string{"eu2", "us1"}},
		{"a region without room", "eu1", []tree.Node{edge("eu1", "eu"), edge("us1", "us", isFull), edge("us2", "us", draining), edge("us3", "us", hidden)}, nil},
		{"a region without the format", "eu1", []tree.Node{edge("eu1", "eu"), edge("us1", "us", onlySound), edge("ap1", "ap")}, []string{"eu1", "ap1"}},
		{"many regions", "us-west2", world, []string{"us-west2", "af1", "ap-east", "eu-north", "sa", "ap-south"}},
	} {
		got := names(directorOn(t, c.self, slices.Clone(c.nodes)...).Probes(Viewer{Key: "192.0.2.7"}, cam, ""))
		matches := func(got, want string) bool { return strings.HasPrefix(got, want) }
		if !slices.EqualFunc(got, c.want, matches) {
			t.Errorf("%s: the probes are %q, want %q", c.name, got, c.want)
		}
	}
}

func TestProbesFollowTheView(t *testing.T) {
	view := tree.NewView([]tree.Node{edge("eu1", "eu")}, nil)
	d, err := New(Config{Self: "eu1", View: func() *tree.View { return view }})
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Probes(Viewer{}, cam, ""); got != nil {
		t.Errorf("one region is probed: %v", got)
	}
	view = tree.NewView([]tree.Node{edge("eu1", "eu"), edge("us1", "us")}, nil)
	if got := names(d.Probes(Viewer{}, cam, "")); !slices.Equal(got, []string{"eu1", "us1"}) {
		t.Errorf("after another region came the probes are %q", got)
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
