package replica

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"banyan/relay"
	"banyan/relay/link"
	"banyan/relay/log"
	"banyan/relay/media"
	"banyan/relay/tree"
)

// tap is a Links that notes what is followed, and when it first gives something.
type tap struct {
	Links
	mu     sync.Mutex
	events []string
}

func (l *tap) note(format string, a ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, fmt.Sprintf(format, a...))
}

func (l *tap) noted() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

func (l *tap) Peer(name string, addr netip.AddrPort) Peer {
	return &tappedPeer{Peer: l.Links.Peer(name, addr), tap: l, name: name}
}

type tappedPeer struct {
	Peer
	tap  *tap
	name string
}

func (p *tappedPeer) Follow(ctx context.Context, id media.TrackID, from int64, below []string, sink link.Sink) error {
	p.tap.note("follow %s", p.name)
	err := p.Peer.Follow(ctx, id, from, below, &tappedSink{Sink: sink, peer: p, head: sink.Log().Head()})
	p.tap.note("end %s", p.name)
	return err
}

type tappedSink struct {
	link.Sink
	peer *tappedPeer
	head int64
	told bool
}

func (s *tappedSink) Write(p media.Packet) error {
	err := s.Sink.Write(p)
	if !s.told && p.Offset >= s.head {
		s.told = true
		s.peer.tap.note("news from %s", s.peer.name)
	}
	return err
}

func tapped(l *tap) option {
	return func(c *Config, _ *gossip) {
		l.Links = c.Links
		c.Links = l
	}
}

// TestNothingPausesInAMove drains the parent of an edge, told by gossip, by the link, or by both, and looks at the
// order of things: the parent is let go of only when the next one has delivered.
func TestNothingPausesInAMove(t *testing.T) {
	for _, by := range []string{"gossip", "link", "both"} {
		t.Run(by, func(t *testing.T) {
			w := newWorld(t)
			c := publish(w.start("ingest", tree.Ingest))
			relays := map[string]*station{"relay1": w.start("relay1", tree.Relay), "relay2": w.start("relay2", tree.Relay)}
			l := &tap{}
			edge := w.start("edge", tree.Edge, tapped(l))
			stop := c.run()
			r := edge.read(edge.subscribe(media.Source))
			r.advance(60)
			parent := edge.parent(media.Source)
			if by != "link" {
				w.update(parent, func(n *tree.Node) { n.Draining = true })
			}
			if by != "gossip" {
				relays[parent].children.drain()
				ctx, cancel := context.WithTimeout(t.Context(), soon)
				defer cancel()
				relays[parent].link.GoAway(ctx)
			}
			eventually(t, "the edge has moved", func() bool {
				now := edge.parent(media.Source)
				return now != parent && now != "" && relays[parent].readers(media.Source) == 0
			})
			r.advance(60)
			stop()
			r.reach(c.next)
			r.wantWhole()
			next := edge.parent(media.Source)
			events := l.noted()
			t.Log(events)
			if last, news := lastIndex(events, "end "+parent), slices.Index(events, "news from "+next); news < 0 || last < news {
				t.Errorf("the parent was let go of before the next one had delivered: %v", events)
			}
		})
	}
}

func lastIndex(list []string, s string) int {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i] == s {
			return i
		}
	}
	return -1
}

// TestRandomMovesLoseNothing sends an edge to and fro between parents that begin to drain, and take that back, at random
// moments.
func TestRandomMovesLoseNothing(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t)
	c := publish(w.start("ingest", tree.Ingest))
	for i := range 3 {
		w.start(fmt.Sprintf("relay%d", i), tree.Relay)
	}
	edge := w.start("edge", tree.Edge)
	stop := c.run()
	r := edge.read(edge.subscribe(media.Source))
	r.advance(30)
	for range 12 {
		name := fmt.Sprintf("relay%d", random.IntN(3))
		w.update(name, func(n *tree.Node) { n.Draining = !n.Draining })
		r.advance(int64(random.IntN(20)))
	}
	stop()
	r.reach(c.next)
	r.wantWhole()
}

