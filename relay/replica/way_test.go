package replica

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"banyan/relay/link"
	"banyan/relay/log"
	"banyan/relay/media"
	"banyan/relay/tree"
)

// cables are the lines from one station to those above it: all that it sends to another node's links, and the answers,
// pass a socket that loses them while the line is cut. Gossip, and links that others open to the station, do not come here.
type cables struct {
	Links
	t *testing.T

	mu    sync.Mutex // guards the fields below
	lines map[netip.AddrPort]netip.AddrPort
	names map[netip.AddrPort]string
	dead  func(name string) bool
}

func wired(c *cables) option {
	return func(config *Config, g *gossip) {
		c.t, c.Links, config.Links = g.t, config.Links, c
		c.lines, c.names = map[netip.AddrPort]netip.AddrPort{}, map[netip.AddrPort]string{}
	}
}

func (c *cables) Peer(name string, addr netip.AddrPort) Peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	front, laid := c.lines[addr]
	if !laid {
		front = c.lay(addr)
		c.lines[addr], c.names[addr] = front, name
	}
	return c.Links.Peer(name, front)
}

// cut breaks the lines to the nodes that dead names; none where it is nil.
func (c *cables) cut(dead func(name string) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead = dead
}

func (c *cables) carries(to netip.AddrPort) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead == nil || !c.dead(c.names[to])
}

// lay opens a line to a node, until the test ends. The station has one socket for all its links.
func (c *cables) lay(to netip.AddrPort) netip.AddrPort {
	loopback := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}
	front, err := net.ListenUDP("udp4", loopback)
	if err != nil {
		c.t.Fatal(err)
	}
	back, err := net.ListenUDP("udp4", loopback)
	if err != nil {
		c.t.Fatal(err)
	}
	child := make(chan netip.AddrPort, 1)
	var ways sync.WaitGroup
	ways.Go(func() {
		known := false
		pump(front, func(p []byte, from netip.AddrPort) {
			if !known {
				known = true
				child <- from
			}
			if c.carries(to) {
				_, _ = back.WriteToUDPAddrPort(p, to)
			}
		})
		close(child)
	})
	ways.Go(func() {
		at := <-child
		pump(back, func(p []byte, _ netip.AddrPort) {
			if c.carries(to) {
				_, _ = front.WriteToUDPAddrPort(p, at)
			}
		})
	})
	c.t.Cleanup(func() { front.Close(); back.Close(); ways.Wait() })
	return front.LocalAddr().(*net.UDPAddr).AddrPort()
}

// pump reads packets until the socket is closed.
func pump(from *net.UDPConn, packet func([]byte, netip.AddrPort)) {
	buffer := make([]byte, 64<<10)
	for {
		n, addr, err := from.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			packet(buffer[:n], addr)
		}
	}
}

// wires is a cluster of three tiers, each station of which has cables. Links notice silence as soon as they do in real
// life.
func wires(t *testing.T) (c *camera, relays map[string]*station, edge *station, all map[string]*cables, l *tap) {
	w := newWorld(t)
	w.limits = link.Limits{Patience: 5 * time.Second, Stale: 5 * time.Second}
	c = publish(w.start("ingest", tree.Ingest))
	relays, all, l = map[string]*station{}, map[string]*cables{}, &tap{}
	for _, name := range []string{"relay1", "relay2", "edge"} {
		all[name] = &cables{}
	}
	for _, name := range []string{"relay1", "relay2"} {
		relays[name] = w.start(name, tree.Relay, wired(all[name]))
	}
	return c, relays, w.start("edge", tree.Edge, wired(all["edge"]), tapped(l)), all, l
}

func everything(string) bool { return true }

// wantGap checks the longest time without a packet.
func (r *reader) wantGap(most time.Duration) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.t.Logf("the longest gap was %v", r.gap)
	if r.gap > most {
		r.t.Errorf("the longest gap was %v, want at most %v", r.gap, most)
	}
	if r.stopped != nil {
		r.t.Errorf("the reader was sent away: %v", r.stopped)
	}
}

