package link

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"banyan/relay/log"
	"banyan/relay/media"
)

// TestMovingBetweenParentsLosesNothing cuts a child off at random moments and lets it go on with the other parent,
// which may be a little ahead of or behind the first.
func TestMovingBetweenParentsLosesNothing(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	long := log.Config{Window: time.Hour}
	original := newReplica(videoID, birth, "ingest")
	original.Writer = log.New(videoID, birth, long).Writer()
	copied := newReplica(videoID, 0)
	copied.Writer = log.New(videoID, 0, long).Writer()

	root, _ := node(t, "ingest", shelve(original), patient)
	child, _ := node(t, "edge", nil, patient)
	parents := make([]*Peer, 2)
	for i, name := range []string{"relay1", "relay2"} {
		between := newReplica(videoID, 0)
		between.Writer = log.New(videoID, 0, long).Writer()
		relay, _ := node(t, name, shelve(between), patient)
		follow(t, peer(t, relay, root), birth, nil, between)
		parents[i] = peer(t, child, relay)
	}

	const pictures, gop = 1500, 12
	c := newCamera(t, original, gop)
	c.shoot(t)
	for cut := 0; c.n < pictures; cut++ {
		from := ResumeOffset(copied.Log())
		if from == 0 {
			from = birth
		}
		result, stop := follow(t, parents[cut%2], from, nil, copied)
		for range 1 + random.IntN(60) {
			c.shoot(t)
		}
		if wait := random.IntN(3); wait > 0 { // cut before anything came, amid it, or when all is there
			target := copied.Log().Head() + int64(random.IntN(90))
			eventually(t, "the child gets on", func() bool {
				select {
				case err := <-result:
					t.Fatalf("cut %d from %d: %v", cut, from-birth, err)
				default:
				}
				return copied.Log().Head() >= min(max(target, birth+1), original.Log().Head())
			})
		}
		stop()
	}
	follow(t, parents[0], ResumeOffset(copied.Log()), nil, copied)
	wantSame(t, original.Log(), copied.Log(), birth)
	if holes := copied.Log().Stats(); holes.Holes != holes.Filled {
		t.Errorf("%d holes, %d filled", holes.Holes, holes.Filled)
	}
}

