package tree

import (
	"fmt"
	"slices"
	"testing"

	"banyan/relay/media"
)

// wantFirst checks whom a node is sent to first, by region and role in the names.
func wantFirst(t *testing.T, v *View, self string, want ...string) {
	t.Helper()
	if got := Parents(v, self, final); len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
		t.Errorf("parents of %s are %q, want %q first", self, got, want)
	}
}

func TestTiers(t *testing.T) {
	v := cluster(fleet(Relay, "eu-west", 4), fleet(Edge, "eu-west", 10), fleet(Ingest, "eu-west", 1))
	if got := Parents(v, "birth", final); len(got) != 0 {
		t.Errorf("the birthplace has parents %q", got)
	}
	if got := Parents(v, "eu-west-edge-1", media.TrackID{Stream: "other", Format: "720p", Kind: media.Video}); len(got) != 0 {
		t.Errorf("a track that nobody has has parents %q", got)
	}
	for i := range 4 {
		wantFirst(t, v, fmt.Sprintf("eu-west-relay-%d", i), "birth")
	}
	wantFirst(t, v, "eu-west-ingest-0", "birth") // it makes something of the track
	wantFirst(t, v, "stranger", "birth")
	p := NewPlan(v)
	for i := range 10 {
		parents := p.Parents(fmt.Sprintf("eu-west-edge-%d", i), final)
		if len(parents) != 4 || parents[3] != "birth" || !v.Node(parents[0]).Has(Relay) {
			t.Errorf("parents of edge %d are %q; want three relays, then the birthplace", i, parents)
		}
	}
}

func TestRegions(t *testing.T) {
	relays := slices.Concat(fleet(Relay, "eu-west", 2), fleet(Relay, "eu-north", 2), fleet(Relay, "us-east", 2), fleet(Relay, "", 1))
	for _, c := range []struct{ region, want string }{
		{"eu-west", "eu-west"}, {"us-east", "us-east"}, {"us-west", "us-east"}, {"us", "us-east"}, {"us-east-2", "us-east"}, {"", ""},
	} {
		v := cluster(relays, fleet(Edge, c.region, 20))
		for edge, home := range homes(v) {
			if got := v.Node(home).Region; got != c.want {
				t.Errorf("%s hangs below %s; want a relay of %q", edge, home, c.want)
			}
		}
	}
	// A region that nobody knows: over all relays.
	if count := counts(homes(cluster(relays, fleet(Edge, "mars", 700)))); len(count) != len(relays) {
		t.Errorf("edges of an unknown region hang below %v; want all relays", count)
	}
	// The others of the list are of other regions, should all of the own be gone.
	parents := Parents(cluster(relays, fleet(Edge, "eu-west", 1)), "eu-west-edge-0", final)
	if len(parents) != 5 || parents[2][:8] != "eu-north" || parents[4] != "birth" {
		t.Errorf("parents are %q; want two of eu-west, two of eu-north, the birthplace", parents)
	}
}

func TestFormats(t *testing.T) {
	v := cluster(fleet(Relay, "eu-west", 2), fleet(Relay, "us-east", 1), fleet(Edge, "eu-west", 2))
	carry := func(v *View, name string, formats ...media.Format) *View {
		return with(v, name, func(n *Node) { n.Formats = formats })
	}
	v = carry(v, "eu-west-relay-0", "360p")
	wantFirst(t, v, "eu-west-edge-0", "eu-west-relay-1")
	wantFirst(t, v, "eu-west-relay-0", "birth") // it does not pass the format on, but may ask
	v = carry(v, "eu-west-relay-1", "360p")
	wantFirst(t, v, "eu-west-edge-0", "us-east-relay-0")
	v = carry(v, "us-east-relay-0", "360p")
	wantFirst(t, v, "eu-west-edge-0", "birth") // nobody carries it
	if got := Edges(v, "eu-west", "ana", "720p"); len(got) != 2 {
		t.Errorf("edges are %q, want two", got)
	}
	v = carry(v, "eu-west-edge-0", "360p")
	if got := Edges(v, "eu-west", "ana", "720p"); !slices.Equal(got, []string{"eu-west-edge-1"}) {
		t.Errorf("edges are %q, want the one that carries 720p", got)
	}
	if got := Edges(v, "eu-west", "ana", "720p", "360p"); len(got) != 2 || got[0] != "eu-west-edge-1" {
		t.Errorf("edges are %q, want the one that carries both first", got)
	}
	v = carry(v, "eu-west-edge-1", "360p")
	if got := Edges(v, "eu-west", "ana", "720p"); len(got) != 0 {
		t.Errorf("edges are %q, though none carries 720p", got)
	}
}

