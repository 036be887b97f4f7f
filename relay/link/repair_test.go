package link

import (
	"testing"
	"time"

	"banyan/relay/media"
)

// TestLatePacketsTravel fills a hole of the parent's log after the child has read past it.
func TestLatePacketsTravel(t *testing.T) {
	original := newReplica(videoID, birth, "ingest")
	parent, _ := node(t, "ingest", shelve(original), patient)
	child, _ := node(t, "relay", nil, patient)
	c := newCamera(t, original, 10)
	copied := newReplica(videoID, 0)
	follow(t, peer(t, child, parent), birth, nil, copied)
	c.shoot(t)
	lost := c.next
	ticks := c.ticks
	c.next += 5
	c.shoot(t)
	eventually(t, "the child is past the hole", func() bool { return copied.Log().Head() == c.next })
	for _, i := range []int64{3, 0, 1, 4} { // 2 never comes
		err := original.Write(media.Packet{Offset: lost + i, Ticks: ticks, Payload: []byte{byte(i)}, Arrived: media.TimeOf(time.Now())})
		if err != nil {
			t.Fatal(err)
		}
	}
	c.shoot(t)
	eventually(t, "the hole is filled", func() bool {
		for _, i := range []int64{0, 1, 3, 4} {
			if copied.Log().Get(lost+i) == nil {
				return false
			}
		}
		return true
	})
	wantSame(t, original.Log(), copied.Log(), birth)
}

func TestHolesAreBounded(t *testing.T) {
	r := newReplica(videoID, birth)
	newCamera(t, r, 10).shoot(t)
	var h holes
	now := time.Now()
	for i := range int64(1000) {
		h.note(birth+10+i*10, birth+15+i*10, now)
	}
	h.note(birth, birth+maxHoleWidth+1, now)
	if len(h) > maxHoles {
		t.Errorf("%d holes are remembered, want at most %d", len(h), maxHoles)
	}
	if got := h.take(r.Log(), now); got != nil {
		t.Errorf("packets that never came were found: %v", got)
	}
	h.take(r.Log(), now.Add(resumeSpan+1))
	if len(h) != 0 {
		t.Errorf("%d holes are remembered for longer than %v", len(h), resumeSpan)
	}
}