func TestResumeOffset(t *testing.T) {
	r := newReplica(videoID, birth)
	if got := ResumeOffset(r.Log()); got != 0 {
		t.Errorf("an empty log resumes at %d, want 0", got)
	}
	if err := r.Begin(media.Params{Epoch: 1, ClockRate: 90000}); err != nil {
		t.Fatal(err)
	}
	for _, offset := range []int64{0, 2, 5, 6} { // 1 is lost for good: it is long past
		p := media.Packet{Offset: birth + offset, Ticks: 90000 * 10}
		switch offset {
		case 0:
			p.Flags, p.Ticks = media.Keyframe, 0
		case 2:
			p.Flags, p.Ticks = media.Keyframe, 90000*8
		}
		if err := r.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	if got := ResumeOffset(r.Log()); got != birth+3 {
		t.Errorf("it resumes at %d above its birth, want at the first hole of its last seconds, 3", got-birth)
	}
	for _, offset := range []int64{3, 4} {
		if err := r.Write(media.Packet{Offset: birth + offset}); err != nil {
			t.Fatal(err)
		}
	}
	if got := ResumeOffset(r.Log()); got != birth+7 {
		t.Errorf("it resumes at %d above its birth, want after its newest, 7", got-birth)
	}
}

// TestAnEmptyChildGetsWholeGroups asks for the middle of a group with an empty log, and as a child of version 1 does.
func TestAnEmptyChildGetsWholeGroups(t *testing.T) {
	const gop, packets = 10, 3 // pictures of a group, packets of a picture
	original := newReplica(videoID, birth, "ingest")
	c := newCamera(t, original, gop)
	for range 10 * gop {
		c.shoot(t)
	}
	parent, _ := node(t, "ingest", shelve(original), patient)
	relay, _ := node(t, "relay", nil, patient)
	const middle = birth + 7*gop*packets + 5
	half := int64(wholeSpan.Seconds() * 30 * packets)
	whole := newReplica(videoID, 0)
	follow(t, peer(t, relay, parent), middle, nil, whole)
	eventually(t, "the child has all", func() bool { return whole.Log().Head() == original.Log().Head() })
	begins := whole.Log().Tail()
	if p := whole.Log().Get(begins); p == nil || !p.Has(media.Keyframe) || begins > middle-half || begins < middle-half-gop*packets {
		t.Errorf("the child's log begins at %d, want a keyframe between %d and %d", begins-birth, middle-half-gop*packets-birth, middle-half-birth)
	}

	s := child(t, parent)
	s.beat()
	s.send(frameSubscribe, subscribe{sub: 1, id: videoID, from: middle}.append(nil))
	s.want(frameAccepted)
	if h := s.header(); h.first != middle {
		t.Errorf("a child of version 1 gets the track from %d, want %d as it asked", h.first-birth, int64(middle-birth))
	}
}

// TestANewReaderGoesOnFromAnotherMaker asks for a track that the child has never had, behind a media time.
func TestANewReaderGoesOnFromAnotherMaker(t *testing.T) {
	const gop = 10
	original := newReplica(videoID, birth, "ingest")
	c := newCamera(t, original, gop)
	for range 25 * gop {
		c.shoot(t)
	}
	newest := original.Log().NewestTime()
	lastKey := original.Log().Cursor(log.LastKeyframe()).Offset()
	parent, _ := node(t, "ingest", shelve(original), patient)
	child, _ := node(t, "worker", nil, patient)
	for _, c := range []struct {
		name  string
		after media.Time
		from  int64
	}{
		{"nobody has anything", 0, lastKey},
		{"a second ago", newest.Add(-time.Second), original.Log().Cursor(log.KeyframeBefore(newest.Add(-time.Second))).Offset()},
		{"in the future", newest.Add(time.Second), lastKey},
		{"longer ago than is caught up with", newest.Add(-afterMost), lastKey},
	} {
		copied := newReplica(videoID, 0)
		copied.Log().Want(c.after)
		_, stop := follow(t, peer(t, child, parent), 0, nil, copied)
		eventually(t, "the child has all", func() bool { return copied.Log().Head() == original.Log().Head() })
		stop()
		if tail := copied.Log().Tail(); tail != c.from {
			t.Errorf("%s: the log begins at %d, want %d", c.name, tail-birth, c.from-birth)
		}
		original.mu.Lock()
		if original.wish.After != c.after {
			t.Errorf("%s: the source was told %v, want %v", c.name, original.wish.After, c.after)
		}
		original.mu.Unlock()
	}
}

func TestFromBeforeTheWindow(t *testing.T) {
	original := newReplica(videoID, birth, "ingest")
	c := newCamera(t, original, 30)
	for range 30 * 20 { // 20 s, of which the window keeps 12
		c.shoot(t)
	}
	parent, _ := node(t, "ingest", shelve(original), patient)
	child, _ := node(t, "relay", nil, patient)
	copied := newReplica(videoID, 0)
	follow(t, peer(t, child, parent), birth+1, nil, copied)
	oldest := original.Log().Cursor(log.KeyframeBefore(0)).Offset()
	wantSame(t, original.Log(), copied.Log(), oldest)
	if tail := copied.Log().Tail(); tail != oldest {
		t.Errorf("the replica begins at %d, want the oldest keyframe of its parent, %d", tail, oldest)
	}
}

func TestRefusals(t *testing.T) {
	original := newReplica(videoID, birth, "ingest")
	newCamera(t, original, 10).shoot(t)
	source := shelve(original)
	parent, _ := node(t, "ingest", source, patient)
	child, _ := node(t, "relay", nil, patient)
	p := peer(t, child, parent)
	deep := slices.Repeat([]string{"x"}, MaxDepth)
	unsaid := errors.New("the disk is on fire")
	for _, c := range []struct {
		name  string
		from  int64
		below []string
		says  error
		id    media.TrackID
		want  error
	}{
		{"unknown track", 0, nil, nil, audioID, ErrNoTrack},
		{"full", 0, nil, ErrFull, videoID, ErrFull},
		{"draining", 0, nil, ErrDraining, videoID, ErrDraining},
		{"loop by the source's word", 0, nil, ErrLoop, videoID, ErrLoop},
		{"parent below its child", 0, []string{"edge", "ingest"}, nil, videoID, ErrLoop},
		{"too deep", 0, deep, nil, videoID, ErrLoop},
		{"far ahead of the log", birth << 20, nil, nil, videoID, ErrBehind},
		{"anything else", 0, nil, unsaid, videoID, nil},
	} {
		source.mu.Lock()
		source.err = c.says
		source.mu.Unlock()
		err := p.Follow(t.Context(), c.id, c.from, c.below, newReplica(c.id, 0))
		if c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %q, want %q", c.name, err, c.want)
		}
		var said *remoteError
		if c.want == nil && (!errors.As(err, &said) || said.text != unsaid.Error()) {
			t.Errorf("%s: %v, want the source's own sentence", c.name, err)
		}
	}
}

