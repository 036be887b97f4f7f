package hls

import (
	"slices"
	"sync"
	"time"

	"banyan/relay/media"
)

// timeline keeps the discontinuities of a stream, which all of its renditions must show before the same
// segments (RFC 8216bis section 6.2.4): players find the audio that belongs to a picture by counting
// them. The rendition that something happens to marks the segment; every other then shows the mark, too.
//
// New parameters are the only discontinuity. A track that was away leaves gaps, but what it shows before
// and after them stands where the lengths of segments add up to, in every rendition alike.
//
// A segment that some rendition has shown without a mark cannot get one any more.
//
// Methods are safe for concurrent use.
type timeline struct {
	mu     sync.Mutex
	marks  []int64 // segment numbers, ascending
	before uint64  // marks that have been forgotten
	shown  int64   // the newest segment that a rendition has shown

	resumed media.Time // since when pictures have come without a break
	drawn   media.Time // how far they are
}

// maxMarks bounds what is remembered; far more than fit into any playlist.
const maxMarks = 1024

func newTimeline() *timeline { return &timeline{shown: noSegment} }

// mark asks for a discontinuity before segment k.
func (t *timeline) mark(k int64) (marked bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.marks); n > 0 && t.marks[n-1] >= k {
		return t.marks[n-1] == k
	}
	if k <= t.shown {
		return false
	}
	t.marks = append(t.marks, k)
	if n := len(t.marks) - maxMarks; n > 0 {
		t.marks = slices.Delete(t.marks, 0, n)
		t.before += uint64(n)
	}
	return true
}

// show tells that a rendition is about to list segment k.
func (t *timeline) show(k int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shown = max(t.shown, k)
}

// draw tells that a rendition shows pictures of some media time.
func (t *timeline) draw(from, until media.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if from.Sub(t.drawn) >= silence || from.Sub(t.drawn) < -maxGoingBack {
		t.resumed, t.drawn = from, from
	}
	t.drawn = max(t.drawn, until)
}

// maxGoingBack is how far behind the newest picture of all renditions one may be. What is further back is of
// a clock that was set.
const maxGoingBack = time.Minute

// pictures tells since when they have come without a break, and how far they are.
func (t *timeline) pictures() (since, until media.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.resumed, t.drawn
}

// within lists the marks from segment first to segment last, and how many came before them:
// EXT-X-DISCONTINUITY-SEQUENCE of a playlist that begins with first.
func (t *timeline) within(first, last int64) (marks []int64, sequence uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	from, _ := slices.BinarySearch(t.marks, first)
	to, _ := slices.BinarySearch(t.marks, last+1)
	return slices.Clone(t.marks[from:to]), t.before + uint64(from)
}

// timelines are those of all streams.
type timelines struct {
	mu  sync.Mutex
	all map[media.Name]*timeline
}

func (t *timelines) of(stream media.Name) *timeline {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == nil {
		t.all = map[media.Name]*timeline{}
	}
	if t.all[stream] == nil {
		t.all[stream] = newTimeline()
	}
	return t.all[stream]
}

// prune forgets the streams that keep does not want kept.
func (t *timelines) prune(keep func(media.Name) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name := range t.all {
		if !keep(name) {
			delete(t.all, name)
		}
	}
}
