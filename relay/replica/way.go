package replica

import "time"

// A node may live, gossip and serve, and yet not reach the parents that it has a track from: the line to them alone is
// broken. Its children's links are well, so nothing is silent for them but the track, and a track is silent as well when its
// publisher pauses. The path tells which of both it is: a node that has had no way to the birthplace for cutOff tells
// its children a path of no nodes. Such a child looks for another parent, and follows it beside the one that is
// cut off, as in any move (see settle): it leaves only for one that delivers. So where all parents are cut off, as
// when the birthplace has died, everybody stays where he is, and the track flows again by whichever way is mended first.
//
// Each node waits for cutOff before it tells, but acts at once on what it is told: those below a node that finds
// another parent in this time have no reason to move.

// cutOff is how long a node is without a way to the birthplace before it tells its children. To notice a dead link and to go
// on at the next parent takes less.
const cutOff = 500 * time.Millisecond

// reaches tells whether the parent has a way to the birthplace. What a path has at least is that and this node.
// replica.mu is held.
func (s *sink) reaches() bool { return len(s.path) >= 2 }

// stranded tells whether the parent has said that it has no way to the birthplace. One that has just been asked, and
// may have nobody to ask itself yet, is given time.
func (s *sink) stranded(now time.Time) bool {
	s.replica.mu.Lock()
	defer s.replica.mu.Unlock()
	return s.path != nil && !s.reaches() && (s.reached || now.Sub(s.accepted) >= cutOff)
}

// passOnLocked makes the lead's path that of the replica. One that leads nowhere is not passed on before cutOff (mind).
func (r *replica) passOnLocked(lead *sink) {
	if lead.reaches() {
		r.setPathLocked(lead.path)
	}
}

// mind tells the children when there has been no way to the birthplace for long, and returns when to look again.
func (r *replica) mind(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lead != nil && r.lead.reaches() {
		r.lost = time.Time{}
		return orphaned
	}
	if r.lost.IsZero() {
		r.lost = now
	}
	wait := orphaned
	if r.lead != nil && r.lead.path != nil { // it counts as stranded from then on
		wait = until(r.lead.accepted.Add(cutOff), now, wait)
	}
	told := r.lost.Add(cutOff)
	if !now.Before(told) && r.path != nil {
		r.logger.Info("cut off from the track's birthplace, and children are told", "since", r.lost)
		r.setPathLocked(nil)
	}
	return until(told, now, wait)
}

// until is how long it is to a moment that has not come yet, at most wait.
func until(at, now time.Time, wait time.Duration) time.Duration {
	if left := at.Sub(now); left > 0 {
		return min(left, wait)
	}
	return wait
}
