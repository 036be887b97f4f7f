package transcoder

import (
	"slices"
	"sync"
	"testing"
	"time"

	"banyan/relay"
	"banyan/relay/media"
	"banyan/relay/tree"
)

// A node offers what is to be made on it, of streams that are published here or elsewhere.
func TestOnlyWhatIsMadeHereIsOffered(t *testing.T) {
	t.Parallel()
	fx := newFixture(t, Config{
		Ladders: []Rule{{Match: "**", Formats: []string{"source", "90p", "48p", "opus"}}},
		Here:    func(_ media.Name, f media.Format) bool { return f != "48p" },
	})
	picture := media.Params{Codec: media.H264, ClockRate: media.VideoClockRate, Width: 320, Height: 180, FPS: 30}
	if _, err := fx.hub.Adopt("far/cam1", "node far", time.Now(), []relay.Elsewhere{
		{Format: media.Source, Kind: media.Video, Params: &picture}, {Format: media.Source, Kind: media.Audio},
	}); err != nil {
		t.Fatal(err)
	}
	s, err := fx.hub.Stream("far/cam1")
	if err != nil {
		t.Fatal(err)
	}
	var offered []media.Format
	for _, o := range fx.transcoder.Offers(s) {
		offered = append(offered, o.Format)
	}
	slices.Sort(offered)
	// 180p is the source's own size: nobody knows yet whether its keyframes stand where players can switch.
	if want := []media.Format{"180p", "90p"}; !slices.Equal(offered, want) {
		t.Errorf("offered are %v, want %v: 48p is made elsewhere, and nothing is known of the sound", offered, want)
	}
}

// gossip lets workers know of each other, as a cluster does.
type gossip struct {
	mu      sync.Mutex
	view    *tree.View
	workers map[string]*fixture
}

func (g *gossip) makes(worker string) func(media.Name, media.Format) bool {
	return func(stream media.Name, f media.Format) bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return tree.Makes(g.view, worker, stream, f)
	}
}

// spread has everybody hear what everybody offers.
func (g *gossip) spread() {
	var nodes []tree.Node
	var tracks []tree.Track
	for name, fx := range g.workers {
		nodes = append(nodes, tree.Node{Name: name, Roles: []tree.Role{tree.Transcoder}})
		for _, o := range fx.transcoder.Offers(fx.stream) {
			id := media.TrackID{Stream: fx.stream.Name(), Format: o.Format, Kind: o.Kind}
			tracks = append(tracks, tree.Track{ID: id, Node: name, Waits: o.Waits})
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.view = tree.NewView(nodes, tracks)
}

// birthplace waits until everybody holds that a format is made by a worker.
func (g *gossip) birthplace(t *testing.T, f media.Format, worker string) {
	t.Helper()
	id := media.TrackID{Stream: "cup/cam1", Format: f, Kind: media.Video}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		g.spread()
		if at, _ := tree.Birthplace(g.view, id); at == worker {
			return
		}
	}
	t.Fatalf("%s is not made by %s; announced are %+v", f, worker, g.view.Tracks)
}

// A format for which there is no room on the worker that offers it goes to one that has nothing to do, and leaves what runs
// alone.
func TestQueuedFormatGoesToAnIdleWorker(t *testing.T) {
	t.Parallel()
	g := &gossip{view: tree.NewView(nil, nil), workers: map[string]*fixture{}}
	worker := func(name string) *fixture {
		fx := newFixture(t, Config{Ladders: onlySmall, MaxProcesses: 1, Here: g.makes(name)})
		fx.play(1, small(t, "4").repeat(10).from(fx.epoch))
		return fx
	}
	busy, idle := worker("busy"), worker("idle")
	g.workers["busy"] = busy // the other is not there yet
	g.birthplace(t, "48p", "busy")
	busy.watch("48p", media.Video)
	runs := busy.worker("48p", func(w Worker) bool { return w.Out > 0 })
	queued := busy.watch("32p", media.Video)
	busy.worker("32p", func(w Worker) bool { return w.State == Queued })

	g.workers["idle"] = idle
	g.birthplace(t, "32p", "idle")
	idle.watch("32p", media.Video)
	idle.worker("32p", func(w Worker) bool { return w.Out > 10 })
	for deadline := time.Now().Add(patience); !queued.sub.Log().Closed(); time.Sleep(10 * time.Millisecond) {
		if g.spread(); time.Now().After(deadline) {
			t.Fatal("readers where it was queued are not sent to where it is made")
		}
	}
	g.birthplace(t, "32p", "idle")
	g.birthplace(t, "48p", "busy")
	if w := busy.worker("48p", func(Worker) bool { return true }); w.PID != runs.PID || w.Restarts != 0 {
		t.Errorf("what ran went from process %d to %d", runs.PID, w.PID)
	}
}
