package cluster

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"banyan/relay/media"
	"banyan/relay/tree"
)

func TestMisfits(t *testing.T) {
	node := func(name, region string, role tree.Role, formats ...media.Format) tree.Node {
		return tree.Node{Name: name, Region: region, Roles: []tree.Role{role}, Formats: formats}
	}
	var tracks []tree.Track
	for _, f := range []media.Format{media.Source, "360p", "opus"} {
		tracks = append(tracks, tree.Track{ID: media.TrackID{Stream: "cup/cam1", Format: f, Kind: media.Video}, Node: "ingest"})
	}
	ingest := node("ingest", "eu", tree.Ingest)
	for name, c := range map[string]struct {
		nodes []tree.Node
		want  []string // parts of sentences
	}{
		"in order":           {[]tree.Node{ingest, node("relay", "eu", tree.Relay), node("self", "eu", tree.Edge)}, nil},
		"no relays at all":   {[]tree.Node{ingest, node("self", "us", tree.Edge)}, nil},
		"no relay in region": {[]tree.Node{ingest, node("relay", "eu", tree.Relay), node("self", "us", tree.Edge)}, []string{`region "us"`}},
		"not carried": {[]tree.Node{ingest, node("relay1", "eu", tree.Relay, "360p"), node("relay2", "eu", tree.Relay, "180p"), node("self", "eu", tree.Edge)},
			[]string{"carries opus, source,"}},
		"carried by two":     {[]tree.Node{ingest, node("relay1", "eu", tree.Relay, "360p"), node("relay2", "eu", tree.Relay, "opus", media.Source), node("self", "eu", tree.Edge)}, nil},
		"not for this edge":  {[]tree.Node{ingest, node("relay", "eu", tree.Relay, "360p"), node("self", "eu", tree.Edge, "360p")}, nil},
		"not an edge":        {[]tree.Node{node("relay", "eu", tree.Relay, "360p"), node("self", "us", tree.Ingest)}, nil},
		"both things amiss":  {[]tree.Node{ingest, node("relay", "eu", tree.Relay, "360p"), node("self", "us", tree.Edge)}, []string{`region "us"`, "opus, source"}},
		"its own relay, too": {[]tree.Node{ingest, {Name: "self", Region: "us", Roles: []tree.Role{tree.Relay, tree.Edge}}}, nil},
	} {
		got := misfits(tree.NewView(c.nodes, tracks), "self")
		same := slices.EqualFunc(got, c.want, strings.Contains)
		if !same {
			t.Errorf("%s: %q, want sentences with %q", name, got, c.want)
		}
	}
}

func TestTroublesAreToldOnce(t *testing.T) {
	var b troubles
	t0 := time.Unix(1000, 0)
	step := func(after time.Duration, wrong, news, stand string) {
		t.Helper()
		got := b.update(strings.Fields(wrong), nil, t0.Add(after))
		if strings.Join(got, " ") != news || strings.Join(b.list(), " ") != stand {
			t.Errorf("after %v: news %q, standing %q; want %q, %q", after, got, b.list(), news, stand)
		}
	}
	step(0, "region", "", "")
	step(troubleGrace-1, "region", "", "")
	step(troubleGrace, "region name", "region", "region")
	step(2*troubleGrace, "region name", "name", "name region")
	step(2*troubleGrace+1, "name", "", "name")
	step(3*troubleGrace, "region", "", "")
	step(4*troubleGrace, "region", "", "region") // the log had it a moment ago
	step(time.Hour, "", "", "")
	step(2*time.Hour, "region", "", "")
	step(2*time.Hour+troubleGrace, "region", "region", "region")

	if news := b.update(nil, []string{"sure"}, t0.Add(150*time.Minute)); !slices.Equal(news, []string{"sure"}) {
		t.Errorf("what is so for sure: %q", news)
	}

	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprint(i))
	}
	b.update(many, nil, t0.Add(3*time.Hour))
	if b.update(many, nil, t0.Add(4*time.Hour)); len(b.list()) != maxTroubles || len(b.since) > maxTroubles {
		t.Errorf("%d troubles stand, and %d are remembered; want %d", len(b.list()), len(b.since), maxTroubles)
	}
}

func TestDoubledNames(t *testing.T) {
	d := doubles{}
	t0 := time.Unix(1000, 0)
	for name, heard := range map[string][]time.Duration{
		"twin": {0, time.Second, 2 * time.Second}, "former": {0, time.Second}, "twice": {0, 10 * time.Second},
	} {
		for _, at := range heard {
			d.note(name, t0.Add(at))
		}
	}
	if got := d.names(t0.Add(11 * time.Second)); len(got) != 1 || !strings.Contains(got[0], `"twin"`) {
		t.Errorf("doubled are %q, want only what lasted", got)
	}
	if got := d.names(t0.Add(2 * doubleStays)); len(got) != 0 || len(d) != 0 {
		t.Errorf("long after that: %q, %d remembered", got, len(d))
	}
	for i := range 1000 {
		d.note(fmt.Sprint(i), t0)
	}
	if len(d) > maxTroubles {
		t.Errorf("%d names are remembered, want at most %d", len(d), maxTroubles)
	}
}