func TestOneNodeOfAllRoles(t *testing.T) {
	all := func(name string, i int) Node {
		return Node{Name: name, Roles: []Role{Ingest, Transcoder, Relay, Edge}, Link: host(i), HTTP: "https://" + name}
	}
	v := NewView([]Node{all("a", 1), all("b", 2), all("c", 3)}, []Track{{ID: final, Node: "b"}})
	wantFirst(t, v, "a", "b")
	wantFirst(t, v, "c", "b")
	if a, c := Parents(v, "a", final), Parents(v, "c", final); len(a)+len(c) != 3 {
		t.Errorf("parents are %q and %q; want one of them to have the other as its second", a, c)
	}
	if got := Edges(v, "", "ana"); len(got) != 3 {
		t.Errorf("edges are %q, want all three", got)
	}
}

func TestDrainingAndFullRelays(t *testing.T) {
	v := cluster(fleet(Relay, "eu-west", 2), fleet(Relay, "us-east", 1), fleet(Edge, "eu-west", 8))
	full := func(v *View, name string) *View { return with(v, name, func(n *Node) { n.Load = 1 }) }
	drain := func(v *View, name string) *View { return with(v, name, func(n *Node) { n.Draining = true }) }
	all := func(v *View, want string) {
		t.Helper()
		for edge, home := range homes(v) {
			if home != want {
				t.Errorf("%s hangs below %s, want %s", edge, home, want)
			}
		}
	}
	all(full(v, "eu-west-relay-0"), "eu-west-relay-1")
	all(drain(v, "eu-west-relay-0"), "eu-west-relay-1")
	all(drain(full(v, "eu-west-relay-1"), "eu-west-relay-0"), "us-east-relay-0")
	all(full(full(v, "eu-west-relay-1"), "eu-west-relay-0"), "us-east-relay-0")
	if got := counts(homes(full(full(full(v, "eu-west-relay-1"), "eu-west-relay-0"), "us-east-relay-0"))); got["us-east-relay-0"] > 0 || len(got) != 2 {
		t.Errorf("with all relays full edges hang below %v; want both of the region", got)
	}
	none := drain(drain(drain(v, "eu-west-relay-1"), "eu-west-relay-0"), "us-east-relay-0")
	all(none, "birth")
	if got := Parents(none, "eu-west-edge-0", final); len(got) != 3 {
		t.Errorf("parents are %q; want the birthplace and two that drain", got)
	}
	// The birthplace is all there is.
	wantFirst(t, drain(v, "birth"), "eu-west-relay-0", "birth")
}

func TestTheSecondIsOnAnotherHost(t *testing.T) {
	v := cluster(fleet(Relay, "eu-west", 6), fleet(Edge, "eu-west", 50))
	for i, r := range v.With(Relay) {
		r.Link = host(1000 + i/3) // two hosts of three
	}
	p := NewPlan(v)
	for _, e := range v.With(Edge) {
		parents := p.Parents(e.Name, final)
		if sameHost(v.Node(parents[0]), v.Node(parents[1])) {
			t.Errorf("%s hangs below %s and then %s, both on %s", e.Name, parents[0], parents[1], v.Node(parents[0]).Link.Addr())
		}
	}
	one := cluster(fleet(Relay, "eu-west", 2), fleet(Relay, "us-east", 1), fleet(Edge, "eu-west", 1))
	for _, r := range one.With(Relay)[:2] {
		r.Link = host(1000)
	}
	if got := Parents(one, "eu-west-edge-0", final); got[1] != "us-east-relay-0" || len(got) != 4 {
		t.Errorf("parents are %q; want the relay of the other host second", got)
	}
}

