package cluster

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"banyan/relay/media"
	"banyan/relay/tree"
)

func fullNode() tree.Node {
	return tree.Node{
		Name: "edge-1.eu", Boot: 1 << 60, Region: "eu", Roles: []tree.Role{tree.Edge, tree.Relay},
		Link: netip.MustParseAddrPort("[2001:db8::1]:7947"), HTTP: "https://edge1.example.org:8443/live",
		Formats: []media.Format{"720p", "opus"}, Capacity: 2.5, Load: 0.5, Encoding: 0.75, Draining: true,
	}
}

func fullTracks() []tree.Track {
	audio := tree.Track{
		ID: media.TrackID{Stream: "a/b/c/d", Format: "opus", Kind: media.Audio}, Since: -1, Waits: true,
		Params: &media.Params{Epoch: math.MaxUint32, Codec: media.Opus, ClockRate: 48000, Channels: 2, SampleRate: 48000, Bitrate: 64000, Aligned: true,
			Break: media.Break{Number: math.MaxUint32, At: 1 << 60}},
	}
	bare := tree.Track{ID: media.TrackID{Stream: "x", Format: "720p", Kind: media.Video}}
	return []tree.Track{video("cup/cam1"), audio, bare}
}

func TestMetaRoundTrip(t *testing.T) {
	for _, want := range []tree.Node{fullNode(), {Name: "n"}} {
		b, err := encodeMeta(&want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeMeta(want.Name, append(b, "of a later version"...))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v came back as %+v, %v", want, got, err)
		}
	}
}

// Neighbours a version apart: one that tells of one load, and one that knows of no other.
func TestLoadsBetweenVersions(t *testing.T) {
	n := fullNode()
	now, err := encodeMeta(&n)
	if err != nil {
		t.Fatal(err)
	}
	if load := float64(now[10]) / loadSteps; load != 0.75 {
		t.Errorf("a node that knows of one load reads %v, want the greater of both, 0.75", load)
	}
	before := now[:len(now)-2]
	if got, err := decodeMeta(n.Name, before); err != nil || got.Load != 0.75 || got.Encoding != 0.75 {
		t.Errorf("of a node that tells of one load: %v and %v, %v; want that load for both", got.Load, got.Encoding, err)
	}
	if _, err := decodeMeta(n.Name, now[:len(now)-1]); err == nil {
		t.Error("half of the loads are taken")
	}
	if _, err := decodeMeta(n.Name, append(before[:len(before):len(before)], 0, loadSteps+1)); err == nil {
		t.Error("a load above one is taken")
	}
}

func TestRecordRoundTrip(t *testing.T) {
	for i, want := range fullTracks() {
		want.Node = "n"
		node, boot, rec, err := decodeNews(encodeNews("n", -5, record{Version: 9, Track: want}))
		if err != nil || node != "n" || boot != -5 || rec.Version != 9 || rec.Gone || !reflect.DeepEqual(rec.Track, want) {
			t.Errorf("track %d came back as %+v, %v", i, rec, err)
		}
	}
	_, _, rec, err := decodeNews(encodeNews("n", 1, record{Version: 2, Gone: true, Track: video("x")}))
	if err != nil || !rec.Gone || rec.Track.Params != nil || rec.Track.ID != video("x").ID {
		t.Errorf("a withdrawal came back as %+v, %v", rec, err)
	}
	_, _, rec, err = decodeNews(encodeGoodbye("n", 1))
	if err != nil || rec.Version != 0 {
		t.Errorf("a goodbye came back as %+v, %v", rec, err)
	}
}

