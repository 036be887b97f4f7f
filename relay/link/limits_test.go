package link

import (
	"errors"
	"testing"
	"time"

	"banyan/relay/media"
)

// TestHandshakeFlood lets more handshakes come than are taken unproven: who can prove the address still gets in.
func TestHandshakeFlood(t *testing.T) {
	original := newReplica(videoID, birth, "ingest")
	newCamera(t, original, 10).shoot(t)
	parent, _ := node(t, "ingest", shelve(original), patient)
	for range 2 * handshakeBurst {
		parent.mustProve(nil)
	}
	before := counted(t, parent, "banyan_link_address_checks_total")
	if before == 0 {
		t.Fatalf("%d handshakes at once and none has to prove its address", 2*handshakeBurst)
	}
	parent.unproven.SetLimit(0)   // the flood goes on
	for parent.unproven.Allow() { // what has been saved up since, on a slow machine
	}
	child, _ := node(t, "relay", nil, patient)
	copied := newReplica(videoID, 0)
	follow(t, peer(t, child, parent), 0, nil, copied)
	wantSame(t, original.Log(), copied.Log(), birth)
	if got := counted(t, parent, "banyan_link_address_checks_total"); got <= before {
		t.Error("the child did not have to prove its address")
	}
}

func TestChildrenAreBounded(t *testing.T) {
	limits := patient
	limits.Children = 1
	parent, _ := node(t, "ingest", nil, limits)
	first, _ := node(t, "relay1", nil, patient)
	p := first.Peer("ingest", parent.Addr())
	if err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	second, _ := node(t, "relay2", nil, patient)
	q := peer(t, second, parent)
	err := q.Follow(t.Context(), videoID, 0, nil, newReplica(videoID, 0))
	if !errors.Is(err, ErrSilent) {
		t.Errorf("the second child of a node that takes one: %v, want %q", err, ErrSilent)
	}
	if counted(t, parent, "banyan_link_refused_total") == 0 {
		t.Error("the refusal was not counted")
	}
	p.Close()
	if err := q.Wait(t.Context()); err != nil { // there is room again
		t.Fatal(err)
	}
}

// TestArrivedMeansTheSameEverywhere sends packets that Banyan got an hour ago through three nodes.
func TestArrivedMeansTheSameEverywhere(t *testing.T) {
	first, second, third := newReplica(videoID, birth, "a"), newReplica(videoID, 0), newReplica(videoID, 0)
	a, _ := node(t, "a", shelve(first), patient)
	b, _ := node(t, "b", shelve(second), patient)
	c, _ := node(t, "c", nil, patient)
	if err := first.Begin(media.Params{Codec: media.H264, ClockRate: 90000}); err != nil {
		t.Fatal(err)
	}
	arrived := media.TimeOf(time.Now().Add(-time.Hour))
	for i, at := range []media.Time{arrived, 0} {
		err := first.Write(media.Packet{Offset: birth + int64(i), Flags: media.Keyframe, Arrived: at})
		if err != nil {
			t.Fatal(err)
		}
	}
	follow(t, peer(t, b, a), birth, nil, second)
	follow(t, peer(t, c, b), birth, nil, third)
	eventually(t, "both packets come", func() bool { return third.Log().Head() == birth+2 })
	got := third.Log().Get(birth)
	const near = time.Minute // an hour, give or take what a busy machine takes
	if off := got.Arrived.Sub(arrived); off < -near || off > near {
		t.Errorf("it arrived %v after it did", off)
	}
	if got := third.Log().Get(birth + 1); got.Arrived != 0 {
		t.Errorf("it arrived at %v, which nobody knows", got.Arrived)
	}
}
