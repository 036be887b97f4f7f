package ingest

// numbering maps the extended sequence numbers of a publisher to the offsets of a log. Between two
// steps the distance is constant, so that a lost packet leaves a hole exactly where a late one will
// look for it; a packet left out on purpose closes up what follows, an inserted one moves it on.
//
// The latest steps are remembered, as a late packet belongs where the distance of its time says.
type numbering struct {
	steps [stepsKept]step // a ring
	n     int             // steps ever taken
}

// step says that offset = sequence + shift from a sequence number on.
type step struct{ from, shift int64 }

// stepsKept outlasts what can still come late: a step or two per keyframe, and padding in bursts,
// which take one step together.
const stepsKept = 64

// begin starts over: sequence has the given offset.
func (n *numbering) begin(sequence, offset int64) {
	n.n = 0
	n.push(step{from: sequence, shift: offset - sequence})
}

// offset is where the packet with the given sequence number belongs; ok is false where nobody knows
// any more, or it is from before the beginning.
func (n *numbering) offset(sequence int64) (offset int64, ok bool) {
	for i := n.n - 1; i >= 0 && i >= n.n-stepsKept; i-- {
		if s := n.steps[i%stepsKept]; sequence >= s.from {
			return sequence + s.shift, true
		}
	}
	return 0, false
}

// leaveOut closes up the numbering behind a packet that gets no offset.
func (n *numbering) leaveOut(sequence int64) {
	n.move(sequence, step{from: sequence + 1, shift: n.last().shift - 1})
}

// insert makes room in front of a packet and returns the offset of that room.
func (n *numbering) insert(sequence int64) int64 {
	shift := n.last().shift
	n.move(sequence, step{from: sequence, shift: shift + 1})
	return sequence + shift
}

// move takes a step. One that begins at sequence, of which nothing has been used, is replaced.
func (n *numbering) move(sequence int64, s step) {
	if n.last().from == sequence && n.n > 1 {
		n.n--
	}
	n.push(s)
}

func (n *numbering) last() step { return n.steps[(n.n-1)%stepsKept] }

func (n *numbering) push(s step) {
	n.steps[n.n%stepsKept] = s
	n.n++
}
