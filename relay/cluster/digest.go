package cluster

import (
	"encoding/binary"
	"hash/fnv"
	"time"

	"github.com/hashicorp/memberlist"
)

// Gossip reaches every node very probably, not surely, and the next regular exchange may be ten seconds away. So each
// answer to a probe carries a digest of all that the answering node knows, eight bytes. Two nodes that agree do
// nothing. One that finds itself at odds with all whom it probes for a while, longer than news takes to get round,
// exchanges states with one of them out of turn.

const (
	// oddsFor is how long a node must be at odds with the others before it acts.
	oddsFor = 500 * time.Millisecond
	// mendEvery is the least time between two exchanges out of turn in a small cluster. In a large one, where something
	// is always on its way, it is mendEach for each node.
	mendEvery = time.Second
	mendEach  = 10 * time.Millisecond
)

// odds is what a node makes of the digests that it gets.
type odds struct {
	since  time.Time // when the first of an unbroken run of differing digests came; zero if the last one agreed
	mended time.Time // when states were last exchanged for that reason
}

// differs takes in whether a digest differs from ours, and tells whether to exchange states with its sender.
func (o *odds) differs(now time.Time, differs bool, nodes int) bool {
	if !differs {
		o.since = time.Time{}
		return false
	}
	if o.since.IsZero() {
		o.since = now
	}
	if now.Sub(o.since) < oddsFor || now.Sub(o.mended) < max(mendEvery, time.Duration(nodes)*mendEach) {
		return false
	}
	o.since, o.mended = time.Time{}, now
	return true
}

// AckPayload implements memberlist.PingDelegate.
func (d delegate) AckPayload() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return binary.BigEndian.AppendUint64(nil, d.digest())
}

// NotifyPingComplete implements memberlist.PingDelegate.
func (d delegate) NotifyPingComplete(other *memberlist.Node, _ time.Duration, payload []byte) {
	if len(payload) < 8 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	m, known := d.nodes[other.Name]
	if !known {
		return
	}
	if d.odds.differs(time.Now(), binary.BigEndian.Uint64(payload) != d.digest(), len(d.nodes)) {
		d.mend = m.addr
		signal(d.seek)
	}
}

// digest sums up who is alive, what they tell of themselves, and all tracks; with mu held. The order of a sum does not
// matter, so nothing is sorted.
func (c *Cluster) digest() uint64 {
	if c.sum != 0 {
		return c.sum
	}
	sum := metaSum(c.self.Name, c.meta)
	for _, m := range c.nodes {
		sum += m.sum
	}
	var b []byte
	for node, boot := range c.registry.live {
		for _, l := range c.registry.ledgers[node] {
			if l.boot != boot {
				continue
			}
			for id, rec := range l.records {
				if rec.Gone {
					continue
				}
				b = binary.BigEndian.AppendUint64(b[:0], uint64(boot))
				b = binary.BigEndian.AppendUint64(b, rec.Version)
				b = appendString(append(b, byte(id.Kind)), node)
				b = appendString(appendString(b, id.Stream), id.Format)
				sum += hash(b)
			}
		}
	}
	c.sum = sum
	return sum
}

func metaSum(name string, meta []byte) uint64 { return hash(append(appendString(nil, name), meta...)) }

func hash(b []byte) uint64 {
	h := fnv.New64a()
	h.Write(b)
	return h.Sum64()
}