func TestStay(t *testing.T) {
	v := cluster(fleet(Relay, "eu-west", 2), fleet(Relay, "us-east", 1), fleet(Edge, "eu-west", 1))
	edge := "eu-west-edge-0"
	parents := Parents(v, edge, final)
	home, other := parents[0], parents[1]
	load := func(v *View, name string, load float64) *View { return with(v, name, func(n *Node) { n.Load = load }) }
	for _, c := range []struct {
		why    string
		view   *View
		parent string
		want   bool
	}{
		{"it is the first choice", v, home, true},
		{"the first choice has ample room", v, other, false},
		{"the first choice has not got ample room yet", load(v, home, 0.85), other, true},
		{"a full relay keeps its children", load(v, home, 1), home, true},
		{"a full relay far away does not, where there is room near by", load(v, "us-east-relay-0", 1), "us-east-relay-0", false},
		{"it drains", with(load(v, home, 1), home, func(n *Node) { n.Draining = true }), home, false},
		{"it is dead", without(v, other), other, false},
		{"it carries other formats", with(load(v, home, 0.85), other, func(n *Node) { n.Formats = []media.Format{"360p"} }), other, false},
		{"it is an edge", load(v, home, 0.85), edge, false},
		{"the track is over", without(v, "birth"), home, false},
	} {
		if got := NewPlan(c.view).Stay(edge, final, c.parent); got != c.want {
			t.Errorf("%s stays with %s: %v, want %v: %s", edge, c.parent, got, c.want, c.why)
		}
	}
}

func TestRelaysStayOnlyBelowThoseAbove(t *testing.T) {
	v := with(cluster(fleet(Relay, "eu-west", 9)), "birth", func(n *Node) { n.Load = 1 })
	p := NewPlan(v)
	for _, a := range v.With(Relay) {
		for _, b := range v.With(Relay) {
			if p.Stay(a.Name, final, b.Name) && p.Stay(b.Name, final, a.Name) {
				t.Errorf("%s and %s would stay below each other", a.Name, b.Name)
			}
		}
	}
}

func TestBirthplace(t *testing.T) {
	source := media.TrackID{Stream: "cup/cam1", Format: media.Source, Kind: media.Video}
	nodes := slices.Concat(fleet(Ingest, "eu-west", 3), fleet(Transcoder, "eu-west", 3))
	at := func(id media.TrackID, node string, isSource bool, since int64) Track {
		return Track{ID: id, Node: node, Source: isSource, Since: since}
	}
	for _, c := range []struct {
		why    string
		tracks []Track
		want   string
	}{
		{"nobody has it", nil, ""},
		{"the publisher came last to 1", []Track{at(source, "eu-west-ingest-0", true, 5), at(source, "eu-west-ingest-1", true, 7), at(source, "eu-west-ingest-2", true, 6)}, "eu-west-ingest-1"},
		{"of two at once the first by name", []Track{at(source, "eu-west-ingest-2", true, 5), at(source, "eu-west-ingest-1", true, 5)}, "eu-west-ingest-1"},
		{"the newest is dead", []Track{at(source, "eu-west-ingest-0", true, 5), at(source, "gone", true, 7)}, "eu-west-ingest-0"},
		{"publishers go before workers", []Track{at(source, "eu-west-ingest-0", true, 5), at(source, "eu-west-transcoder-0", false, 7)}, "eu-west-ingest-0"},
		{"time before the epoch is time", []Track{at(source, "eu-west-ingest-0", true, -5)}, "eu-west-ingest-0"},
	} {
		v := NewView(slices.Clone(nodes), c.tracks)
		if got, ok := Birthplace(v, source); got != c.want || ok != (c.want != "") {
			t.Errorf("born on %q, %v; want %q: %s", got, ok, c.want, c.why)
		}
	}
}

