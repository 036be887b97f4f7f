package cluster

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"banyan/relay/tree"
)

func TestPartitionHeals(t *testing.T) {
	all := family(t, 4)
	side := map[netip.AddrPort]int{}
	for i, n := range all {
		side[n.Addr()] = i / 2
	}
	for i, n := range all {
		n.net.cut(func(peer netip.AddrPort) bool { s, known := side[peer]; return known && s != i/2 })
		n.Announce([]tree.Track{video(fmt.Sprint("before/", i))})
	}
	for _, n := range all {
		n.eventually("its own half", func(v *tree.View) bool { return len(v.Nodes) == 2 && len(v.Tracks) == 2 })
	}
	for i, n := range all {
		n.Announce([]tree.Track{video(fmt.Sprint("within/", i)), video("both")})
	}
	began := time.Now()
	for _, n := range all {
		n.net.cut(nil)
	}
	for _, n := range all {
		n.eventually("everybody again", func(v *tree.View) bool { return len(v.Nodes) == 4 && len(v.Tracks) == 8 })
	}
	agree(t, all...)
	t.Logf("healed after %v", time.Since(began).Round(time.Millisecond))
}

func TestRestartedNodeIsBelievedAtOnce(t *testing.T) {
	all := family(t, 3)
	old := all[2]
	old.Announce([]tree.Track{video("old/1"), video("old/2")})
	all[0].eventually("the tracks", tracks(2))
	addr := old.Addr()
	// A crash: the sockets close without a word, and the next life comes at once.
	old.kill()
	old.transport.Shutdown()
	for _, c := range []struct {
		name  string
		place option
	}{{"same address", at(addr)}, {"other address", at(netip.MustParseAddrPort("127.0.0.1:0"))}} {
		next := start(t, "n2", joining(all[0]), c.place)
		next.Announce([]tree.Track{video("new/1")})
		began := time.Now()
		for _, n := range all[:2] {
			n.eventually("the next life", func(v *tree.View) bool {
				return len(v.Nodes) == 3 && len(v.Tracks) == 1 && v.Tracks[0].ID == video("new/1").ID && v.Node("n2").Boot == next.View().Node("n2").Boot
			})
		}
		t.Logf("%s: believed after %v", c.name, time.Since(began).Round(time.Millisecond))
		next.kill()
		next.transport.Shutdown()
	}
}

// A clock that was set back makes a node no older than its former life.
func TestClockSetBack(t *testing.T) {
	seed := start(t, "seed")
	past := start(t, "n", joining(seed))
	past.mu.Lock()
	past.self.Boot += int64(time.Hour)
	past.meta, _ = encodeMeta(&past.self)
	past.registry.rename(past.self.Boot)
	past.mu.Unlock()
	signal(past.tell)
	seed.eventually("a node of an hour ahead", func(v *tree.View) bool {
		n := v.Node("n")
		return n != nil && n.Boot > time.Now().UnixNano()
	})
	addr := past.Addr()
	past.kill()
	past.transport.Shutdown()
	next := start(t, "n", joining(seed), at(addr))
	next.Announce([]tree.Track{video("x")})
	seed.eventually("its next life", func(v *tree.View) bool {
		return len(v.Tracks) == 1 && v.Node("n").Boot > past.self.Boot
	})
}

func TestNameTaken(t *testing.T) {
	all := family(t, 3)
	all[1].Announce([]tree.Track{video("cup/cam1")})
	twin := start(t, "n1", joining(all[0]))
	twin.mu.Lock() // its clock is an hour behind: that does not make it the elder
	if !twin.joined {
		twin.self.Boot -= int64(time.Hour)
		twin.meta, _ = encodeMeta(&twin.self)
		twin.registry.rename(twin.self.Boot)
	}
	twin.mu.Unlock()
	twin.Announce([]tree.Track{video("cup/cam2")})
	select {
	case <-twin.done:
	case <-time.After(patience):
		t.Fatal("both nodes go on with one name")
	}
	if !errors.Is(twin.err, ErrNameTaken) || !strings.Contains(twin.err.Error(), "node.name") {
		t.Errorf("the younger node ended with %v, want ErrNameTaken and what to do", twin.err)
	}
	select {
	case <-all[1].done:
		t.Error("the elder node ended, too")
	default:
	}
	for _, n := range all {
		n.eventually("the elder node and its track", func(v *tree.View) bool {
			return len(v.Nodes) == 3 && len(v.Tracks) == 1 && v.Tracks[0].ID == video("cup/cam1").ID
		})
	}
}

