package replica

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"banyan/relay"
	"banyan/relay/link"
	"banyan/relay/media"
	"banyan/relay/tree"
)

// threeTiers is an ingest node with a camera, two relays, and an edge.
func threeTiers(t *testing.T) (w *world, c *camera, relays map[string]*station, edge *station) {
	w = newWorld(t)
	c = publish(w.start("ingest", tree.Ingest))
	relays = map[string]*station{"relay1": w.start("relay1", tree.Relay), "relay2": w.start("relay2", tree.Relay)}
	return w, c, relays, w.start("edge", tree.Edge)
}

func TestReplicationOnDemand(t *testing.T) {
	w := newWorld(t)
	ingest, between, edge := w.start("ingest", tree.Ingest), w.start("relay", tree.Relay), w.start("edge", tree.Edge)
	c := publish(ingest)
	c.shoot(3 * gop)
	for _, s := range []*station{between, edge} {
		eventually(t, s.config.Name+" knows the stream", func() bool {
			stream, err := s.hub.Stream(cup)
			return err == nil && stream.Live() && !stream.Local() && len(stream.Published()) == 1
		})
	}
	if n := len(between.Replicas()) + len(edge.Replicas()) + ingest.readers(media.Source); n != 0 {
		t.Errorf("before anybody reads there are %d replicas and readers, want none", n)
	}

	first, second := edge.subscribe(media.Source), edge.subscribe(media.Source)
	readers := []*reader{edge.read(first), edge.read(second)}
	newest := c.next - 3*gop
	for _, r := range readers {
		r.reach(c.next) // before there is more
	}
	c.shoot(2 * gop)
	for _, r := range readers {
		r.reach(c.next)
		r.wantWhole()
		if r.first != newest {
			t.Errorf("a reader began at %d, want the keyframe %d that was newest when it came", r.first, newest)
		}
	}
	if path := edge.Replicas()[0].Path; !slices.Equal(path, []string{"ingest", "relay", "edge"}) {
		t.Errorf("the track came by %v", path)
	}
	if n := ingest.readers(media.Source); n != 1 {
		t.Errorf("the birthplace sends the track %d times, want once", n)
	}
	if n := between.readers(media.Source); n != 1 {
		t.Errorf("the relay sends the track %d times for two viewers, want once", n)
	}

	first.Close()
	second.Close()
	eventually(t, "all let go of what nobody reads", func() bool {
		return len(edge.Replicas()) == 0 && len(between.Replicas()) == 0 && ingest.readers(media.Source) == 0
	})
}

func TestParentKilled(t *testing.T) {
	w, c, relays, edge := threeTiers(t)
	stop := c.run()
	r := edge.read(edge.subscribe(media.Source))
	r.advance(60)
	parent := edge.parent(media.Source)
	relays[parent].stop()
	r.advance(200) // before gossip has noticed
	if now := edge.parent(media.Source); now == parent || now == "" {
		t.Errorf("the parent is %q after the death of %q", now, parent)
	}
	w.forget(parent)
	r.advance(100)
	stop()
	r.reach(c.next)
	r.wantWhole()
}

// TestNothingIsLostAcrossAKeyframe kills a parent and lets groups of pictures go by before its child gets to the other
// one, which has nothing of the track yet: it is to begin where the child needs it.
func TestNothingIsLostAcrossAKeyframe(t *testing.T) {
	_, c, relays, edge := threeTiers(t)
	c.shoot(gop)
	r := edge.read(edge.subscribe(media.Source))
	r.reach(c.next)
	c.shoot(gop / 2)
	r.reach(c.next)
	relays[edge.parent(media.Source)].stop()
	c.shoot(3 * gop)
	r.reach(c.next)
	r.wantWhole()
}

func TestAllParentsKilled(t *testing.T) {
	w, c, relays, edge := threeTiers(t)
	defer c.run()()
	r := edge.read(edge.subscribe(media.Source))
	r.advance(60)
	for name, s := range relays {
		s.stop()
		w.forget(name)
	}
	r.advance(100)
	if parent := edge.parent(media.Source); parent != "ingest" {
		t.Errorf("the parent is %q, want the birthplace", parent)
	}
	r.wantWhole()
}

