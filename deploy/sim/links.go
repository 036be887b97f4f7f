package sim

import (
	"banyan/relay/tree"
)

// connect has every edge take what its viewers want.
func (w *world) connect() {
	w.provision(tree.Relay, w.config.RelayRate, w.wanted())
	for e := range w.nodes {
		for t := range w.tracks {
			if w.watched[e][t] > 0 {
				w.attach(w.plan, int32(e), t)
			}
		}
	}
	for t := range w.tracks {
		w.feed(t)
	}
	w.refresh(w.coarse)
}

// feed has the worker that makes a track take the source that it is made of.
func (w *world) feed(t int) {
	source := t - t%w.config.Formats
	if maker := w.tracks[t].birth; t != source && maker != nobody && w.parent[maker][source] == nobody {
		w.attach(w.plan, maker, source)
	}
}

// wanted is what edges take from relays, in bits per second.
func (w *world) wanted() (sum float64) {
	for e := range w.nodes {
		for t := range w.tracks {
			if w.watched[e][t] > 0 {
				sum += w.tracks[t].rate
			}
		}
	}
	return sum
}

// attach has a child take a track from the first of its parents that lives and has room, which takes it in turn from its
// own. It returns the parent; nobody, where there is none.
func (w *world) attach(plan *tree.Plan, child int32, t int) int32 {
	for _, name := range plan.Parents(w.nodes[child].Name, w.tracks[t].id) {
		if p := w.number[name]; w.takes(p, t) {
			w.hang(plan, child, p, t)
			return p
		}
	}
	w.orphans++
	return nobody
}

// takes tells whether a node takes one more child for a track. A birthplace always does.
func (w *world) takes(parent int32, t int) bool {
	return !w.dead[parent] && (parent == w.tracks[t].birth || w.used[parent]+w.tracks[t].rate <= w.room[parent])
}

// hang puts a child below a parent, and sees to it that the parent has the track.
func (w *world) hang(plan *tree.Plan, child, parent int32, t int) {
	w.parent[child][t] = parent
	w.children[parent][t]++
	w.used[parent] += w.tracks[t].rate
	if parent != w.tracks[t].birth && w.parent[parent][t] == nobody {
		w.attach(plan, parent, t)
	}
}

// release takes a child from its parent.
func (w *world) release(child int32, t int) {
	p := w.parent[child][t]
	if p == nobody {
		return
	}
	w.parent[child][t] = nobody
	w.children[p][t]--
	w.used[p] -= w.tracks[t].rate
}

// leave has relays let go of what nobody below them wants any more.
func (w *world) leave() {
	for again := true; again; {
		again = false
		for r := range w.nodes {
			if !w.nodes[r].Has(tree.Relay) {
				continue
			}
			for t := range w.tracks {
				if w.parent[r][t] != nobody && w.children[r][t] == 0 && w.watched[r][t] == 0 {
					w.release(int32(r), t)
					again = true
				}
			}
		}
	}
}

// depth is how many links lie between a node and the birthplace of a track; negative where the way up does not end there, or
// comes round to where it was.
func (w *world) depth(node int32, t int) int {
	for d := range len(w.nodes) {
		if node == w.tracks[t].birth {
			return d
		}
		if node = w.parent[node][t]; node == nobody {
			return -1
		}
	}
	return -1
}