func TestWorker(t *testing.T) {
	source := Track{ID: media.TrackID{Stream: "cup/final", Format: media.Source, Kind: media.Video}, Node: "eu-west-ingest-0", Source: true}
	v := NewView(slices.Concat(fleet(Ingest, "eu-west", 1), fleet(Transcoder, "eu-west", 3), fleet(Transcoder, "us-east", 3)), []Track{source})
	announce := func(v *View, workers ...string) *View {
		tracks := slices.Clone(v.Tracks)
		for _, w := range workers {
			tracks = append(tracks, Track{ID: final, Node: w})
		}
		return NewView(slices.Clone(v.Nodes), tracks)
	}
	set := func(v *View, region string, change func(*Node)) *View {
		for _, n := range v.With(Transcoder) {
			if n.Region == region {
				v = with(v, n.Name, change)
			}
		}
		return v
	}
	drain, fill := func(n *Node) { n.Draining = true }, func(n *Node) { n.Load = 1 }
	worker := func(v *View) string { w, _ := Worker(v, "cup/final", "720p"); return w }
	chosen := worker(v)
	if v.Node(chosen).Region != "eu-west" {
		t.Errorf("%s is chosen; want a worker where the source is", chosen)
	}
	if w, ok := Worker(v, "cup/final", media.Source); ok {
		t.Errorf("%s should make what the publisher sends", w)
	}
	if w := worker(with(v, chosen, fill)); w == chosen || v.Node(w).Region != "eu-west" {
		t.Errorf("%s is chosen; want another of the region than %s, which is full", w, chosen)
	}
	if w := worker(set(v, "eu-west", fill)); v.Node(w).Region != "us-east" {
		t.Errorf("%s is chosen; want one with room", w)
	}
	if w := worker(set(set(v, "eu-west", fill), "us-east", fill)); w == "" {
		t.Error("nobody is chosen where all are full; want one to decide what it gives up")
	}
	if w := worker(set(set(v, "eu-west", drain), "us-east", drain)); w != "" {
		t.Errorf("%s drains and is to take a new format", w)
	}
	// Who makes it keeps it, however loads change.
	other := "us-east-transcoder-0"
	if w := worker(with(announce(v, other), other, fill)); w != other {
		t.Errorf("%s takes over from %s, which makes it", w, other)
	}
	// Two make it: all agree who stays, and that one is its birthplace.
	for _, v := range []*View{announce(v, chosen, other), with(announce(v, chosen, other), chosen, func(n *Node) { n.Load = 0.9 })} {
		w := worker(v)
		if birth, _ := Birthplace(v, final); birth != w || w != worker(announce(v, other, chosen)) {
			t.Errorf("%s is to make it, but it is born on %s", w, birth)
		}
	}
	// The one that makes it drains: another takes over, and until it does so it is born where it was.
	leaving := with(announce(v, other), other, drain)
	if w := worker(leaving); w == other || w == "" {
		t.Errorf("%q is to make it, want another than %s", w, other)
	}
	if birth, _ := Birthplace(leaving, final); birth != other {
		t.Errorf("it is born on %q before anybody else makes it, want %s", birth, other)
	}
	if birth, _ := Birthplace(announce(leaving, worker(leaving)), final); birth != worker(leaving) {
		t.Errorf("it is born on %q, want %s, which has taken over", birth, worker(leaving))
	}
	heir := worker(leaving)
	for _, c := range []struct {
		view        *View
		leaver, who bool
	}{{leaving, true, true}, {announce(leaving, other, heir), false, true}, {announce(leaving, heir), false, true}} {
		if x, y := Makes(c.view, other, "cup/final", "720p"), Makes(c.view, heir, "cup/final", "720p"); x != c.leaver || y != c.who {
			t.Errorf("who drains makes it: %v, and its heir: %v; want %v and %v", x, y, c.leaver, c.who)
		}
	}
	if w := worker(set(leaving, "us-east", drain)); v.Node(w).Region != "eu-west" {
		t.Errorf("%s is chosen", w)
	}
}

