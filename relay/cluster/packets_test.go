package cluster

import (
	"bytes"
	"crypto/rand"
	"maps"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	addrA = netip.MustParseAddrPort("192.0.2.1:7946")
	addrB = netip.MustParseAddrPort("192.0.2.2:7946")
	epoch = time.Unix(1_000_000, 0)
)

func testPackets(t *testing.T, secrets ...string) *packets {
	t.Helper()
	var all [][]byte
	for _, s := range secrets {
		all = append(all, []byte(s))
	}
	keys, err := deriveKeys(all)
	if err != nil {
		t.Fatal(err)
	}
	return newPackets(keys)
}

// wire carries datagrams between packets until none is under way, and collects what arrives and what is refused.
type wire struct {
	ends    map[netip.AddrPort]*packets
	seen    []datagram // all that went over the line, with its sender in from
	from    []netip.AddrPort
	got     []string
	refused []refusal
}

func (w *wire) carry(now time.Time, from netip.AddrPort, out []datagram) {
	for _, d := range out {
		w.seen, w.from = append(w.seen, d), append(w.from, from)
		end := w.ends[d.to]
		if end == nil {
			continue
		}
		payload, answers, why := end.receive(now, from, d.buf)
		if why != "" {
			w.refused = append(w.refused, why)
		}
		if payload != nil {
			w.got = append(w.got, string(payload))
		}
		w.carry(now, d.to, answers)
	}
}

func (w *wire) send(now time.Time, from, to netip.AddrPort, payload string) {
	out, _ := w.ends[from].send(now, to, []byte(payload))
	w.carry(now, from, out)
}

func (w *wire) want(t *testing.T, why string, got ...string) {
	t.Helper()
	if len(w.got) != len(got) {
		t.Fatalf("%s: %q arrived, want %q; refused: %v", why, w.got, got, w.refused)
	}
	for i := range got {
		if w.got[i] != got[i] {
			t.Fatalf("%s: %q arrived, want %q", why, w.got, got)
		}
	}
	w.got = nil
}

const keyOne, keyTwo = "the first key of the tests", "the second key of the tests"

func TestFirstPacketArrives(t *testing.T) {
	w := &wire{ends: map[netip.AddrPort]*packets{addrA: testPackets(t, keyOne), addrB: testPackets(t, keyOne)}}
	w.send(epoch, addrA, addrB, "one")
	w.want(t, "a hello goes before it", "one")
	w.send(epoch, addrA, addrB, "two")
	w.send(epoch, addrB, addrA, "three")
	w.want(t, "both know each other", "two", "three")
	for _, d := range w.seen {
		if bytes.Contains(d.buf, []byte("one")) || bytes.Contains(d.buf, []byte("three")) {
			t.Error("a payload is readable on the line")
		}
	}
}

func TestReplayedPacketsAreRefused(t *testing.T) {
	w := &wire{ends: map[netip.AddrPort]*packets{addrA: testPackets(t, keyOne), addrB: testPackets(t, keyOne)}}
	for _, s := range []string{"one", "two", "three"} {
		w.send(epoch, addrA, addrB, s)
	}
	w.want(t, "first time", "one", "two", "three")
	recorded, from := w.seen, w.from
	again := func(why string) {
		t.Helper()
		for i, d := range recorded {
			w.carry(epoch.Add(time.Second), from[i], []datagram{d})
			w.carry(epoch.Add(time.Second), netip.MustParseAddrPort("192.0.2.66:1"), []datagram{d})
			w.carry(epoch.Add(time.Second), from[i], []datagram{{addrA, d.buf}}) // for another than it was made for
		}
		w.want(t, why)
	}
	again("replayed to the same process")
	w.ends[addrB] = testPackets(t, keyOne)
	again("replayed to the next process at the address")
	w.send(epoch.Add(2*time.Second), addrA, addrB, "perhaps lost") // made for the former process, unless the replays made B ask
	w.got = nil
	w.send(epoch.Add(2*time.Second), addrA, addrB, "four")
	w.want(t, "B asked, so A did", "four")
	again("replayed once more")
}

func TestOtherKeysAreRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b []string
		ok   bool
	}{
		{"same", []string{keyOne}, []string{keyOne}, true},
		{"wrong", []string{keyTwo}, []string{keyOne}, false},
		{"old", []string{keyOne}, []string{keyTwo}, false},
		{"rolling, step one", []string{keyOne, keyTwo}, []string{keyOne}, true},
		{"rolling, step two", []string{keyOne, keyTwo}, []string{keyTwo, keyOne}, true},
		{"rolling, step three", []string{keyTwo}, []string{keyTwo, keyOne}, true},
	} {
		w := &wire{ends: map[netip.AddrPort]*packets{addrA: testPackets(t, c.a...), addrB: testPackets(t, c.b...)}}
		w.send(epoch, addrA, addrB, "one")
		w.send(epoch, addrB, addrA, "two")
		if c.ok {
			w.want(t, c.name, "one", "two")
		} else {
			w.want(t, c.name)
		}
	}
}

