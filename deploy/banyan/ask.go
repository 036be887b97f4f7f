package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"banyan/deploy/api"
	"banyan/relay/link"
)

// askedFor is how long links to nodes are kept that were asked how they are: from one look of an open page at /ops to the
// next, so that not each look costs a handshake with every node.
const askedFor = 10 * time.Second

// asked are links to nodes that were asked lately, as many as an answer has nodes. The zero value is ready to use.
type asked struct {
	mu    sync.Mutex
	peers map[askedNode]askedPeer
	over  bool // run has ended
}

type askedNode struct {
	name string
	addr netip.AddrPort
}

type askedPeer struct {
	peer *link.Peer
	at   time.Time // when it was asked last
}

// keep holds the link to a node for a while longer.
func (a *asked) keep(node askedNode, links *link.Node, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return
	}
	if a.peers == nil {
		a.peers = map[askedNode]askedPeer{}
	}
	known, held := a.peers[node]
	if !held {
		known.peer = links.Peer(node.name, node.addr)
	}
	known.at = now
	a.peers[node] = known
}

// run lets go of links that nobody asks by any more, and of all when ctx ends.
func (a *asked) run(ctx context.Context) error {
	tick := time.NewTicker(askedFor / 2)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			a.drop(func(p askedPeer) bool { return now.Sub(p.at) >= askedFor })
		case <-ctx.Done():
			a.mu.Lock()
			a.over = true
			a.mu.Unlock()
			a.drop(func(askedPeer) bool { return true })
			return nil
		}
	}
}

// drop closes links, each of which takes a moment.
func (a *asked) drop(which func(askedPeer) bool) {
	var closing []*link.Peer
	a.mu.Lock()
	for node, p := range a.peers {
		if which(p) {
			closing = append(closing, p.peer)
			delete(a.peers, node)
		}
	}
	a.mu.Unlock()
	for _, p := range closing {
		p.Close()
	}
}

// ask asks a node how it is, over the link to it.
func (f *fabric) ask(ctx context.Context, name string) ([]byte, error) {
	n := f.cluster.View().Node(name)
	if n == nil || !n.Link.IsValid() {
		return nil, fmt.Errorf("node %q is not there", name)
	}
	node := askedNode{name, n.Link}
	f.asked.keep(node, f.link, time.Now())
	peer := f.link.Peer(node.name, node.addr)
	defer peer.Close()
	state, err := peer.Ask(ctx)
	if errors.Is(err, link.ErrOld) {
		err = fmt.Errorf("%w: %w", api.ErrOld, err)
	}
	return state, err
}