func TestTheViewNamesAnotherParent(t *testing.T) {
	w, c, relays, edge := threeTiers(t)
	defer c.run()()
	r := edge.read(edge.subscribe(media.Source))
	r.advance(60)
	for range 4 { // to and fro
		parent := edge.parent(media.Source)
		w.update(parent, func(n *tree.Node) { n.Draining = true })
		eventually(t, "the child leaves a draining parent", func() bool {
			now := edge.parent(media.Source)
			return now != parent && now != ""
		})
		r.advance(30)
		w.update(parent, func(n *tree.Node) { n.Draining = false })
	}
	r.wantWhole()
	_ = relays
}

// TestBornAgain lets a birthplace come back with a clock that is behind: its offsets are below those that readers have
// seen.
func TestBornAgain(t *testing.T) {
	w := newWorld(t)
	before := w.start("ingest", tree.Ingest)
	c := publish(before)
	edge := w.start("edge", tree.Edge)
	c.next += 1e12 // as if the clock had been 11 days ahead
	c.shoot(2 * gop)
	sub := edge.subscribe(media.Source)
	old := edge.read(sub)
	old.reach(c.next)

	before.stop()
	w.forget("ingest")
	// The same name, as after a restart.
	again := publish(w.start("ingest", tree.Ingest))
	defer again.run()()
	eventually(t, "the readers of the old log are told that it has ended", func() bool {
		old.mu.Lock()
		defer old.mu.Unlock()
		return errors.Is(old.stopped, io.EOF)
	})
	old.wantWhole()
	r := edge.read(edge.subscribe(media.Source))
	r.advance(30)
	r.wantWhole()
	if r.position() > c.next {
		t.Errorf("the new log is at %d, and the old one was at %d", r.position(), c.next)
	}
}

func TestNobodyMakesTheTrackAnyMore(t *testing.T) {
	w := newWorld(t)
	ingest := w.start("ingest", tree.Ingest)
	c := publish(ingest)
	edge := w.start("edge", tree.Edge)
	c.shoot(gop)
	sub := edge.subscribe(media.Source)
	r := edge.read(sub)
	r.reach(c.next)
	c.publication.Close()
	eventually(t, "the stream is not live", func() bool {
		s, err := edge.hub.Stream(cup)
		return err == nil && !s.Live()
	})
	if sub.Log().Closed() {
		t.Error("the reader was sent away at once; a publisher may come back")
	}
	back := publish(ingest)
	back.next = max(back.next, c.next)
	defer back.run()()
	r.advance(10)
	r.wantWhole()
}

func TestFormatsNotCarriedAreNotOffered(t *testing.T) {
	w := newWorld(t)
	c := publish(w.start("ingest", tree.Ingest))
	c.shoot(gop)
	edge := w.start("edge", tree.Edge, carrying("360p"))
	eventually(t, "the edge knows the stream", func() bool { _, err := edge.hub.Stream(cup); return err == nil })
	s, err := edge.hub.Stream(cup)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Subscribe(media.Source, media.Video); !errors.Is(err, relay.ErrNoTrack) {
		t.Errorf("a format that is not carried: %v, want ErrNoTrack", err)
	}
	if offers := edge.Offers(s); len(offers) != 0 {
		t.Errorf("on offer are %+v", offers)
	}
}

func TestAdoptionFollowsTheView(t *testing.T) {
	w := newWorld(t)
	edge := w.start("edge", tree.Edge)
	announce := func(node string, tracks ...tree.Track) {
		w.change(func() {
			w.nodes[node] = tree.Node{Name: node, Roles: []tree.Role{tree.Ingest}}
			for i := range tracks {
				tracks[i].Node = node
			}
			w.announced[node] = tracks
		})
	}
	audio := media.TrackID{Stream: cup, Format: media.Source, Kind: media.Audio}
	published := func() (tracks []relay.Track, origin string) {
		s, err := edge.hub.Stream(cup)
		if err != nil || !s.Live() {
			return nil, ""
		}
		origin, _, _ = s.Publisher()
		return s.Published(), origin
	}
	announce("ingest1", tree.Track{ID: pictureID, Source: true, Since: 100})
	eventually(t, "a stream appears", func() bool { tracks, origin := published(); return len(tracks) == 1 && origin == "node ingest1" })
	announce("ingest1", tree.Track{ID: pictureID, Params: &h264, Source: true, Since: 100}, tree.Track{ID: audio, Source: true, Since: 100})
	eventually(t, "its tracks are told anew", func() bool {
		tracks, _ := published()
		return len(tracks) == 2 && tracks[0].Params != nil && tracks[0].Params.Width == h264.Width
	})
	announce("ingest2", tree.Track{ID: pictureID, Source: true, Since: 200})
	eventually(t, "the later publisher has it", func() bool { tracks, origin := published(); return len(tracks) == 1 && origin == "node ingest2" })
	announce("ingest3", tree.Track{ID: audio, Source: true, Since: 150})
	w.forget("ingest2")
	eventually(t, "the next latest has it", func() bool { _, origin := published(); return origin == "node ingest3" })
	w.forget("ingest1")
	w.forget("ingest3")
	eventually(t, "the stream is not live", func() bool { tracks, _ := published(); return tracks == nil })
}