// The largest record that the grammar allows fits a packet.
func TestLargestRecordFits(t *testing.T) {
	segment := strings.Repeat("s", media.MaxSegmentBytes)
	largest := video(segment + "/" + segment + "/" + segment + "/" + segment)
	largest.ID.Format = media.Format(strings.Repeat("f", 32))
	largest.Params.Sets = [][]byte{bytes.Repeat([]byte{1}, maxSetsSum)}
	big := math.MaxInt64
	*largest.Params = media.Params{Epoch: math.MaxUint32, Codec: media.H264, ClockRate: big, Width: big, Height: big, FPS: 1, Channels: big,
		SampleRate: big, Bitrate: big, Sets: largest.Params.Sets, Break: media.Break{Number: math.MaxUint32, At: -1}}
	b := encodeNews(strings.Repeat("n", maxLabel), 1, record{Version: math.MaxUint64, Track: largest})
	if len(b) > maxNews || maxNews > maxPayload-40 {
		t.Errorf("it has %d bytes; %d are allowed, and a packet carries %d", len(b), maxNews, maxPayload)
	}
	// With more sets than that, a track travels without them.
	largest.Params = &media.Params{Codec: media.H264, ClockRate: 90000, Width: 640, Sets: [][]byte{make([]byte, 5000)}}
	_, _, rec, err := decodeNews(encodeNews("n", 1, record{Version: 1, Track: largest}))
	if err != nil || rec.Track.Params.Width != 640 || rec.Track.Params.Sets != nil {
		t.Errorf("a track with large sets came back as %+v, %v", rec.Track.Params, err)
	}
}