func TestWaitingIsBounded(t *testing.T) {
	p := testPackets(t, keyOne)
	hellos, dropped := 0, 0
	for i := range 1000 {
		out, n := p.send(epoch.Add(time.Duration(i)*time.Millisecond), addrB, []byte("nobody is there"))
		hellos += len(out)
		dropped += n
	}
	if c := p.peers[addrB]; len(c.waiting) > maxWaiting || hellos > 11 || dropped != 1000-maxWaiting {
		t.Errorf("%d packets wait, %d hellos went out, %d were dropped; want %d, 10, the rest", len(c.waiting), hellos, dropped, maxWaiting)
	}
	for i := range 3 * maxNodes {
		ip := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		p.send(epoch, netip.AddrPortFrom(ip, 1), []byte("x"))
	}
	if len(p.peers) > maxNodes || len(p.asked) > maxNodes {
		t.Errorf("%d peers and %d questions are kept, want at most %d", len(p.peers), len(p.asked), maxNodes)
	}
}

func TestForgettingSendersForgetsWhatTheySent(t *testing.T) {
	a, b := testPackets(t, keyOne), testPackets(t, keyOne)
	w := &wire{ends: map[netip.AddrPort]*packets{addrA: a, addrB: b}}
	w.send(epoch, addrA, addrB, "one")
	w.want(t, "first time", "one")
	recorded := w.seen
	for len(b.heard) < maxSessions {
		var id session
		rand.Read(id[:])
		b.heard[id] = &sender{}
	}
	before := b.own
	w.ends[netip.MustParseAddrPort("192.0.2.3:1")] = testPackets(t, keyOne)
	w.send(epoch, netip.MustParseAddrPort("192.0.2.3:1"), addrB, "one too many")
	if b.own == before || len(b.heard) > 1 {
		t.Fatal("a receiver that is full did not begin anew")
	}
	w.got = nil
	for _, d := range recorded {
		w.carry(epoch, addrA, []datagram{d})
	}
	w.want(t, "what was sent before it forgot")
}

func TestWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		seen := map[uint64]bool{}
		top := uint64(0)
		for range rapid.IntRange(1, 400).Draw(t, "count") {
			step := rapid.OneOf(rapid.Int64Range(-50, 50), rapid.Int64Range(-3000, 3000)).Draw(t, "step")
			n := uint64(max(int64(top)+step, 0))
			want := n > 0 && !seen[n] && n+windowBits > top
			if got := w.fresh(n); got != want {
				t.Fatalf("number %d after %d: fresh is %v, want %v", n, top, got, want)
			}
			if want {
				seen[n] = true
			}
			top = max(top, n)
		}
	})
}

func FuzzPackets(f *testing.F) {
	keys, err := deriveKeys([][]byte{[]byte(keyOne)})
	if err != nil {
		f.Fatal(err)
	}
	a, b := newPackets(keys), newPackets(keys)
	w := &wire{ends: map[netip.AddrPort]*packets{addrA: a, addrB: b}}
	w.send(epoch, addrA, addrB, "one")
	for _, d := range w.seen {
		f.Add(d.buf)
	}
	f.Add(bytes.Repeat([]byte{3}, overhead))
	f.Fuzz(func(t *testing.T, buf []byte) {
		// Only what A or B sealed opens, and that is a replay by now, or a hello.
		if payload, _, why := b.receive(epoch, addrA, buf); payload != nil || why == "" && buf[0] == typeData {
			t.Fatalf("%x was taken for a packet", buf)
		}
	})
}

// TestReplaysFromEverywhere sends a packet for the process before this one again, from more sources than there is room
// for: nobody is forgotten for them.
func TestReplaysFromEverywhere(t *testing.T) {
	w := &wire{ends: map[netip.AddrPort]*packets{addrA: testPackets(t, keyOne), addrB: testPackets(t, keyOne)}}
	w.send(epoch, addrA, addrB, "one")
	recorded := w.seen[len(w.seen)-1]
	next := testPackets(t, keyOne)
	w.ends[addrB] = next
	w.send(epoch, addrB, addrA, "two")
	strangers := netip.MustParseAddr("10.0.0.0")
	var full map[netip.AddrPort]*correspondent
	for i := range maxNodes + 100 {
		if i == maxNodes {
			full = maps.Clone(next.peers)
		}
		strangers = strangers.Next()
		if _, _, why := next.receive(epoch, netip.AddrPortFrom(strangers, 1), recorded.buf); why != refusedSession {
			t.Fatalf("refused as %q, want %q", why, refusedSession)
		}
	}
	if full[addrA] == nil || len(full) != maxNodes || !maps.Equal(next.peers, full) {
		t.Errorf("peers were forgotten for strangers, or too many are known: %d", len(next.peers))
	}
}