// maker makes a format of the cup on a station, as a transcoder does: its media times are those of every other maker.
type maker struct {
	lag time.Duration

	mu sync.Mutex
	on bool // it is this one's turn
}

const (
	made     = media.Format("360p")
	makerGOP = 10
	frame    = 20 * time.Millisecond
)

func (m *maker) turn(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.on = on
}

func (m *maker) Offers(s *relay.Stream) []relay.Offer {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.on || !s.Live() {
		return nil
	}
	return []relay.Offer{{Format: made, Kind: media.Video, Params: h264, Linger: time.Second}}
}

func (m *maker) Supply(ctx context.Context, _ *relay.Stream, _ relay.Offer, w *log.Writer) error {
	if err := w.Begin(h264); err != nil {
		return err
	}
	tick := time.NewTicker(frame / 4)
	defer tick.Stop()
	next := time.Now().Add(-m.lag).UnixNano()/int64(frame) + 1
	next -= next % makerGOP // it begins with the last keyframe of its source
	for {
		for ; next <= time.Now().Add(-m.lag).UnixNano()/int64(frame); next++ {
			flags := media.FrameEnd
			if next%makerGOP == 0 {
				flags |= media.Keyframe
			}
			err := w.Write(media.Packet{Offset: w.Next(), Ticks: media.TicksOf(media.Time(next*int64(frame)), 90000), Flags: flags, Payload: []byte{1}})
			if err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// TestAJobMoves lets another node make a format, a little ahead of the first one or behind it. Readers get each picture
// once and in order.
func TestAJobMoves(t *testing.T) {
	for name, lag := range map[string]time.Duration{"behind": 50 * time.Millisecond, "level": 0, "ahead": -50 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			publish(w.start("ingest", tree.Ingest)).shoot(gop)
			makers := []*maker{{lag: 60 * time.Millisecond, on: true}, {lag: 60*time.Millisecond + lag}}
			for i, m := range makers {
				w.start(fmt.Sprintf("worker%d", i+1), tree.Transcoder, making(m))
			}
			edge := w.start("edge", tree.Edge)
			sub := edge.subscribe(made)
			pictures := watch(t, sub)
			eventually(t, "pictures come", func() bool { return pictures.count() > 20 })
			w.update("worker1", func(n *tree.Node) { n.Draining = true })
			makers[0].turn(false)
			makers[1].turn(true)
			w.change(func() {}) // whoever looked before the turn looks again
			eventually(t, "the other node's pictures come", func() bool { return edge.parent(made) == "worker2" })
			before := pictures.count()
			eventually(t, "more pictures come", func() bool { return pictures.count() > before+30 })
			pictures.wantAll()
		})
	}
}

func making(m *maker) option {
	return func(c *Config, g *gossip) {
		c.Hub.AddSupplier(m)
		g.makers = append(g.makers, m)
	}
}

// album notes the media times that a reader gets.
type album struct {
	t     *testing.T
	mu    sync.Mutex
	times []media.Time
}

func watch(t *testing.T, sub *relay.Subscription) *album {
	a := &album{t: t}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	cursor := sub.Log().Cursor(log.LastKeyframe())
	done.Go(func() {
		for {
			p, _, err := cursor.Read(ctx)
			if err != nil {
				return
			}
			a.mu.Lock()
			a.times = append(a.times, p.Time())
			a.mu.Unlock()
		}
	})
	t.Cleanup(func() { cancel(); done.Wait() })
	return a
}

func (a *album) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.times)
}

// wantAll checks that each picture came once and in order.
func (a *album) wantAll() {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := 1; i < len(a.times); i++ {
		if step := a.times[i].Sub(a.times[i-1]).Round(time.Millisecond); step != frame {
			a.t.Errorf("picture %d comes %v of media time after the one before, want %v", i, step, frame)
		}
	}
}
