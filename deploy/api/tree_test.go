package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"banyan/relay"
	"banyan/relay/auth"
	"banyan/relay/media"
)

// member is a node of a cluster that answers by HTTP.
type member struct {
	*httptest.Server
	api *api
	hub *relay.Hub
}

// clusterBench starts nodes that know of each other, with the key of their cluster.
type clusterBench struct {
	t     *testing.T
	view  Cluster
	nodes map[string]*member
}

func peerGuard(t *testing.T, letter string) *auth.Guard {
	t.Helper()
	guard, err := auth.NewGuard(auth.Config{Secret: []byte(strings.Repeat(letter, auth.MinSecretBytes))})
	if err != nil {
		t.Fatal(err)
	}
	return guard
}

func (c *clusterBench) start(name, role, key string, replicas ...Replica) *member {
	c.t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	m := &member{hub: relay.New(relay.Config{Logger: quiet})}
	m.api = &api{Config: Config{
		Hub: m.hub, Guard: peerGuard(c.t, "g"), Peers: peerGuard(c.t, key), Log: quiet,
		Node:    Node{Name: name, Version: "v", Roles: []string{role}},
		Cluster: func() Cluster { return Cluster{Nodes: c.view.Nodes, Gone: c.view.Gone, Replicas: replicas} },
		Links:   func() (*Hop, map[string]uint64) { return &Hop{1, 2}, map[string]uint64{"stale": 3} },
	}}
	m.api.gatherer = newGatherer(m.api)
	mux := http.NewServeMux()
	for pattern, handler := range m.api.routes() {
		mux.HandleFunc(pattern, handler)
	}
	m.Server = httptest.NewServer(mux)
	c.t.Cleanup(func() {
		m.api.gatherer.client.CloseIdleConnections()
		m.Close()
		m.hub.Close()
	})
	c.nodes[name] = m
	c.view.Nodes = append(c.view.Nodes, ClusterNode{Name: name, Roles: []string{role}, URL: m.URL})
	return m
}

func (c *clusterBench) publish(m *member, name media.Name) {
	c.t.Helper()
	p, err := m.hub.Publish(name, "whip 192.0.2.7:4000")
	if err != nil {
		c.t.Fatal(err)
	}
	w, err := p.Source(media.Video)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := w.Begin(media.Params{Codec: media.H264, ClockRate: media.VideoClockRate, Width: 1280, Height: 720}); err != nil {
		c.t.Fatal(err)
	}
	p.Announce()
}

func (t *Tree) node(name string) *TreeNode {
	for i := range t.Nodes {
		if t.Nodes[i].Name == name {
			return &t.Nodes[i]
		}
	}
	return &TreeNode{Trouble: "not in the tree"}
}

func TestTreeIsWhatNodesSayOfThemselves(t *testing.T) {
	c := &clusterBench{t: t, nodes: map[string]*member{}}
	ingest := c.start("ingest1", "ingest", "k")
	edge := c.start("edge1", "edge", "k", Replica{Stream: "cup/cam1", Format: "source", Kind: media.Video, Parent: "ingest1"})
	c.start("stranger", "relay", "other")
	gone := c.start("gone", "relay", "k")
	gone.Close()
	c.view.Nodes = append(c.view.Nodes, ClusterNode{Name: "mute", Roles: []string{"relay"}})
	c.view.Gone = []Gone{{Name: "relay7", At: time.Now()}}
	c.publish(ingest, "cup/cam1")
	c.publish(edge, "cup/cam1") // stands in for the replica's log
	t0 := time.Now()
	tree := edge.api.gatherer.gather(t.Context())
	if took := time.Since(t0); took > 5*askTime {
		t.Errorf("it took %v", took)
	}
	if len(tree.Nodes) != 5 || tree.Total != 5 || tree.Node != "edge1" {
		t.Fatalf("got %+v", tree)
	}
	if len(tree.Gone) != 1 || tree.Gone[0].Name != "relay7" || tree.Gone[0].Left {
		t.Errorf("of those who went it tells %+v", tree.Gone)
	}
	for name, want := range map[string]error{
		"ingest1": nil, "edge1": nil, "stranger": errRefused, "gone": errSilent, "mute": errNoAddress,
	} {
		if got := tree.node(name).Trouble; want == nil && got != "" || want != nil && got != want.Error() {
			t.Errorf("%s: trouble %q, want %v", name, got, want)
		}
	}
	if n := tree.node("ingest1"); n.Hop == nil || n.Hop.P99MS != 2 || n.Drops["stale"] != 3 || n.Version != "v" {
		t.Errorf("told of ingest1: %+v", n)
	}
	flows := map[string]Flow{}
	for _, f := range tree.Flows {
		flows[f.Child] = f
	}
	if f := flows["ingest1"]; !f.Born || f.Parent != "" || f.Height != 720 || f.Codec != media.H264 {
		t.Errorf("at its birthplace: %+v", f)
	}
	if f := flows["edge1"]; f.Born || f.Parent != "ingest1" || f.Kind != "video" {
		t.Errorf("at the edge: %+v", f)
	}
}