func TestStateRoundTrip(t *testing.T) {
	r := newRegistry("n", 7)
	r.announce(fullTracks())
	var got []announcement
	if err := decodeState(encodeState(r.state()), func(a announcement) { got = append(got, a) }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Node != "n" || got[0].Boot != 7 || got[0].Complete != 3 || len(got[0].Records) != 3 {
		t.Errorf("it came back as %+v", got)
	}
}

func TestBadMeta(t *testing.T) {
	good := fullNode()
	sound, err := encodeMeta(&good)
	if err != nil {
		t.Fatal(err)
	}
	bad := map[string][]byte{
		"empty": nil, "another version": append([]byte{2}, sound[1:]...), "too long": make([]byte, 513),
		"garbage": bytes.Repeat([]byte{0xff}, 300), "zeros after the version": append([]byte{1}, make([]byte, 5)...),
	}
	for i := range sound {
		if i == len(sound)-2 { // what a node tells that knows of one load
			continue
		}
		bad[fmt.Sprint("cut at ", i)] = sound[:i]
	}
	for name, change := range map[string]func(*tree.Node){
		"region":         func(n *tree.Node) { n.Region = "../x" },
		"URL":            func(n *tree.Node) { n.HTTP = "https://a@b" },
		"URL with query": func(n *tree.Node) { n.HTTP = "https://b?x" },
		"format":         func(n *tree.Node) { n.Formats = []media.Format{"-i"} },
		"role":           func(n *tree.Node) { n.Roles = []tree.Role{""} },
		"capacity":       func(n *tree.Node) { n.Capacity = math.Inf(1) },
		"less than none": func(n *tree.Node) { n.Capacity = -1 },
		"no number":      func(n *tree.Node) { n.Capacity = math.NaN() },
		"many roles":     func(n *tree.Node) { n.Roles = make([]tree.Role, 17) },
	} {
		n := good
		change(&n)
		if bad[name], err = encodeMeta(&n); err != nil {
			t.Fatal(err)
		}
	}
	load := bytes.Clone(sound)
	load[10] = 255
	bad["load"] = load
	for name, b := range bad {
		if n, err := decodeMeta("n", b); err == nil {
			t.Errorf("%s: %+v was accepted", name, n)
		}
	}
	if _, err := decodeMeta(strings.Repeat("n", 65536), sound); err == nil || len(err.Error()) > 300 {
		t.Errorf("a name of 64 KiB: %.400v", err)
	}
}

func TestBadNews(t *testing.T) {
	sound := encodeNews("n", 1, record{Version: 1, Track: video("cup/cam1")})
	bad := map[string][]byte{"too long": make([]byte, maxNews+1)}
	for i := range sound {
		bad[fmt.Sprint("cut at ", i)] = sound[:i]
	}
	for name, change := range map[string]func(*record){
		"version":        func(r *record) { r.Version = 0 },
		"name":           func(r *record) { r.Track.ID.Stream = "a/../b" },
		"format":         func(r *record) { r.Track.ID.Format = "A" },
		"kind":           func(r *record) { r.Track.ID.Kind = 3 },
		"codec":          func(r *record) { r.Track.Params.Codec = "opus" },
		"unknown codec":  func(r *record) { r.Track.Params.Codec = "mp3" },
		"clock of zero":  func(r *record) { r.Track.Params.ClockRate = 0 },
		"frame rate":     func(r *record) { r.Track.Params.FPS = math.NaN() },
		"negative rate":  func(r *record) { r.Track.Params.FPS = -1 },
		"channels":       func(r *record) { r.Track.Params.Channels = 9 },
		"a giant number": func(r *record) { r.Track.Params.Width = 1 << 50 },
	} {
		r := record{Version: 1, Track: video("cup/cam1")}
		change(&r)
		bad[name] = encodeNews("n", 1, r)
	}
	bad["node name"] = encodeNews("a b", 1, record{Version: 1, Track: video("x")})
	for name, b := range bad {
		if _, _, rec, err := decodeNews(b); err == nil {
			t.Errorf("%s: %+v was accepted", name, rec)
		}
	}
}

func TestBadState(t *testing.T) {
	claim := func(counts ...uint64) []byte {
		b := []byte{wireVersion}
		for _, n := range counts {
			b = binary.AppendUvarint(b, n)
		}
		return b
	}
	many := claim(1)
	many = appendString(many, "n")
	many = append(many, make([]byte, 9)...)
	many = binary.AppendUvarint(many, maxNodeTracks+1)
	many = append(many, make([]byte, 1<<20)...)
	for name, b := range map[string][]byte{
		"empty": nil, "version": {2, 0}, "nodes that are not there": claim(10_000), "more nodes than fit": append(claim(1<<60), make([]byte, 1000)...),
		"more tracks than allowed": many, "too long": make([]byte, maxState+1), "garbage": bytes.Repeat([]byte{0xff}, 1000),
	} {
		if err := decodeState(b, func(announcement) {}); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func FuzzMeta(f *testing.F) {
	n := fullNode()
	b, err := encodeMeta(&n)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := decodeMeta("n", b)
		if err != nil {
			return
		}
		again, err := encodeMeta(&n)
		if err != nil {
			return // a long varint made it shorter on the line than it is
		}
		back, err := decodeMeta("n", again)
		if err != nil || !reflect.DeepEqual(back, n) {
			t.Fatalf("%+v came back as %+v, %v", n, back, err)
		}
	})
}

func FuzzNews(f *testing.F) {
	for _, track := range fullTracks() {
		f.Add(encodeNews("n", 1, record{Version: 1, Track: track}))
	}
	f.Add(encodeNews("n", 1, record{Version: 1, Gone: true, Track: video("x")}))
	f.Add(encodeGoodbye("n", 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		node, boot, rec, err := decodeNews(b)
		if err != nil || rec.Version == 0 {
			return
		}
		if rec.Gone {
			rec.Track.Params = nil
		}
		again := encodeNews(node, boot, rec)
		_, _, back, err := decodeNews(again)
		if err != nil || !sameTrack(&back.Track, &rec.Track) || back.Track.ID != rec.Track.ID || back.Version != rec.Version {
			t.Fatalf("%+v came back as %+v, %v", rec, back, err)
		}
	})
}

func FuzzState(f *testing.F) {
	r := newRegistry("n", 7)
	r.announce(fullTracks())
	f.Add(encodeState(r.state()))
	f.Add([]byte{1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		to := newRegistry("self", 1)
		to.alive("n", 7)
		decodeState(b, func(a announcement) { to.merge(a) })
		if to.tracks > len(b)/10 || len(to.ledgers) > len(b)/10+1 {
			t.Fatalf("%d bytes became %d tracks of %d nodes", len(b), to.tracks, len(to.ledgers))
		}
	})
}