func TestManyTracks(t *testing.T) {
	all := family(t, 3)
	var ids []int
	for i := range 500 {
		ids = append(ids, i)
	}
	for round, want := range [][]int{ids, nil, ids[:100], ids[50:], ids} {
		began := time.Now()
		all[1].Announce(testTracks(want...))
		for _, n := range all {
			n.eventually(fmt.Sprintf("round %d", round), tracks(len(want)))
		}
		t.Logf("%d tracks after %v", len(want), time.Since(began).Round(time.Millisecond))
	}
	agree(t, all...)
	queued := all[1].queue.NumQueued()
	all[1].Announce(testTracks(ids...))
	if n := all[1].queue.NumQueued(); n > queued {
		t.Error("tracks that did not change were announced again")
	}
}

func TestStrangersStayOutside(t *testing.T) {
	for name, stranger := range map[string]option{
		"wrong key": keyed("some other key that nobody knows"),
		"no key":    keyed(),
		"old key":   keyed("the key that was used until last year"),
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			inside := family(t, 2)
			outside := start(t, "stranger", stranger, joining(inside...))
			outside.Announce([]tree.Track{video("evil")})
			outside.eventuallyRefused()
			// It also speaks bare memberlist, sealed with the right key as memberlist would, and in the clear.
			for _, key := range [][]byte{nil, testKey[:32]} {
				if n, err := bareJoin(t, key, inside[0].Addr()); n > 0 || err == nil {
					t.Error("a bare memberlist could join")
				}
			}
			for _, n := range inside {
				if v := n.View(); len(v.Nodes) != 2 || len(v.Tracks) != 0 {
					t.Errorf("%s sees %s", n.self.Name, describe(v))
				}
			}
			if v := outside.View(); len(v.Nodes) != 1 {
				t.Errorf("the stranger sees %s", describe(v))
			}
		})
	}
}

// eventuallyRefused waits until the node has tried to join and was refused a few times.
func (n *testNode) eventuallyRefused() {
	n.t.Helper()
	for end := time.Now().Add(patience); counterValue(n.metrics.joins.WithLabelValues("failed")) < 3; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			n.t.Fatal("it was never refused")
		}
	}
}

func bareJoin(t *testing.T, key []byte, addr netip.AddrPort) (int, error) {
	m := memberlist.DefaultLocalConfig()
	m.Name, m.BindAddr, m.BindPort, m.AdvertisePort = "bare", "127.0.0.1", 0, 0
	m.SecretKey, m.LogOutput = key, testLog{t}
	list, err := memberlist.Create(m)
	if err != nil {
		t.Fatal(err)
	}
	defer list.Shutdown()
	return list.Join([]string{addr.String()})
}

// Everything that a node ever received is sent to it again, and to the node that follows it.
func TestReplayChangesNothing(t *testing.T) {
	var mu sync.Mutex
	var recorded [][]byte
	seed := start(t, "seed")
	victim := start(t, "victim", joining(seed), func(c *Config) {
		c.network.(*faulty).record = func(_ netip.AddrPort, b []byte) {
			mu.Lock()
			defer mu.Unlock()
			if len(recorded) < 2000 {
				recorded = append(recorded, b)
			}
		}
	})
	gone := start(t, "gone", joining(seed))
	gone.Announce([]tree.Track{video("gone/1")})
	victim.eventually("the track", tracks(1))
	gone.Announce([]tree.Track{video("gone/2")})
	victim.eventually("the next track", func(v *tree.View) bool { return len(v.Tracks) == 1 && v.Tracks[0].ID == video("gone/2").ID })
	gone.stop()
	victim.eventually("it gone", nodes(2))
	replay := func(to *testNode) {
		t.Helper()
		conn, err := net.Dial("udp", to.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		mu.Lock()
		all := slices.Clone(recorded)
		mu.Unlock()
		changed := to.Changed()
		for i, b := range all {
			conn.Write(b)
			if i%64 == 0 {
				time.Sleep(time.Millisecond) // not to overrun the socket
			}
		}
		select {
		case <-changed:
			t.Errorf("a replay changed the view to %s", describe(to.View()))
		case <-time.After(200 * time.Millisecond):
		}
	}
	replay(victim)
	if counterValue(victim.metrics.refusals.WithLabelValues(string(refusedReplay))) == 0 {
		t.Error("no replay was counted")
	}
	addr := victim.Addr()
	victim.stop()
	next := start(t, "victim", joining(seed), at(addr))
	next.eventually("the seed", nodes(2))
	seed.eventually("the victim", nodes(2))
	replay(next)
	if len(recorded) == 0 {
		t.Fatal("nothing was recorded")
	}
}

func TestKeyRolls(t *testing.T) {
	const old, fresh = "the old key of the cluster", "the new key of the cluster"
	steps := [][]string{{old}, {old, fresh}, {fresh, old}, {fresh}}
	// Any two nodes that are one step apart are in one cluster.
	for i := 1; i < len(steps); i++ {
		a := start(t, "a", keyed(steps[i-1]...))
		b := start(t, "b", keyed(steps[i]...), joining(a))
		b.Announce([]tree.Track{video("x")})
		a.eventually("the track", tracks(1))
		b.eventually("the other", nodes(2))
		b.stop()
		a.stop()
	}
}
