package replica

import (
	"context"
	"maps"
	"sync"
	"time"

	"banyan/relay/link"
	"banyan/relay/media"
	"banyan/relay/tree"
)

const (
	// notice is how long a node that drains waits at least: gossip that it does so takes its time, and others make
	// known only then what they take over.
	notice = 2 * time.Second
	// calm is how long nobody must read what could be had elsewhere: a child that was told to go may be back, until it
	// has found another parent.
	calm = 500 * time.Millisecond
	// comeback is how long a child that has left counts as one that was there.
	comeback = 2 * time.Second
)

// Drain refuses new children from now on, but not those who come back, nor those of tracks that nobody else makes. It
// returns when no child reads anything here that it could have from another node, or when ctx ends. What is read goes
// on. The cluster must have been told that the node drains.
func (n *Node) Drain(ctx context.Context) {
	if !n.children.drain() {
		return // nobody would notice
	}
	began, busy := time.Now(), time.Now()
	tick := time.NewTicker(settle)
	defer tick.Stop()
	for time.Since(began) < notice || time.Since(busy) < calm {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, id := range n.children.tracks() {
			if n.elsewhere(id) {
				busy = time.Now()
				break
			}
		}
	}
}

// elsewhere tells whether a track can be had from another node.
func (n *Node) elsewhere(id media.TrackID) bool {
	birthplace, known := tree.Birthplace(n.config.Cluster.View(), id)
	return known && birthplace != n.config.Name
}

// child is a node that reads a track here.
type child struct {
	name string
	id   media.TrackID
}

// children are those of a node. The zero value is ready to use.
type children struct {
	mu       sync.Mutex // guards the fields below
	draining bool
	gate     tree.Gate
	full     bool // what the gate said last
	reading  map[child]int
	left     map[child]time.Time // those that left within comeback, while draining or full
}

// drain lets nobody new in from now on, and tells whether there is anybody.
func (c *children) drain() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	return len(c.reading) > 0
}

// refuse tells why a child may not come; nil if it may, as all may who are there or lately were. load is that of the node,
// from 0 to 1.
func (c *children) refuse(who child, load float64, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.full = c.gate.Shut(load)
	left, was := c.left[who]
	switch {
	case c.reading[who] > 0, was && now.Sub(left) < comeback:
		return nil
	case c.draining:
		return link.ErrDraining
	case c.full:
		return link.ErrFull
	}
	return nil
}

func (c *children) come(who child) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reading == nil {
		c.reading, c.left = map[child]int{}, map[child]time.Time{}
	}
	c.reading[who]++
}

func (c *children) leave(who child, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reading[who]--; c.reading[who] > 0 {
		return
	}
	delete(c.reading, who)
	if c.draining || c.full {
		c.left[who] = now
		maps.DeleteFunc(c.left, func(_ child, at time.Time) bool { return now.Sub(at) >= comeback })
	}
}

// tracks lists what is read.
func (c *children) tracks() []media.TrackID {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]media.TrackID, 0, len(c.reading))
	for who := range c.reading {
		list = append(list, who.id)
	}
	return list
}