// TestNoCircle makes two nodes take a track from each other.
func TestNoCircle(t *testing.T) {
	at := []*replica{newReplica(videoID, 0, "a"), newReplica(videoID, 0, "b")}
	a, _ := node(t, "a", shelve(at[0]), patient)
	b, _ := node(t, "b", shelve(at[1]), patient)

	// Honestly, a says that b is below it.
	err := peer(t, a, b).Follow(t.Context(), videoID, 0, []string{"b"}, at[0])
	if !errors.Is(err, ErrLoop) {
		t.Fatalf("a takes the track from b for b: %v, want %q", err, ErrLoop)
	}
	// Both at once, when neither knows of the other yet: the ways that are told break the circle.
	first, _ := follow(t, peer(t, a, b), 0, nil, at[0])
	second, _ := follow(t, peer(t, b, a), 0, nil, at[1])
	select {
	case err = <-first:
	case err = <-second:
	case <-time.After(soon):
		t.Fatal("the circle stands")
	}
	if !errors.Is(err, ErrLoop) {
		t.Fatalf("the circle ended with %v, want %q", err, ErrLoop)
	}
}

func TestPathChangesTravel(t *testing.T) {
	original := newReplica(videoID, birth, "ingest", "relay")
	parent, _ := node(t, "relay", shelve(original), patient)
	child, _ := node(t, "edge", nil, patient)
	copied := newReplica(videoID, 0)
	result, _ := follow(t, peer(t, child, parent), 0, nil, copied)
	eventually(t, "the first path", func() bool { return slices.Equal(copied.Path(), []string{"ingest", "relay", "edge"}) })
	original.SetPath([]string{"other", "relay"})
	eventually(t, "the changed path", func() bool { return slices.Equal(copied.Path(), []string{"other", "relay", "edge"}) })
	original.SetPath([]string{"other", "edge", "relay"})
	wantError(t, result, ErrLoop)
}

func TestGoingAway(t *testing.T) {
	original := newReplica(videoID, birth, "ingest")
	c := newCamera(t, original, 10)
	c.shoot(t)
	parent, stopParent := node(t, "ingest", shelve(original), patient)
	child, _ := node(t, "relay", nil, patient)
	p := peer(t, child, parent)
	copied := newReplica(videoID, 0)
	result, _ := follow(t, p, 0, nil, copied)
	eventually(t, "the track flows", func() bool { return copied.Log().Head() == c.next })
	if isClosed(p.Down()) || p.GoingAway() {
		t.Fatal("the parent counts as down while it is well")
	}
	left := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { parent.GoAway(ctx); close(left) }()
	wantError(t, result, ErrGoingAway)
	if !isClosed(p.Down()) || !p.GoingAway() {
		t.Error("the parent goes away and does not count as down")
	}
	select {
	case <-left:
	case <-time.After(soon):
		t.Fatal("GoAway does not see that its child has left")
	}
	// There is nobody else: the child comes back, and is served on.
	result, _ = follow(t, p, ResumeOffset(copied.Log()), nil, copied)
	c.shoot(t)
	wantSame(t, original.Log(), copied.Log(), birth)
	stopParent()
	wantError(t, result, ErrGoingAway)
	if err := p.Follow(t.Context(), videoID, 0, nil, copied); err == nil {
		t.Error("a parent that has gone can still be followed")
	}
}

func TestEndOfThisNode(t *testing.T) {
	original := newReplica(videoID, birth, "ingest")
	parent, _ := node(t, "ingest", shelve(original), patient)
	child, stop := node(t, "relay", nil, patient)
	p := peer(t, child, parent)
	result, _ := follow(t, p, 0, nil, newReplica(videoID, 0))
	eventually(t, "the parent opens the track", func() bool { return original.readers() == 1 })
	stop()
	<-result
	if err := p.Follow(t.Context(), videoID, 0, nil, newReplica(videoID, 0)); !errors.Is(err, ErrClosed) {
		t.Errorf("Follow on a node that has ended: %v, want %q", err, ErrClosed)
	}
	late := child.Peer("ingest", parent.Addr())
	if err := late.Wait(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("a peer of a node that has ended: %v, want %q", err, ErrClosed)
	}
	late.Close()
	eventually(t, "the parent gets its track back", func() bool { return original.readers() == 0 })
}

