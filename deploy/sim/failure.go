package sim

import (
	"cmp"
	"context"
	"slices"
	"time"

	"banyan/relay/media"
	"banyan/relay/tree"
)

// shock is a failure while it is gone through.
type shock struct {
	*world
	old    *tree.Plan               // what nodes go by that have not learnt of it
	before [][]int32                // parents
	ready  map[[2]int]time.Duration // when a node had a track again, by node and track
	born   map[int]time.Duration    // when a track had a birthplace again, by track
	report *FailureReport
	waits  []time.Duration // of links
	client []time.Duration // waits of viewers
}

// rounds is how many times nodes are told new loads after a failure, until all should be at rest.
const rounds = 4

// fail kills nodes, goes through what follows, and tells of it.
func (w *world) fail(ctx context.Context, kind Failure) (*FailureReport, error) {
	s := &shock{world: w, old: w.plan, ready: map[[2]int]time.Duration{}, born: map[int]time.Duration{}}
	s.report = &FailureReport{Kind: kind}
	for _, parents := range w.parent {
		s.before = append(s.before, slices.Clone(parents))
	}
	s.config.tell("taking away: %s", kind)
	s.kill(kind)
	s.refresh(nil)
	s.bear()
	for _, role := range []tree.Role{tree.Transcoder, tree.Relay, tree.Edge} { // from the top
		s.failOver(role)
	}
	s.report.BrokenPaths += s.broken()
	s.config.tell("viewers who lost their edge come to others")
	if err := s.reseat(ctx); err != nil {
		return nil, err
	}
	s.config.tell("half of the nodes learn of it")
	s.settle(func(node int32) bool { return s.learnt(node) < s.config.Gossip+s.config.Stagger/2 })
	s.report.BrokenPaths += s.broken() // half of the nodes have another view than the others
	s.config.tell("all nodes learn of it")
	s.settle(func(int32) bool { return true })
	s.leave()
	s.refresh(s.coarse)
	s.report.BrokenPaths += s.broken()
	for i := range rounds {
		s.config.tell("new loads are told, round %d of at most %d", i+1, rounds)
		s.report.Later += s.report.Restless
		s.report.Restless = s.settle(func(int32) bool { return true })
		s.leave()
		s.refresh(s.coarse)
		if s.report.Restless == 0 {
			break
		}
	}
	s.count()
	s.report.After = *s.world.report()
	return s.report, nil
}

// learnt is when a node hears that others have died.
func (w *world) learnt(node int32) time.Duration {
	return w.config.Gossip + time.Duration(w.chance("learnt", uint64(node))*float64(w.config.Stagger))
}

// victims are the nodes that a failure kills.
func (w *world) victims(kind Failure) (dead []int32) {
	busiest := func(role tree.Role) int32 {
		most := int32(nobody)
		for i := range w.nodes {
			if w.nodes[i].Has(role) && (most < 0 || w.used[i] > w.used[most]) {
				most = int32(i)
			}
		}
		return most
	}
	switch kind {
	case KillRelay:
		return []int32{busiest(tree.Relay)}
	case KillEdge:
		return []int32{busiest(tree.Edge)}
	}
	bySize := slices.Clone(w.config.Regions)
	slices.SortStableFunc(bySize, func(a, b Region) int { return cmp.Compare(b.Share, a.Share) })
	region := bySize[min(1, len(bySize)-1)].Name
	for i := range w.nodes {
		if kind == KillRegion && w.nodes[i].Region == region || kind == KillThird && w.chance("third", uint64(i)) < 0.3 {
			dead = append(dead, int32(i))
		}
	}
	return dead
}

// kill takes nodes away, and what they took from others.
func (s *shock) kill(kind Failure) {
	for _, d := range s.victims(kind) {
		s.dead[d] = true
		s.report.Dead++
	}
	for d := range s.nodes {
		for t := range s.tracks {
			switch p := s.parent[d][t]; {
			case s.dead[d]:
				s.release(int32(d), t)
			case p != nobody && s.dead[p]:
				s.report.OwnChildren++
			}
		}
	}
}

// bear finds new birthplaces for tracks that have lost theirs: publishers come to another ingest node, and workers take over what
// the tree says.
func (s *shock) bear() {
	for t := range s.tracks {
		track := &s.tracks[t]
		if track.birth == nobody || !s.dead[track.birth] {
			continue
		}
		s.report.LostBirthplaces++
		if track.id.Format == media.Source {
			track.birth = s.anotherIngest(t)
		} else {
			track.birth = nobody
			s.hire(t)
		}
		if track.birth != nobody {
			s.born[t] = s.learnt(track.birth) + s.config.Start
		}
		s.refresh(nil)
	}
	for t := range s.tracks {
		s.feed(t)
	}
}

func (s *shock) anotherIngest(t int) int32 {
	var alive []int32
	for i := range s.nodes {
		if s.nodes[i].Has(tree.Ingest) && !s.dead[i] {
			alive = append(alive, int32(i))
		}
	}
	if len(alive) == 0 {
		return nobody
	}
	return alive[s.lot("again", uint64(t))%uint64(len(alive))]
}

// failOver goes through the children of a role whose parents have died.
func (s *shock) failOver(role tree.Role) {
	for child := range s.nodes {
		if s.dead[child] || !s.nodes[child].Has(role) {
			continue
		}
		for t := range s.tracks {
			p := s.parent[child][t]
			if p == nobody || !s.dead[p] {
				continue
			}
			s.release(int32(child), t)
			at, found := s.reattach(int32(child), p, t)
			if !found {
				s.orphans++
				continue
			}
			s.ready[[2]int{child, t}] = at
			s.waits = append(s.waits, at)
		}
	}
}