// Who has to say what a stream consists of must know what is still to come: tracks that the publisher has claimed and sent
// nothing of, and formats that are made elsewhere.
func TestWhatIsStillToComeIsKnown(t *testing.T) {
	w := newWorld(t)
	ingest := w.start("ingest", tree.Ingest)
	c := publish(ingest)
	sound, err := c.publication.Source(media.Audio)
	if err != nil {
		t.Fatal(err)
	}
	edge := w.start("edge", tree.Edge)
	pending := func() (claimed, known int) {
		s, err := edge.hub.Stream(cup)
		if err != nil {
			return 0, 0
		}
		for _, track := range s.Tracks() {
			if claimed++; track.Params != nil {
				known++
			}
		}
		return claimed, known
	}
	eventually(t, "the claim of sound is known", func() bool { claimed, known := pending(); return claimed == 2 && known == 1 })
	s, err := edge.hub.Stream(cup)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := s.Subscribe(media.Source, media.Audio)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if claimed, known := pending(); claimed != 2 || known != 1 {
		t.Errorf("with a reader %d tracks are known of %d, want 1 of 2", known, claimed)
	}
	if err := sound.Begin(media.Params{Codec: media.Opus, ClockRate: 48000}); err != nil {
		t.Fatal(err)
	}
	c.publication.Announce()
	eventually(t, "the sound is known", func() bool { claimed, known := pending(); return claimed == 2 && known == 2 })
	changed := s.Changed()
	w.change(func() {
		id := media.TrackID{Stream: cup, Format: "360p", Kind: media.Video}
		w.nodes["worker"] = tree.Node{Name: "worker", Roles: []tree.Role{tree.Transcoder}}
		w.announced["worker"] = []tree.Track{{ID: id, Node: "worker", Params: &h264}}
	})
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Error("nobody is told that a format is made elsewhere")
	}
}

// TestPublisherMoves lets a broadcaster come again at another node, whose clock is an hour before or behind.
func TestPublisherMoves(t *testing.T) {
	for name, ahead := range map[string]time.Duration{"clocks agree": 0, "an hour ahead": time.Hour, "an hour behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			first, second, edge := w.start("ingest1", tree.Ingest), w.start("ingest2", tree.Ingest, clockAhead(ahead)), w.start("edge", tree.Edge)
			for _, step := range []struct{ to, from *station }{{first, nil}, {second, first}, {first, second}} {
				c := publish(step.to)
				c.shoot(gop)
				if step.from != nil {
					eventually(t, "the publisher before is sent away", func() bool {
						s, err := step.from.hub.Stream(cup)
						return err == nil && !s.Local() && s.Live()
					})
				}
				eventually(t, "the edge knows where it is", func() bool {
					s, err := edge.hub.Stream(cup)
					if err != nil {
						return false
					}
					origin, _, _ := s.Publisher()
					return origin == "node "+step.to.config.Name
				})
				if c.publication.Cause() != nil {
					t.Fatalf("the publisher who came last was sent away: %v", c.publication.Cause())
				}
				settled := time.Now().Add(near) // what comes sooner than that is in dispute
				eventually(t, "the publisher is settled", func() bool { return time.Now().After(settled) })
			}
		})
	}
}

