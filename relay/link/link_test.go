package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"banyan/relay/log"
	"banyan/relay/media"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	key     = []byte("a cluster key of these tests")
	videoID = media.TrackID{Stream: "cup/cam1", Format: media.Source, Kind: media.Video}
	audioID = media.TrackID{Stream: "cup/cam1", Format: "opus", Kind: media.Audio}
)

// birth is the first offset of the tracks of these tests: a second after the epoch, so that epochs count from 1.
const birth = 1_000_000

// patient limits are for tests in which nobody dies, on machines that are busy with other things.
var patient = Limits{Silence: 5 * time.Second, Dial: 5 * time.Second, Patience: 5 * time.Second, Stale: 5 * time.Second}

const soon = 15 * time.Second

// eventually polls until ok, or fails with what was awaited.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(soon); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s", soon, what)
		}
	}
}

// node starts a node that is stopped with the test, or earlier by stop.
func node(t *testing.T, name string, source Source, limits Limits) (n *Node, stop func()) {
	t.Helper()
	identity, err := NewIdentity(key, name, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return start(t, Config{Node: name, Identity: identity, Source: source, Limits: limits})
}

func start(t *testing.T, config Config) (n *Node, stop func()) {
	t.Helper()
	config.Addr, config.Metrics = "127.0.0.1:0", prometheus.NewRegistry()
	config.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	n, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("node %s: %v", config.Node, err)
		}
	})
	t.Cleanup(stop)
	return n, stop
}

func peer(t *testing.T, child, parent *Node) *Peer {
	t.Helper()
	p := child.Peer(parent.config.Node, parent.Addr())
	t.Cleanup(p.Close)
	return p
}

// replica is a track on a node of the tests: written by a test or by Follow, and served as it is.
type replica struct {
	*log.Writer
	mu      sync.Mutex
	path    []string
	changed chan struct{}
	opened  int
	wish    Wish
}

func newReplica(id media.TrackID, first int64, path ...string) *replica {
	return &replica{Writer: log.New(id, first, log.Config{}).Writer(), path: path, changed: make(chan struct{})}
}

func (r *replica) SetPath(path []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.path = path
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *replica) Path() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.path
}

func (r *replica) PathChanged() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

func (r *replica) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opened--
}

func (r *replica) readers() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.opened
}

// shelf is a Source of the tests.
type shelf struct {
	mu     sync.Mutex
	tracks map[media.TrackID]*replica
	err    error
}

func shelve(tracks ...*replica) *shelf {
	s := &shelf{tracks: map[media.TrackID]*replica{}}
	for _, r := range tracks {
		s.tracks[r.Log().ID()] = r
	}
	return s
}

