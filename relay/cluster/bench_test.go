package cluster

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"banyan/relay/tree"
)

// bigCluster is a node that knows 10,000 others with 10,000 tracks.
func bigCluster(b *testing.B) *Cluster {
	b.Helper()
	c, err := New(Config{Self: tree.Node{Name: "self"}})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 10_000 {
		name := fmt.Sprint("node", i)
		n := fullNode()
		n.Name = name
		meta, err := encodeMeta(&n)
		if err != nil {
			b.Fatal(err)
		}
		c.nodes[name] = member{node: n, sum: metaSum(name, meta)}
		c.registry.alive(name, n.Boot)
		c.registry.hear(name, n.Boot, record{Version: 1, Track: video(fmt.Sprint("cup/", i))})
	}
	return c
}

// BenchmarkView is what a change of the cluster costs before anybody looks at it.
func BenchmarkView(b *testing.B) {
	c := bigCluster(b)
	for b.Loop() {
		c.mu.Lock()
		c.touch()
		c.mu.Unlock()
		c.View()
	}
}

// BenchmarkDigest is what the first answer to a probe costs after a change.
func BenchmarkDigest(b *testing.B) {
	c := bigCluster(b)
	for b.Loop() {
		c.mu.Lock()
		c.touch()
		c.digest()
		c.mu.Unlock()
	}
}

// BenchmarkExchange is what an exchange of states costs both ends, memberlist's part apart.
func BenchmarkExchange(b *testing.B) {
	c := bigCluster(b)
	to := newRegistry("other", 1)
	bytes := 0
	for b.Loop() {
		state := encodeState(c.registry.state())
		bytes = len(state)
		if err := decodeState(state, func(a announcement) { to.merge(a) }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(bytes), "B/state")
}

// BenchmarkAnnounce is what it costs to announce 500 tracks of which none has changed.
func BenchmarkAnnounce(b *testing.B) {
	c, err := New(Config{Self: tree.Node{Name: "self"}})
	if err != nil {
		b.Fatal(err)
	}
	var ids []int
	for i := range 500 {
		ids = append(ids, i)
	}
	all := testTracks(ids...)
	for b.Loop() {
		c.Announce(all)
	}
}

// BenchmarkPacket is what a gossip packet costs to seal and to open.
func BenchmarkPacket(b *testing.B) {
	keys, err := deriveKeys([][]byte{testKey})
	if err != nil {
		b.Fatal(err)
	}
	from, to := newPackets(keys), newPackets(keys)
	w := &wire{ends: map[netip.AddrPort]*packets{addrA: from, addrB: to}}
	w.send(epoch, addrA, addrB, "hello")
	payload := make([]byte, maxPayload)
	b.SetBytes(int64(len(payload)))
	for b.Loop() {
		out, _ := from.send(epoch, addrB, payload)
		if got, _, why := to.receive(epoch, addrA, out[0].buf); len(got) != len(payload) {
			b.Fatal(why)
		}
	}
}

// BenchmarkStrangerPacket is what a packet with another key costs, with two keys of our own to try.
func BenchmarkStrangerPacket(b *testing.B) {
	keys, err := deriveKeys([][]byte{testKey, []byte(keyOne)})
	if err != nil {
		b.Fatal(err)
	}
	p := newPackets(keys)
	stranger := make([]byte, maxDatagram)
	stranger[0] = typeData
	for b.Loop() {
		p.receive(time.Time{}, addrA, stranger)
	}
}
