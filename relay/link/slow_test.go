package link

import (
	"runtime"
	"testing"
	"time"

	"banyan/relay/media"
)

// TestSlowChildren has children that never read beside one that does. Those lose groups, which are counted; that one
// loses nothing, and memory does not grow with what is not read.
func TestSlowChildren(t *testing.T) {
	limits := patient
	limits.Stale = 50 * time.Millisecond
	original := newReplica(videoID, birth, "ingest")
	parent, _ := node(t, "ingest", shelve(original), limits)
	good, _ := node(t, "relay", nil, patient)
	c := newCamera(t, original, 10)
	c.size = 10_000
	copied := newReplica(videoID, 0)
	follow(t, peer(t, good, parent), birth, nil, copied)
	for range 3 {
		s := child(t, parent)
		s.beat()
		s.send(frameSubscribe, subscribe{sub: 1, id: videoID}.append(nil))
		s.want(frameAccepted)
	}
	eventually(t, "four children are served", func() bool { return original.readers() == 4 })
	before := memory()
	for end := time.Now().Add(4 * soon); counted(t, parent, "banyan_link_stale_groups_total") < 9; {
		for range 10 { // a group of 300 kB
			c.shoot(t)
		}
		if time.Now().After(end) {
			t.Fatal("children that do not read make no group stale")
		}
		eventually(t, "the good child keeps up", func() bool { return copied.Log().Head() == c.next })
	}
	wantSame(t, original.Log(), copied.Log(), original.Log().Tail())
	const most = 160 << 20 // two windows of 32 MiB each, and what lies in buffers
	if grown := memory() - before; grown > most {
		t.Errorf("memory grew by %d MiB, want at most %d", grown>>20, most>>20)
	}
}

func memory() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestStale asks the policy alone.
func TestStale(t *testing.T) {
	r := newReplica(videoID, birth)
	c := newCamera(t, r, 10)
	for range 25 {
		c.shoot(t)
	}
	now := time.Now()
	const most = 500 * time.Millisecond
	n := &Node{limits: Limits{Stale: most}}
	at := func(ago time.Duration) media.Time { return media.TimeOf(now.Add(-ago)) }
	for _, c := range []struct {
		name    string
		offset  int64         // read last
		least   time.Duration // that it was behind
		unlevel time.Duration // since it had caught up
		arrived media.Time
		want    bool
	}{
		{"fresh", birth, 0, 0, at(0), false},
		{"behind, and falling", birth, 0, time.Second, at(time.Second), true},
		{"behind by its own wish", birth, 10 * time.Second, 5 * time.Second, at(9 * time.Second), false},
		{"news that came late to the parent", birth, 0, time.Millisecond, at(3 * time.Second), false},
		{"nothing newer", birth + 20*3, 0, time.Minute, at(time.Minute), false},
		{"nobody knows when it came", birth, 0, time.Minute, 0, false},
	} {
		s := &serving{link: &downlink{conn: &conn{node: n}}, wish: Wish{From: c.offset}, lag: c.least}
		if err := s.place(r.Log()); err != nil {
			t.Fatal(err)
		}
		s.cursor.Next()
		s.lag, s.level = c.least, now.Add(-c.unlevel)
		if got := s.stale(c.arrived, now); got != c.want {
			t.Errorf("%s: stale is %v, want %v", c.name, got, c.want)
		}
	}
}