// At the address that viewers have another node may answer: what counts is the link.
func TestNodesAreAskedOverTheirLinks(t *testing.T) {
	c := &clusterBench{t: t, nodes: map[string]*member{}}
	edge := c.start("edge1", "edge", "k")
	own := map[string]func() []byte{}
	for _, name := range []string{"edge2", "old", "cut"} {
		own[name] = c.start(name, "edge", "k").api.own
	}
	c.start("lost", "edge", "k").Close()
	for i := range c.view.Nodes {
		if n := &c.view.Nodes[i]; n.Name == "edge2" {
			n.URL = edge.URL // a name that they share
		}
	}
	edge.api.Ask = func(ctx context.Context, node string) ([]byte, error) {
		switch node {
		case "edge2":
			return own[node](), nil
		case "old":
			return nil, fmt.Errorf("as it is: %w", ErrOld)
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*askTime)
	defer cancel()
	tree := edge.api.gatherer.gather(ctx)
	for name, want := range map[string]string{"edge1": "", "edge2": "", "old": "", "cut": "", "lost": errUnlinked.Error()} {
		n := tree.node(name)
		if n.Trouble != want || want == "" && n.Version != "v" {
			t.Errorf("%s: trouble %q, version %q; want %q", name, n.Trouble, n.Version, want)
		}
	}
	if _, err := readAccount(bytes.NewReader(own["edge2"]()), "another"); err == nil {
		t.Error("a node's account is taken for another's")
	}
}

// What nodes ask each other with must open nothing else, and only the node that it was made for.
func TestTokensBetweenNodesAreForOnePurpose(t *testing.T) {
	c := &clusterBench{t: t, nodes: map[string]*member{}}
	a := c.start("a", "relay", "k")
	ask := func(path, user, key string, admin bool) int {
		guard := peerGuard(t, key)
		token, err := guard.Mint(auth.Grant{User: user, API: admin, Play: []string{"**"}, TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		r, _ := http.NewRequest(http.MethodGet, a.URL+path, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		response, err := a.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		return response.StatusCode
	}
	const self = "/api/v1/cluster/self"
	for _, test := range []struct {
		path, user, key string
		admin           bool
		want            int
	}{
		{self, "a", "k", true, 200},
		{self, "b", "k", true, 401},  // made for another node
		{self, "a", "x", true, 401},  // of another cluster
		{self, "a", "k", false, 401}, // no right at all
		{self, "ana", "g", true, 200},
		{self, "ana", "g", false, 403},
		{"/api/v1/cluster/tree", "a", "k", true, 401},
		{"/api/v1/node", "a", "k", true, 401},
	} {
		if got := ask(test.path, test.user, test.key, test.admin); got != test.want {
			t.Errorf("%+v: got %d", test, got)
		}
	}
}

func TestTreeOfANodeAlone(t *testing.T) {
	b := newBench(t, auth.Open)
	tree := b.ask("GET", "/api/v1/cluster/tree", b.token(auth.Grant{API: true}), "", 200)
	if len(tree["nodes"].([]any)) != 1 || len(tree["flows"].([]any)) != 2 || tree["total"] != 1.0 {
		t.Errorf("got %v", tree)
	}
}

func TestLargeClustersAreAskedInPart(t *testing.T) {
	var nodes []ClusterNode
	for i := range 1000 {
		role := "edge"
		if i%10 == 9 {
			role = "relay"
		}
		nodes = append(nodes, ClusterNode{Name: fmt.Sprintf("n%04d", i), Roles: []string{role}})
	}
	got := chosen(nodes, "n0998")
	if len(got) != mostAsked {
		t.Fatalf("%d nodes are asked, want %d", len(got), mostAsked)
	}
	relays, self := 0, false
	for i, n := range got {
		if n.Roles[0] == "relay" {
			relays++
		}
		self = self || n.Name == "n0998"
		if i > 0 && n.Name <= got[i-1].Name {
			t.Fatalf("%s comes after %s", n.Name, got[i-1].Name)
		}
	}
	if relays != 100 || !self {
		t.Errorf("%d of 100 relays, and this node: %t", relays, self)
	}
}

// accounts are what may come as one of node "a", and whether it is.
var accounts = map[string]bool{
	"":                              false,
	"null":                          false,
	"[]":                            false,
	`{"name":"b"}`:                  false,
	`{"name":"a"}`:                  true,
	`{"name":"a","tracks":[{}]}`:    true,
	`{"name":"a","viewers":{"x":`:   false,
	`{"name":"a","drops":{"x":-1}}`: false,
	`{"name":"a","tracks":"` + strings.Repeat("x", mostAccount) + `"}`: false,
}

// FuzzReadAccount checks that an account that is taken can be shown: bounded in all that it says, and with nothing that
// no node can mean.
func FuzzReadAccount(f *testing.F) {
	for body := range accounts {
		f.Add(body)
	}
	f.Add(`{"name":"a","version":"v1","viewers":{"hls":-3,"whep":1},"hop":{"p50_ms":1,"p99_ms":-2},"more":9223372036854775807,` +
		`"tracks":[{"stream":"cup/cam1","format":"source","kind":"video","height":-1,"bitrate":1,"readers":1,"drops":{"late":1}},{}],"troubles":["x"]}`)
	f.Fuzz(func(t *testing.T, body string) {
		a, err := readAccount(strings.NewReader(body), "a")
		if err != nil {
			if a != nil || !errors.Is(err, errGarbled) {
				t.Fatalf("%.100q: %+v, %v", body, a, err)
			}
			return
		}
		if a.Name != "a" || a.Viewers == nil || a.Drops == nil || a.More < 0 || len(a.Version) > mostWord ||
			len(a.Tracks) > mostTracks || len(a.Viewers) > 16 || len(a.Drops) > 16 || len(a.Troubles) > mostTroubles {
			t.Fatalf("%.100q: read as %+v", body, a)
		}
		for transport, n := range a.Viewers {
			if n < 0 || len(transport) > mostWord {
				t.Fatalf("%d viewers by %.100q", n, transport)
			}
		}
		for _, trouble := range a.Troubles {
			if len(trouble) > mostSentence {
				t.Fatalf("a trouble has %d bytes", len(trouble))
			}
		}
		if h := a.Hop; h != nil && (h.P50MS < 0 || h.P99MS < 0) {
			t.Fatalf("a hop takes %+v", h)
		}
		for _, track := range a.Tracks {
			if _, err := media.ParseName(string(track.Stream)); err != nil || track.Bitrate < 0 || track.Readers < 0 || track.Height < 0 ||
				len(track.Drops) > 16 {
				t.Fatalf("a track is %+v", track)
			}
		}
		node, flows := told(ClusterNode{Name: "a"}, a, nil)
		if _, err := json.Marshal(Tree{Nodes: []TreeNode{node}, Flows: flows}); err != nil {
			t.Fatal(err)
		}
	})
}

// Another machine wrote it: whatever it says, there is an account that can be shown, or none.
func TestAccountsOfOthersAreChecked(t *testing.T) {
	for body, sound := range accounts {
		a, err := readAccount(strings.NewReader(body), "a")
		if (err == nil) != sound {
			t.Errorf("%.60s: %v", body, err)
		}
		if a != nil && (len(a.Tracks) != 0 || a.Drops == nil || a.Viewers == nil) {
			t.Errorf("%.60s: read as %+v", body, a)
		}
	}
	long := Account{Node: Node{Name: "a"}, Drops: map[string]uint64{strings.Repeat("x", 100): 1}}
	for i := range 40 {
		long.Drops[fmt.Sprint("reason", i)] = 1
	}
	for range 3 {
		long.Tracks = append(long.Tracks, TrackAccount{Stream: "cup/cam1", Format: "source", Kind: "video"},
			TrackAccount{Stream: "cup//cam1", Format: "source", Kind: "video"}, TrackAccount{Stream: "a", Format: "source", Kind: "video", Bitrate: -1})
	}
	text, err := json.Marshal(long)
	if err != nil {
		t.Fatal(err)
	}
	a, err := readAccount(strings.NewReader(string(text)), "a")
	if err != nil || len(a.Tracks) != 3 || a.More != 6 || len(a.Drops) != 16 {
		t.Errorf("got %+v, %v", a, err)
	}
}