// TestARelayIsCutOff cuts the lines between a relay and all above it. It lives, gossips and serves on, and those below it
// have to find another way all the same.
func TestARelayIsCutOff(t *testing.T) {
	c, relays, edge, all, _ := wires(t)
	stop := c.run()
	var readers []*reader
	for range 3 {
		readers = append(readers, edge.read(edge.subscribe(media.Source)))
	}
	for _, r := range readers {
		r.advance(60)
	}
	parent := edge.parent(media.Source)
	if relays[parent] == nil {
		t.Fatalf("the edge has the track from %q, want one of the relays", parent)
	}
	all[parent].cut(everything)
	eventually(t, "the edge goes on below another node", func() bool {
		now := edge.parent(media.Source)
		return now != parent && now != ""
	})
	next := edge.parent(media.Source)
	const most = 2 * time.Second
	settled := time.Now().Add(most)
	for time.Now().Before(settled) {
		readers[0].advance(30)
		if now := edge.parent(media.Source); now != next {
			t.Fatalf("the edge has moved on to %q, while %q serves it", now, next)
		}
	}
	for _, r := range readers {
		r.wantGap(most)
	}

	all[parent].cut(nil)
	eventually(t, "the edge is back where it belongs", func() bool { return edge.parent(media.Source) == parent })
	for _, r := range readers {
		r.advance(60)
	}
	stop()
	for _, r := range readers {
		r.reach(c.next)
		r.wantWhole()
		r.wantGap(most)
	}
}

// TestTheBirthplaceIsCutOff leaves nobody with a way to the birthplace. To move is of no use then: everybody stays, and the
// track flows again when the line is mended.
func TestTheBirthplaceIsCutOff(t *testing.T) {
	c, relays, edge, all, _ := wires(t)
	stop := c.run()
	r := edge.read(edge.subscribe(media.Source))
	r.advance(60)
	parent := edge.parent(media.Source)
	for _, lines := range all {
		lines.cut(func(name string) bool { return name == "ingest" })
	}
	eventually(t, "the edge is told that its parent is cut off", func() bool {
		list := edge.Replicas()
		return len(list) == 1 && len(list[0].Path) == 0
	})
	for end := time.Now().Add(3 * cutOff); time.Now().Before(end); time.Sleep(look) {
		if now := edge.parent(media.Source); now != parent {
			t.Fatalf("the edge has moved from %q to %q, which has no way either", parent, now)
		}
	}
	if relays[parent].readers(media.Source) == 0 {
		t.Error("the edge has let go of its parent")
	}
	for _, lines := range all {
		lines.cut(nil)
	}
	r.advance(60)
	stop()
	r.reach(c.next)
	r.wantWhole()
}

// TestAPublisherPauses sends nothing for long. No line is broken, so nobody looks for another parent.
func TestAPublisherPauses(t *testing.T) {
	c, _, edge, _, l := wires(t)
	c.shoot(2 * gop)
	r := edge.read(edge.subscribe(media.Source))
	r.reach(c.next)
	parent := edge.parent(media.Source)
	before := len(l.noted())
	for end := time.Now().Add(4 * cutOff); time.Now().Before(end); time.Sleep(look) {
		if list := edge.Replicas(); len(list) != 1 || !slices.Equal(list[0].Path, []string{"ingest", parent, "edge"}) {
			t.Fatalf("while the publisher pauses the edge has %v", list)
		}
	}
	c.shoot(gop)
	r.reach(c.next)
	r.wantWhole()
	if events := l.noted(); len(events) > before+1 { // the news
		t.Errorf("while the publisher paused the edge looked for another parent: %v", events)
	}
}

// TestStranded lets time pass for a replica that loses its parent's way, and its parent.
func TestStranded(t *testing.T) {
	r := &replica{id: pictureID, writer: log.New(pictureID, 0, log.Config{}).Writer(), moved: make(chan struct{}), logger: newWorld(t).logger}
	s := newSink(r, "relay")
	r.setSinks(s, nil)
	s.SetPath([]string{"edge"})
	begin := s.accepted
	want := func(when string, at time.Duration, stranded bool, path []string) {
		t.Helper()
		if wait := r.mind(begin.Add(at)); wait <= 0 || wait > orphaned {
			t.Errorf("%s: look again after %v", when, wait)
		}
		if got := s.stranded(begin.Add(at)); got != stranded {
			t.Errorf("%s: stranded is %v, want %v", when, got, stranded)
		}
		if !slices.Equal(r.path, path) {
			t.Errorf("%s: children are told %v, want %v", when, r.path, path)
		}
	}
	way := []string{"ingest", "relay", "edge"}
	want("accepted by one who has no way yet", cutOff-1, false, nil)
	want("it has none for long", cutOff, true, nil)
	s.SetPath(way)
	want("it has got one", 3*cutOff, false, way)
	s.SetPath([]string{"edge"})
	want("it has lost it", 4*cutOff, true, way)
	want("it has lost it and found none", 5*cutOff-1, true, way)
	want("children are to know", 5*cutOff, true, nil)
	s.SetPath(way)
	want("it has got one again", 6*cutOff, false, way)
	r.setSinks(nil, nil)
	want("the parent is gone", 7*cutOff, false, way)
	want("and there is no other", 8*cutOff, false, nil)
}