func (s *shelf) Open(_ context.Context, id media.TrackID, wish Wish) (Track, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	r := s.tracks[id]
	if r == nil {
		return nil, ErrNoTrack
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opened++
	r.wish = wish
	return r, nil
}

// camera writes pictures of some packets each to a log, with a keyframe each gop pictures.
type camera struct {
	w     *replica
	gop   int
	n     int   // pictures so far
	ticks int64 // of the next
	next  int64 // offset
	size  int   // bytes of a packet
}

func newCamera(t testing.TB, w *replica, gop int) *camera {
	t.Helper()
	c := &camera{w: w, gop: gop, next: w.Next(), size: 200, ticks: media.TicksOf(media.TimeOf(time.Now()), 90000)}
	c.begin(t, media.Params{Codec: media.H264, ClockRate: 90000, Width: 1280, Height: 720, FPS: 30,
		Sets: [][]byte{{0x67, 1, 2, 3}, {0x68, 4, 5}}})
	return c
}

func (c *camera) begin(t testing.TB, p media.Params) {
	t.Helper()
	if err := c.w.Begin(p); err != nil {
		t.Fatal(err)
	}
	c.n = 0
}

// shoot writes a picture of three packets.
func (c *camera) shoot(t testing.TB) {
	t.Helper()
	for i := range 3 {
		var flags media.Flags
		if i == 0 && c.n%c.gop == 0 {
			flags |= media.Keyframe
		}
		if i == 2 {
			flags |= media.FrameEnd
		}
		payload := make([]byte, c.size)
		copy(payload, fmt.Sprintf("%d", c.next))
		err := c.w.Write(media.Packet{Offset: c.next, Ticks: c.ticks, Flags: flags, Payload: payload,
			Arrived: media.TimeOf(time.Now())})
		if err != nil {
			t.Fatal(err)
		}
		c.next++
	}
	c.n++
	c.ticks += 3000
}

// follow runs Follow until the test ends, or stop; its error comes once.
func follow(t *testing.T, p *Peer, from int64, below []string, w Sink) (result <-chan error, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ch := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ch <- p.Follow(ctx, w.Log().ID(), from, below, w)
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return ch, stop
}

func wantError(t *testing.T, result <-chan error, want error) error {
	t.Helper()
	select {
	case err := <-result:
		if !errors.Is(err, want) {
			t.Fatalf("Follow ended with %q, want %q", err, want)
		}
		return err
	case <-time.After(soon):
		t.Fatalf("Follow did not end with %q within %v", want, soon)
	}
	return nil
}

// wantSame compares what two logs have from offset first to the head of the first.
func wantSame(t *testing.T, original, copied *log.Log, first int64) {
	t.Helper()
	eventually(t, fmt.Sprintf("the replica reaches %d", original.Head()), func() bool { return copied.Head() >= original.Head() })
	for offset := first; offset < original.Head(); offset++ {
		want, got := original.Get(offset), copied.Get(offset)
		if got != nil && offset == first && !want.Has(media.Discontinuity) {
			begun := *got
			begun.Flags &^= media.Discontinuity // to the replica it is the first
			got = &begun
		}
		if diff := compare(want, got); diff != "" {
			t.Fatalf("offset %d: %s", offset, diff)
		}
	}
}

func compare(want, got *media.Packet) string {
	switch {
	case want == nil && got == nil:
		return ""
	case want == nil:
		return "the replica has a packet where there is none"
	case got == nil:
		return "the replica lacks it"
	case want.Ticks != got.Ticks || want.Flags != got.Flags || string(want.Payload) != string(got.Payload):
		return fmt.Sprintf("ticks %d, flags %b, %d bytes; want %d, %b, %d", got.Ticks, got.Flags, len(got.Payload),
			want.Ticks, want.Flags, len(want.Payload))
	case want.Params.Epoch != got.Params.Epoch || !want.Params.Equal(got.Params):
		return fmt.Sprintf("parameters %+v, want %+v", got.Params, want.Params)
	}
	return ""
}

func TestReplicaEqualsItsParent(t *testing.T) {
	original := newReplica(videoID, birth, "ingest")
	parent, _ := node(t, "ingest", shelve(original), patient)
	child, _ := node(t, "relay", nil, patient)
	c := newCamera(t, original, 10)
	for range 25 { // two keyframes and a half
		c.shoot(t)
	}
	copied := newReplica(videoID, 0)
	follow(t, peer(t, child, parent), 0, []string{"edge"}, copied)

	const newestKey = birth + 20*3
	wantSame(t, original.Log(), copied.Log(), newestKey)
	for i := range 100 {
		if i == 40 { // the camera is turned: a new epoch
			c.begin(t, media.Params{Codec: media.H264, ClockRate: 90000, Width: 720, Height: 1280})
		}
		if i == 70 { // packets that never came
			c.next += 7
		}
		c.shoot(t)
	}
	wantSame(t, original.Log(), copied.Log(), newestKey)
	if want := []string{"ingest", "relay"}; !slices.Equal(copied.Path(), want) {
		t.Errorf("the path is %v, want %v", copied.Path(), want)
	}
	original.mu.Lock()
	below := original.wish.Below
	original.mu.Unlock()
	if want := []string{"relay", "edge"}; !slices.Equal(below, want) {
		t.Errorf("the source was told that %v are below, want %v", below, want)
	}
}

func TestAudioGoesBySeconds(t *testing.T) {
	original := newReplica(audioID, birth, "ingest")
	parent, _ := node(t, "ingest", shelve(original), patient)
	child, _ := node(t, "relay", nil, patient)
	if err := original.Begin(media.Params{Codec: media.Opus, ClockRate: 48000, Channels: 2, SampleRate: 48000}); err != nil {
		t.Fatal(err)
	}
	copied := newReplica(audioID, 0)
	follow(t, peer(t, child, parent), birth, nil, copied)
	for i := range int64(200) { // four seconds
		err := original.Write(media.Packet{Offset: birth + i, Ticks: i * 960, Flags: media.Keyframe | media.FrameEnd, Payload: []byte{byte(i)}})
		if err != nil {
			t.Fatal(err)
		}
	}
	wantSame(t, original.Log(), copied.Log(), birth)
	if got := counted(t, parent, "banyan_link_sent_groups_total"); got != 4 {
		t.Errorf("four seconds went in %v groups, want 4", got)
	}
}

// counted reads a counter of a node, summed over its labels.
func counted(t *testing.T, n *Node, name string) (sum float64) {
	t.Helper()
	families, err := n.config.Metrics.(*prometheus.Registry).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

func TestTrackEnds(t *testing.T) {
	original := newReplica(videoID, birth, "ingest")
	parent, _ := node(t, "ingest", shelve(original), patient)
	child, _ := node(t, "relay", nil, patient)
	c := newCamera(t, original, 10)
	copied := newReplica(videoID, 0)
	result, _ := follow(t, peer(t, child, parent), birth, nil, copied)
	for range 35 {
		c.shoot(t)
	}
	eventually(t, "the first packet comes", func() bool { return copied.Log().Params() != nil })
	original.Log().Close()
	wantError(t, result, ErrEnded)
	wantSame(t, original.Log(), copied.Log(), birth)
	eventually(t, "the source gets its track back", func() bool { return original.readers() == 0 })
}

func TestKeyframeRequestsTravel(t *testing.T) {
	original := newReplica(videoID, birth, "ingest")
	parent, _ := node(t, "ingest", shelve(original), patient)
	child, _ := node(t, "relay", nil, patient)
	copied := newReplica(videoID, 0)
	follow(t, peer(t, child, parent), 0, nil, copied)
	newCamera(t, original, 10).shoot(t)
	eventually(t, "the first packet comes", func() bool { return copied.Log().Params() != nil })
	copied.Log().RequestKeyframe()
	select {
	case <-original.KeyframeRequests():
	case <-time.After(soon):
		t.Fatal("the wish for a keyframe did not reach the birthplace")
	}
}