// A format that waits for room on the one worker goes to another that has some, without a moment in which both or none
// believe that it is theirs, in whatever order they hear of each other.
func TestWhoHasNoRoomGivesWay(t *testing.T) {
	const a, b = "eu-west-transcoder-0", "eu-west-transcoder-1"
	nodes := fleet(Transcoder, "eu-west", 2)
	view := func(load float64, tracks ...Track) *View {
		v := NewView(slices.Clone(nodes), tracks)
		return with(v, b, func(n *Node) { n.Load = load })
	}
	waits, makes := Track{ID: final, Node: a, Waits: true}, Track{ID: final, Node: b}
	for _, c := range []struct {
		why    string
		view   *View
		worker string
		a, b   bool // make it
		birth  string
	}{
		{"it is made", view(0, Track{ID: final, Node: a}), a, true, false, a},
		{"it waits: the other is to take over, and has not yet", view(0.5, waits), b, true, true, a},
		{"the other has taken over", view(0.5, waits, makes), b, false, true, b},
		{"it was withdrawn", view(0.5, makes), b, false, true, b},
		{"nobody has room", view(1, waits), a, true, false, a},
		{"the other became full with it", view(1, waits, makes), b, false, true, b},
	} {
		if w, _ := Worker(c.view, "cup/final", "720p"); w != c.worker {
			t.Errorf("%s is to make it, want %s: %s", w, c.worker, c.why)
		}
		if birth, _ := Birthplace(c.view, final); birth != c.birth {
			t.Errorf("it is born on %s, want %s: %s", birth, c.birth, c.why)
		}
		if x, y := Makes(c.view, a, "cup/final", "720p"), Makes(c.view, b, "cup/final", "720p"); x != c.a || y != c.b {
			t.Errorf("they make it: %v and %v, want %v and %v: %s", x, y, c.a, c.b, c.why)
		}
	}
	// It waits on both: one of them keeps it.
	both := view(0, waits, Track{ID: final, Node: b, Waits: true})
	if x, y := Makes(both, a, "cup/final", "720p"), Makes(both, b, "cup/final", "720p"); x == y {
		t.Errorf("where it waits on both they make it: %v and %v, want one of them", x, y)
	}
	if drains := with(view(0, waits), b, func(n *Node) { n.Draining = true }); !Makes(drains, a, "cup/final", "720p") {
		t.Error("it goes to one that drains")
	}
}

// Jobs spread over workers by what these have free.
func TestWorkersShare(t *testing.T) {
	v := NewView(fleet(Transcoder, "eu-west", 4), nil)
	v = with(v, "eu-west-transcoder-0", func(n *Node) { n.Capacity = 3 })
	v = with(v, "eu-west-transcoder-1", func(n *Node) { n.Load = 0.5 })
	count := map[string]int{}
	const jobs = 11_000 // 5.5 units of free capacity
	for i := range jobs {
		w, _ := Worker(v, media.Name(fmt.Sprintf("s%d", i)), "720p")
		count[w]++
	}
	for name, want := range map[string]int{"eu-west-transcoder-0": 6000, "eu-west-transcoder-1": 1000, "eu-west-transcoder-2": 2000, "eu-west-transcoder-3": 2000} {
		if got := count[name]; got < want*9/10 || got > want*11/10 {
			t.Errorf("%s has %d of %d jobs, want about %d", name, got, jobs, want)
		}
	}
}
