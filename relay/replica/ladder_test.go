package replica

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"banyan/relay"
	"banyan/relay/media"
	"banyan/relay/tree"
)

// newcomers ask a station again and again what the cup consists of, as playlists and answers to viewers do, and keep what was
// amiss.
type newcomers struct {
	station *station
	mu      sync.Mutex // guards the fields below
	asked   int
	amiss   []string
}

func (s *station) askedByNewcomers() *newcomers {
	n := &newcomers{station: s}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				n.ask()
			case <-ctx.Done():
				return
			}
		}
	})
	s.t.Cleanup(func() { cancel(); done.Wait() })
	return n
}

func (n *newcomers) ask() {
	err := n.station.wholeLadder()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	if err != nil {
		n.amiss = append(n.amiss, err.Error())
	}
}

// served waits until so many more have asked.
func (n *newcomers) served(more int) {
	n.station.t.Helper()
	n.mu.Lock()
	until := n.asked + more
	n.mu.Unlock()
	eventually(n.station.t, "newcomers ask", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.asked >= until
	})
}

func (n *newcomers) wantServed() {
	n.station.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.amiss) > 0 {
		n.station.t.Errorf("%d of %d newcomers were told less than the ladder, the first: %s", len(n.amiss), n.asked, n.amiss[0])
	}
}

// wholeLadder tells what of the cup a newcomer would not find, of its source and the format that is made of it.
func (s *station) wholeLadder() error {
	stream, err := s.hub.Stream(cup)
	if err != nil {
		return err
	}
	tracks := stream.Tracks()
	for _, format := range []media.Format{media.Source, made} {
		if !slices.ContainsFunc(tracks, func(t relay.Track) bool { return t.ID.Format == format && t.Live && !t.Withdrawn }) {
			return fmt.Errorf("no %s in %+v", format, tracks)
		}
	}
	sub, err := stream.Subscribe(made, media.Video)
	if err != nil {
		return err
	}
	sub.Close()
	return nil
}

// TestNewcomersWhileAJobMoves has newcomers ask for the ladder, at an edge whose viewers watch and at one where nobody
// does, while the format goes from worker to worker, and for a while nobody in the view makes it.
func TestNewcomersWhileAJobMoves(t *testing.T) {
	for _, how := range []string{"withdrawn", "drained", "killed"} {
		t.Run(how, func(t *testing.T) {
			w := newWorld(t)
			c := publish(w.start("ingest", tree.Ingest))
			defer c.run()()
			makers := []*maker{{lag: 60 * time.Millisecond, on: true}, {lag: 60 * time.Millisecond}}
			first := w.start("worker1", tree.Transcoder, making(makers[0]))
			w.start("worker2", tree.Transcoder, making(makers[1]))
			edges := []*station{w.start("edge1", tree.Edge), w.start("edge2", tree.Edge)}
			pictures := watch(t, edges[0].subscribe(made))
			eventually(t, "pictures come", func() bool { return pictures.count() > 20 })
			var asking []*newcomers
			for _, edge := range edges {
				eventually(t, "the ladder is whole", func() bool { return edge.wholeLadder() == nil })
				asking = append(asking, edge.askedByNewcomers())
			}

			makers[0].turn(false)
			switch how {
			case "drained":
				w.update("worker1", func(n *tree.Node) { n.Draining = true })
			case "killed":
				first.stop()
				w.forget("worker1")
			}
			w.change(func() {}) // whoever looked before the turn looks again
			id := media.TrackID{Stream: cup, Format: made, Kind: media.Video}
			eventually(t, "nobody makes the format", func() bool { return len(edges[0].config.Cluster.View().Makers(id)) == 0 })
			for _, n := range asking {
				n.served(200)
			}
			makers[1].turn(true)
			w.change(func() {})
			eventually(t, "the other worker's pictures come", func() bool { return edges[0].parent(made) == "worker2" })
			for _, n := range asking {
				n.served(20)
				n.wantServed()
			}
		})
	}
}

// TestAPublisherLeavesWithItsFormats lets a publisher go, and its format with it.
func TestAPublisherLeavesWithItsFormats(t *testing.T) {
	w := newWorld(t)
	ingest := w.start("ingest", tree.Ingest)
	c := publish(ingest)
	c.shoot(gop)
	m := &maker{on: true}
	w.start("worker1", tree.Transcoder, making(m))
	edge := w.start("edge", tree.Edge)
	eventually(t, "the ladder is whole", func() bool { return edge.wholeLadder() == nil })
	c.publication.Close()
	gone := func() bool {
		stream, err := edge.hub.Stream(cup)
		return err == nil && !slices.ContainsFunc(stream.Tracks(), func(t relay.Track) bool { return t.ID.Format == made && !t.Withdrawn && t.Log == nil })
	}
	eventually(t, "what was made of a publisher who has left is not on offer", gone)

	// Another one comes, of whom nothing is made.
	m.turn(false)
	publish(ingest).shoot(gop)
	eventually(t, "the edge knows of it", func() bool { s, err := edge.hub.Stream(cup); return err == nil && s.Live() })
	if !gone() {
		t.Error("a format of the publisher before is on offer")
	}
}