// TestPublishersOfTwoHalves lets a broadcaster come again at a node that is cut off from the first. When they meet
// again, one of both publishers stays, whatever the clocks say.
func TestPublishersOfTwoHalves(t *testing.T) {
	for name, ahead := range map[string]time.Duration{"clocks agree": 0, "an hour ahead": time.Hour, "an hour behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			stations := []*station{w.start("ingest1", tree.Ingest), w.start("ingest2", tree.Ingest, clockAhead(ahead)), w.start("edge", tree.Edge)}
			publish(stations[0]).shoot(gop)
			eventually(t, "the other knows it", func() bool { s, err := stations[1].hub.Stream(cup); return err == nil && s.Live() })
			w.split("ingest2")
			eventually(t, "the other has lost it", func() bool { s, err := stations[1].hub.Stream(cup); return err != nil || !s.Live() })
			publish(stations[1]).shoot(gop)
			apart := time.Now().Add(2 * near)
			eventually(t, "both have been there for long", func() bool { return time.Now().After(apart) })
			w.split()
			local := func() (names []string) {
				for _, s := range stations {
					if stream, err := s.hub.Stream(cup); err == nil && stream.Local() && stream.Live() {
						names = append(names, s.config.Name)
					}
				}
				return names
			}
			eventually(t, "one publisher is sent away", func() bool { return len(local()) < 2 })
			eventually(t, "all know where the other is", func() bool {
				for _, s := range stations {
					stream, err := s.hub.Stream(cup)
					if err != nil || !stream.Live() {
						return false
					}
					if origin, _, _ := stream.Publisher(); !stream.Local() && origin != "node "+strings.Join(local(), " and ") {
						return false
					}
				}
				return len(local()) == 1
			})
			if stays := local()[0]; ahead >= 0 && stays != "ingest2" {
				t.Errorf("%s stays, want the one who came last", stays)
			}
		})
	}
}

func TestLater(t *testing.T) {
	n := &Node{config: Config{Name: "m"}}
	t0 := time.Unix(1000, 0)
	at := func(d time.Duration) time.Time { return t0.Add(d) }
	for name, c := range map[string]struct {
		claimed, seen, ours, now time.Duration
		met                      time.Duration // zero: for ever
		node                     string
		want                     bool
	}{
		"seen long after ours":                               {claimed: -time.Hour, seen: 2 * time.Second, now: 2 * time.Second, node: "a", want: true},
		"there before ours":                                  {claimed: time.Hour, seen: -time.Minute, now: 0, node: "a", want: false},
		"on its way while ours came, older":                  {claimed: -time.Second, seen: time.Second / 2, now: time.Second, node: "a", want: false},
		"on its way while ours came, newer":                  {claimed: time.Second / 4, seen: time.Second / 2, now: time.Second, node: "a", want: true},
		"the same instant, before us by name":                {seen: time.Second / 2, now: time.Second, node: "a", want: true},
		"the same instant, after us by name":                 {seen: time.Second / 2, now: time.Second, node: "z", want: false},
		"it came with its node, older":                       {claimed: -time.Hour, seen: time.Minute, met: time.Minute, now: time.Minute, node: "a", want: false},
		"it came with its node, newer":                       {claimed: time.Hour, seen: time.Minute, met: time.Minute, now: time.Minute, node: "a", want: true},
		"its node came, and long after it the claim":         {claimed: -time.Hour, seen: time.Hour, met: time.Minute, now: time.Hour, node: "a", want: true},
		"both stay, in dispute for long, the stamp is later": {claimed: time.Hour, seen: -time.Minute, now: 10 * time.Second, node: "a", want: true},
		"both stay, in dispute for long, ours is later":      {claimed: -time.Hour, seen: -time.Minute, now: 10 * time.Second, node: "a", want: false},
	} {
		s := sighting{node: c.node, since: at(c.claimed).UnixNano(), at: at(c.seen)}
		if c.met != 0 {
			s.met = at(c.met)
		}
		if got := n.later(s, at(c.ours), at(c.now)); got != c.want {
			t.Errorf("%s: later is %v, want %v", name, got, c.want)
		}
	}
}

func TestDrainRefusesChildren(t *testing.T) {
	w := newWorld(t)
	c := publish(w.start("ingest", tree.Ingest))
	c.shoot(gop)
	between := w.start("relay", tree.Relay)
	eventually(t, "the relay knows the stream", func() bool { _, err := between.hub.Stream(cup); return err == nil })
	between.children.drain()
	if _, err := between.Open(t.Context(), pictureID, link.Wish{Below: []string{"edge"}}); !errors.Is(err, link.ErrDraining) {
		t.Errorf("a new child of a draining node: %v, want ErrDraining", err)
	}
}
