package hls

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"banyan/relay"
	"banyan/relay/log"
	"banyan/relay/media"
)

// mirror supplies a hub with replicas of the tracks of another, as package replica does between nodes.
type mirror struct{ from *relay.Hub }

func (m mirror) Offers(s *relay.Stream) (offers []relay.Offer) {
	original, err := m.from.Stream(s.Name())
	if err != nil {
		return nil
	}
	for _, t := range original.Tracks() {
		if t.Params != nil {
			offers = append(offers, relay.Offer{Format: t.ID.Format, Kind: t.ID.Kind, Params: *t.Params, Replica: true})
		}
	}
	return offers
}

func (m mirror) Supply(ctx context.Context, s *relay.Stream, offer relay.Offer, w *log.Writer) error {
	original, err := m.from.Stream(s.Name())
	if err != nil {
		return err
	}
	sub, err := original.Subscribe(offer.Format, offer.Kind)
	if err != nil {
		return err
	}
	defer sub.Close()
	cursor := sub.Log().Cursor(log.LastKeyframe()) // what a replica begins with
	var epoch *media.Params
	for {
		p, _, err := cursor.Read(ctx)
		if err != nil {
			return err
		}
		if epoch == nil {
			if err := w.StartAt(p.Offset); err != nil {
				return err
			}
		}
		if p.Params != epoch {
			epoch = p.Params
			if err := w.Begin(*epoch); err != nil {
				return err
			}
		}
		if err := w.Write(*p); err != nil {
			return err
		}
	}
}

// streamAt is the stream as a node knows it.
func streamAt(t testing.TB, at *stage) *relay.Stream {
	t.Helper()
	s, err := at.hub.Stream("cup/cam1")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// edge is a node that gets the streams of another.
func edge(t *testing.T, birthplace *stage) *stage {
	t.Helper()
	s := newStage(t, func(c *Config) { c.Window, c.Linger = 16*time.Second, time.Hour })
	s.hub.AddSupplier(mirror{birthplace.hub})
	var tracks []relay.Elsewhere
	for _, track := range streamAt(t, birthplace).Published() {
		tracks = append(tracks, relay.Elsewhere{Format: track.ID.Format, Kind: track.ID.Kind, Params: track.Params})
	}
	if _, err := s.hub.Adopt("cup/cam1", "node birthplace", time.Now(), tracks); err != nil {
		t.Fatal(err)
	}
	s.want(http.StatusOK, "cup/cam1/index.m3u8")
	s.hear(birthplace)
	eventually(t, "the replicas have begun, and miss nothing from now on", func() bool {
		begun := 0
		for _, track := range streamAt(t, s).Tracks() {
			if track.Log != nil && track.Log.Head() > track.Log.Tail() {
				begun++
			}
		}
		return begun == len(tracks)
	})
	return s
}

// hear waits until a node has learned of the newest break of the birthplace: in the time that media takes it always has.
func (s *stage) hear(birthplace *stage) {
	s.t.Helper()
	newest := uint32(0)
	for _, track := range streamAt(s.t, birthplace).Published() {
		if track.Params != nil {
			newest = max(newest, track.Params.Break.Number)
		}
	}
	line := s.server.timelines.of("cup/cam1")
	eventually(s.t, "the node knows the newest break", func() bool {
		line.mu.Lock()
		defer line.mu.Unlock()
		return line.number == newest
	})
}

// ordinals are the discontinuity sequence numbers of the segments that a playlist lists, by segment.
func (s *stage) ordinals(rendition, file string) map[int]int {
	s.t.Helper()
	var text string
	eventually(s.t, rendition+" lists "+file, func() bool {
		r := s.get(rendition + indexFile) // an edge that has just joined has nothing to play yet
		listed, _, _ := strings.Cut(r.body, "#EXT-X-PRELOAD-HINT")
		text = r.body
		return r.status == http.StatusOK && strings.Contains(listed, "\n"+file)
	})
	m := parse(s.t, text)
	number, all := 0, map[int]int{}
	if m.DiscontinuitySequence != nil {
		number = *m.DiscontinuitySequence
	}
	for i, segment := range m.Segments {
		if segment.Discontinuity {
			number++
		}
		all[m.MediaSequence+i-900000000] = number
	}
	return all
}

// The discontinuity sequence number of a segment is the same in every rendition, on every node, whenever it joined, and
// after a new start of an edge (H10, H18, H38).
func TestNodesAgreeOnDiscontinuities(t *testing.T) {
	birthplace, studio := live(t, 5.5, nil)
	edges := map[string]*stage{"there from the beginning": edge(t, birthplace)}
	sizes := []string{"160x90", "320x180", "160x90", "320x180"}
	now := 5.5
	for _, size := range sizes {
		studio.publication.Close()
		studio = newStudio(t, birthplace.hub, "cup/cam1", record(t, size), both)
		for until := now + 4; now < until; now += 0.1 {
			studio.play(second(now), second(now+0.1))
			for _, e := range edges {
				e.hear(birthplace)
			}
		}
		edges["since it was "+size+" at "+at(int(now/2))] = edge(t, birthplace)
	}
	restarted := edge(t, birthplace)
	restarted.stop()
	edges["started anew"] = edge(t, birthplace)
	studio.play(second(now), second(now+3))
	now += 3
	last := int(now/2) - 1
	want := edges["there from the beginning"].ordinals(video, at(last)+".mp4")
	if tracks := streamAt(t, birthplace).Published(); want[last] != int(tracks[0].Params.Break.Number) {
		t.Errorf("the last segment has number %d, and the stream had %+v", want[last], tracks[0].Params.Break)
	}
	if distinct := slices.Compact(slices.Sorted(maps.Values(want))); len(distinct) < 3 {
		t.Errorf("there are too few discontinuities in the playlist: %v", want)
	}
	for name, e := range edges {
		for _, rendition := range []string{video, sound} {
			got := e.ordinals(rendition, at(last)+".mp4")
			if _, ok := got[last]; !ok || len(got) < 1 {
				t.Fatalf("%s, %s: segments %v", name, rendition, got)
			}
			for k, number := range got {
				if known, both := want[k]; both && number != known {
					t.Errorf("%s, %s: segment %d has number %d, want %d: %v", name, rendition, k, number, known, got)
				}
			}
		}
	}
}
