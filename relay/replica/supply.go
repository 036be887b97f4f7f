package replica

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"banyan/relay"
	"banyan/relay/link"
	"banyan/relay/log"
	"banyan/relay/media"
)

// Links are the connections to other nodes (package link).
type Links interface {
	Peer(name string, addr netip.AddrPort) Peer
}

// Peer is a node that tracks are taken from. It is kept connected until it is closed.
type Peer interface {
	// Follow writes what the peer has of a track to sink, from an offset on (zero: from the newest keyframe),
	// and blocks until that is over.
	Follow(ctx context.Context, id media.TrackID, from int64, below []string, sink link.Sink) error
	Close()
}

// Offers lists the tracks of s that are made on other nodes, or soon will be again.
func (n *Node) Offers(s *relay.Stream) (offers []relay.Offer) {
	v := n.config.Cluster.View()
	for _, t := range slices.Concat(v.Stream(s.Name()), n.lapses.of(v, s.Name(), time.Now())) {
		if t.Node == n.config.Name || s.Local() && t.Source || !n.config.Carries(t.ID.Format) {
			continue
		}
		if slices.ContainsFunc(offers, func(o relay.Offer) bool { return o.Format == t.ID.Format && o.Kind == t.ID.Kind }) {
			continue
		}
		o := relay.Offer{Format: t.ID.Format, Kind: t.ID.Kind, Linger: n.config.Linger, Replica: true}
		if t.Params != nil {
			o.Params = *t.Params
		}
		offers = append(offers, o)
	}
	return offers
}

// Supply replicates a track until ctx ends. It returns earlier where nobody makes the track any more, and where it
// was born again with offsets below those that readers here have seen.
func (n *Node) Supply(ctx context.Context, _ *relay.Stream, o relay.Offer, w *log.Writer) error {
	r := newReplica(n, w.Log().ID(), w)
	r.wanted.Store(n.wishes.take(r.id, time.Now()))
	n.mu.Lock()
	n.replicas[r.id] = r
	close(n.begun)
	n.begun = make(chan struct{})
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.replicas[r.id] == r {
			delete(n.replicas, r.id)
		}
	}()
	return r.run(ctx)
}