func TestPeersAreShared(t *testing.T) {
	parent, _ := node(t, "ingest", nil, patient)
	child, _ := node(t, "relay", nil, patient)
	first, second := child.Peer("ingest", parent.Addr()), child.Peer("ingest", parent.Addr())
	if first != second {
		t.Fatal("two peers for one name and address")
	}
	first.Close()
	if err := second.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a round trip is measured", func() bool { return second.RTT() > 0 })
	second.Close()
	eventually(t, "the parent sees its child leave", func() bool {
		parent.mu.Lock()
		defer parent.mu.Unlock()
		return len(parent.children) == 0 && parent.shaking == 0
	})
}

// line forwards datagrams between one child and a parent, until it is cut.
type line struct {
	cut atomic.Bool
	net.PacketConn
}

// lay lays a line to the node; its address is what the child dials.
func lay(t *testing.T, to netip.AddrPort) *line {
	t.Helper()
	listen := func() net.PacketConn {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	l, far := &line{PacketConn: listen()}, listen()
	var child atomic.Pointer[net.Addr]
	var wg sync.WaitGroup
	carry := func(from, into net.PacketConn, target func(net.Addr) net.Addr) {
		defer wg.Done()
		buffer := make([]byte, 2048)
		for {
			n, sender, err := from.ReadFrom(buffer)
			if err != nil {
				return
			}
			if dst := target(sender); dst != nil && !l.cut.Load() {
				_, _ = into.WriteTo(buffer[:n], dst)
			}
		}
	}
	wg.Add(2)
	go carry(l, far, func(sender net.Addr) net.Addr { child.Store(&sender); return net.UDPAddrFromAddrPort(to) })
	go carry(far, l, func(net.Addr) net.Addr {
		if a := child.Load(); a != nil {
			return *a
		}
		return nil
	})
	t.Cleanup(func() { l.Close(); far.Close(); wg.Wait() })
	return l
}

func (l *line) addr() netip.AddrPort { return l.LocalAddr().(*net.UDPAddr).AddrPort() }

// TestSilenceIsNoticed cuts the line, as kill -9 of the parent does, and mends it.
func TestSilenceIsNoticed(t *testing.T) {
	limits := Limits{Dial: 300 * time.Millisecond}
	original := newReplica(videoID, birth, "ingest")
	c := newCamera(t, original, 10)
	c.shoot(t)
	parent, _ := node(t, "ingest", shelve(original), limits)
	child, _ := node(t, "relay", nil, limits)
	l := lay(t, parent.Addr())
	p := child.Peer("ingest", l.addr())
	defer p.Close()
	copied := newReplica(videoID, 0)
	result, _ := follow(t, p, 0, nil, copied)
	eventually(t, "the track flows", func() bool { return copied.Log().Head() == c.next })

	down := p.Down()
	began := time.Now()
	l.cut.Store(true)
	wantError(t, result, ErrSilent)
	t.Logf("silence was noticed after %v", time.Since(began))
	if !isClosed(down) {
		t.Error("Follow ended before the peer counted as down")
	}
	if err := p.Follow(t.Context(), videoID, 0, nil, copied); !errors.Is(err, ErrSilent) {
		t.Errorf("Follow on a silent peer: %v, want %q", err, ErrSilent)
	}
	eventually(t, "the parent notices too", func() bool { return original.readers() == 0 })

	c.shoot(t)
	l.cut.Store(false)
	if err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if isClosed(p.Down()) {
		t.Error("the peer is back and counts as down")
	}
	follow(t, p, ResumeOffset(copied.Log()), nil, copied)
	wantSame(t, original.Log(), copied.Log(), birth)
}

func TestUnreachablePeer(t *testing.T) {
	child, _ := node(t, "relay", nil, Limits{Dial: 100 * time.Millisecond})
	nobody, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer nobody.Close()
	p := child.Peer("ingest", nobody.LocalAddr().(*net.UDPAddr).AddrPort())
	defer p.Close()
	if err := p.Follow(t.Context(), videoID, 0, nil, newReplica(videoID, 0)); !errors.Is(err, ErrSilent) {
		t.Errorf("Follow: %v, want %q", err, ErrSilent)
	}
	if !isClosed(p.Down()) {
		t.Error("a peer that cannot be reached is not down")
	}
}