// reattach goes down a child's list of parents, from the moment at which it misses the one that it had, and says when it has
// the track again. When it learns of the deaths it goes on with the list that it then has.
func (s *shock) reattach(child, lost int32, t int) (at time.Duration, found bool) {
	learnt := s.learnt(child)
	at = min(s.config.Silence, learnt)
	if born, anew := s.born[t]; anew {
		at = max(learnt, born)
	}
	if at < learnt {
		at, found = s.try(s.old, child, lost, t, at, learnt)
	}
	if !found {
		at, found = s.try(s.plan, child, lost, t, max(at, learnt), 1<<62)
	}
	return at, found
}

// try goes down the list of one plan, until a time.
func (s *shock) try(plan *tree.Plan, child, lost int32, t int, at, until time.Duration) (time.Duration, bool) {
	for i, name := range plan.Parents(s.nodes[child].Name, s.tracks[t].id) {
		p := s.number[name]
		switch {
		case at >= until:
			return at, false
		case p == lost:
			continue
		case s.dead[p]:
			if i > 1 { // the second is warm: that it is silent shows at the same moment
				at += s.config.Silence
			}
			continue
		}
		at += s.roundTrip(child, p)
		if !s.takes(p, t) {
			continue // it said so
		}
		if p != s.tracks[t].birth && s.parent[p][t] == nobody {
			at += s.roundTrip(p, s.tracks[t].birth)
		}
		s.hang(plan, child, p, t)
		return max(at, s.ready[[2]int{int(p), t}]), true
	}
	return at, false
}

// How often viewers ask again who were refused by all edges that they were told of, each time when new loads are known.
const askAgain = 5

// reseat finds edges for the viewers of those that died.
func (s *shock) reseat(ctx context.Context) error {
	a := newAudience(s.world)
	var lost []int
	since := map[int]time.Duration{} // how long each of the lost has been without an edge
	for who, e := range s.viewers {
		if e != nobody && s.dead[e] {
			lost = append(lost, who)
			since[who] = s.config.Client
		}
	}
	s.report.OwnViewers = len(lost)
	refused := s.refused
	known, err := s.ask(ctx, s.old, a, lost)
	if err != nil {
		return err
	}
	for i, who := range lost {
		known[i], since[who] = s.fromBefore(who, known[i])
	}
	for again := 0; again <= askAgain && len(lost) > 0; again++ {
		better, err := s.ask(ctx, s.plan, a, lost)
		if err != nil {
			return err
		}
		s.refused = refused
		var still []int
		for i, who := range lost {
			edges := better[i]
			if again == 0 {
				edges = append(known[i], edges...)
			}
			tried := s.seat(a, who, edges)
			if s.viewers[who] == nobody {
				still = append(still, who)
				since[who] += s.config.Gossip
				continue
			}
			s.report.MovedViewers++
			s.client = append(s.client, since[who]+time.Duration(tried)*s.arrival(a.viewer(who), s.viewers[who]))
		}
		lost = still
		s.refresh(s.coarse)
	}
	s.report.RefusedViewers = len(lost)
	s.want()
	return nil
}

// fromBefore is what a viewer makes of the edges that it was told of before: one that lives, if it finds one before the
// director learns of the deaths; and how long it has been without an edge then.
func (s *shock) fromBefore(who int, known []int32) (edges []int32, at time.Duration) {
	at = s.config.Client
	learnt := s.config.Gossip + time.Duration(s.chance("director", uint64(who))*float64(s.config.Stagger))
	for _, e := range known {
		switch {
		case at >= learnt || e == s.viewers[who]:
		case s.dead[e]:
			at += s.config.Silence
		default:
			return []int32{e}, at
		}
	}
	return nil, max(at, learnt)
}

// want has edges take what they have new viewers for.
func (s *shock) want() {
	for e := range s.nodes {
		for t := range s.tracks {
			if !s.dead[e] && s.watched[e][t] > 0 && s.parent[e][t] == nobody {
				s.attach(s.plan, int32(e), t)
			}
		}
	}
}

// arrival is how long a viewer takes to ask an edge and be answered.
func (s *shock) arrival(v viewer, edge int32) time.Duration {
	if s.nodes[edge].Region == s.config.Regions[v.region].Name {
		return s.config.Near
	}
	return s.config.Far
}

// settle has nodes that know of the deaths go where the new view would have them, and returns how many links moved.
func (s *shock) settle(knows func(node int32) bool) (moves int) {
	for child := range s.nodes {
		for t := range s.tracks {
			p := s.parent[child][t]
			if p == nobody || s.dead[child] || !knows(int32(child)) ||
				s.plan.Stay(s.nodes[child].Name, s.tracks[t].id, s.nodes[p].Name) {
				continue
			}
			s.release(int32(child), t)
			if s.attach(s.plan, int32(child), t) != p {
				moves++
			}
		}
	}
	return moves
}

// broken counts links from which no way leads up to the birthplace.
func (s *shock) broken() (n int) {
	for child := range s.nodes {
		for t := range s.tracks {
			if s.parent[child][t] != nobody && s.depth(int32(child), t) < 0 {
				n++
			}
		}
	}
	return n
}

// count compares parents with those from before.
func (s *shock) count() {
	for child := range s.nodes {
		for t := range s.tracks {
			was, is := s.before[child][t], s.parent[child][t]
			if !s.dead[child] && was != nobody && is != nobody && was != is {
				s.report.Moves++
			}
		}
	}
	s.report.Links, s.report.Viewers = quantiles(s.waits), quantiles(s.client)
}
