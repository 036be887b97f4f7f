package cluster

import (
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"banyan/relay/media"
	"banyan/relay/tree"
)

func testTracks(ids ...int) (all []tree.Track) {
	for _, id := range ids {
		all = append(all, video(fmt.Sprintf("s/%d", id)))
	}
	return all
}

// exchange is what two nodes do every ten seconds, over the wire.
func exchange(t interface{ Fatal(...any) }, a, b *registry) {
	fromA, fromB := encodeState(a.state()), encodeState(b.state())
	if err := decodeState(fromA, func(x announcement) { b.merge(x) }); err != nil {
		t.Fatal(err)
	}
	if err := decodeState(fromB, func(x announcement) { a.merge(x) }); err != nil {
		t.Fatal(err)
	}
}

func listed(r *registry) *tree.View { return tree.NewView(nil, r.list()) }

// Whatever is lost, doubled, late or passed on by others: after enough exchanges all see what each node last said.
func TestLedgersConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const count = 4
		all := make([]*registry, count)
		for i := range all {
			all[i] = newRegistry(fmt.Sprint("n", i), 1)
		}
		for i, r := range all {
			for j := range all {
				if i != j {
					r.alive(fmt.Sprint("n", j), 1)
				}
			}
		}
		type word struct {
			node string
			rec  record
		}
		var said []word
		want := make([]map[int]bool, count)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			i := rapid.IntRange(0, count-1).Draw(t, "node")
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				want[i] = map[int]bool{}
				var ids []int
				for _, id := range rapid.SliceOfNDistinct(rapid.IntRange(0, 5), 0, 4, rapid.ID).Draw(t, "tracks") {
					want[i][id] = true
					ids = append(ids, id)
				}
				changed, err := all[i].announce(testTracks(ids...))
				if err != nil {
					t.Fatal(err)
				}
				for _, rec := range changed {
					said = append(said, word{all[i].self, rec})
				}
			case 1, 2: // anything that was ever said comes here, perhaps again
				if len(said) > 0 {
					w := rapid.SampledFrom(said).Draw(t, "word")
					all[i].hear(w.node, 1, w.rec)
				}
			case 3:
				if j := rapid.IntRange(0, count-1).Draw(t, "with"); j != i {
					exchange(t, all[i], all[j])
				}
			}
		}
		for range 2 { // everybody with everybody, along a line and back
			for i := range count - 1 {
				exchange(t, all[i], all[i+1])
			}
			for i := count - 1; i > 0; i-- {
				exchange(t, all[i], all[i-1])
			}
		}
		total := 0
		for i := range want {
			total += len(want[i])
		}
		for i, r := range all {
			if got := listed(r); !reflect.DeepEqual(got, listed(all[0])) || len(got.Tracks) != total {
				t.Fatalf("n%d sees %d tracks, n0 %d; there are %d", i, len(got.Tracks), len(listed(all[0]).Tracks), total)
			}
			records := 0
			for _, lives := range r.ledgers {
				for _, l := range lives {
					records += len(l.records)
				}
			}
			if own := len(r.own().records); records != r.tracks+own || records != total {
				t.Fatalf("n%d holds %d records and counts %d and %d of its own; want %d", i, records, r.tracks, own, total)
			}
		}
		// And nothing that was ever said changes anything any more.
		for _, r := range all {
			for _, w := range said {
				if what := r.hear(w.node, 1, w.rec); what != stale {
					t.Fatalf("an old word of %s's is news again", w.node)
				}
			}
		}
	})
}

func TestFormerLifeIsOver(t *testing.T) {
	r := newRegistry("self", 1)
	old := newRegistry("n", 10)
	oldWords, _ := old.announce(testTracks(1, 2))
	r.alive("n", 10)
	for _, rec := range oldWords {
		r.hear("n", 10, rec)
	}
	next := newRegistry("n", 20)
	words, _ := next.announce(testTracks(3))
	// Its tracks come before word that it lives: they must neither be lost nor seen.
	if r.hear("n", 20, words[0]) != news || len(r.list()) != 2 {
		t.Fatal("the next life is seen before it lives")
	}
	r.alive("n", 20)
	if got := r.list(); len(got) != 1 || got[0].ID != video("s/3").ID {
		t.Fatalf("the next life has %v, want its own track alone", got)
	}
	for _, rec := range oldWords {
		if r.hear("n", 10, rec) != stale {
			t.Error("a word of a former life was believed")
		}
	}
	r.dead("n")
	if len(r.list()) != 0 || r.hear("n", 5, oldWords[0]) == news && len(r.list()) != 0 {
		t.Error("a dead node has tracks")
	}
	r.alive("n", 20)
	if len(r.list()) != 1 {
		t.Error("a node that was cut off for a moment has lost its tracks")
	}
	if r.hear("self", 99, words[0]) != stale {
		t.Error("somebody else may say which tracks we have")
	}
}

// A track that others would refuse must not make them refuse the rest with it.
func TestUnsoundTrackIsLeftOut(t *testing.T) {
	r := newRegistry("n", 1)
	unsound := video("a b")
	noClock := video("x")
	noClock.Params = &media.Params{Codec: media.H264}
	changed, err := r.announce([]tree.Track{unsound, video("cup/cam1"), noClock})
	if err == nil || len(changed) != 1 || changed[0].Track.ID != video("cup/cam1").ID {
		t.Errorf("it announced %+v, %v", changed, err)
	}
	if err := decodeState(encodeState(r.state()), func(announcement) {}); err != nil {
		t.Error(err)
	}
}

func TestRegistryIsBounded(t *testing.T) {
	r := newRegistry("self", 1)
	r.announce(testTracks(1))
	r.alive("good", 1)
	flood := announcement{Boot: 1, Complete: 1 << 40}
	for i := range 100 * maxLives {
		r.merge(announcement{Node: "good", Boot: int64(1000 + i), Records: []record{{Version: 1, Track: video("x")}}})
	}
	if n := len(r.ledgers["good"]); n > maxLives {
		t.Fatalf("%d lives of one node are kept", n)
	}
	for i := range maxTracks/maxNodeTracks + 2 {
		flood.Node = fmt.Sprint("fake", i)
		flood.Records = flood.Records[:0]
		for j := range maxNodeTracks + 5 {
			flood.Records = append(flood.Records, record{Version: uint64(j + 1), Track: tree.Track{ID: media.TrackID{Stream: media.Name(fmt.Sprint("t", j)), Format: "source", Kind: media.Video}}})
		}
		r.merge(flood)
	}
	for i := range maxNodes + 100 {
		r.hear(fmt.Sprint("empty", i), 1, record{Version: 1, Track: video("x")})
	}
	if r.tracks > maxTracks || len(r.ledgers) > maxNodes {
		t.Fatalf("%d records of %d nodes are kept", r.tracks, len(r.ledgers))
	}
	if r.hear("good", 1, record{Version: 1, Track: video("y")}) != news || len(r.list()) != 2 {
		t.Error("dead nodes leave no room for one that lives")
	}
}
