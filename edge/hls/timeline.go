package hls

import (
	"slices"
	"sync"
	"time"

	"banyan/relay/media"
)

// timeline keeps the discontinuities of a stream, which all of its renditions must show before the same
// segments (RFC 8216bis section 6.2.4): players find the audio that belongs to a picture by counting
// them. They are the stream's breaks (media.Break), which its tracks carry: where they are and how many there were
// before is the same on every node, since whenever it reads. What only one format has of its own, such as another
// encoder's parameters, has an EXT-X-MAP and no discontinuity.
//
// New parameters are the only discontinuity. A track that was away leaves gaps, but what it shows before
// and after them stands where the lengths of segments add up to, in every rendition alike.
//
// Methods are safe for concurrent use.
type timeline struct {
	mu     sync.Mutex
	number uint32  // of the newest break; zero while none is known
	marks  []int64 // segments that have a discontinuity before them, ascending; the last is that of number
	shown  int64   // the newest segment that a rendition has shown

	resumed media.Time // since when pictures have come without a break
	drawn   media.Time // how far they are

	targets map[renditionID]time.Duration // of the parts that each rendition lists
}

const (
	// maxMarks bounds what is remembered; far more than fit into any playlist.
	maxMarks = 1024
	// missedMost is how many breaks that are heard of at once are shown, one before each of as many segments.
	missedMost = 8
)

func newTimeline() *timeline {
	return &timeline{shown: noSegment, targets: map[renditionID]time.Duration{}}
}

// learn takes a break, which shows from segment k on; noSegment for the state that a stream begins with. What is known
// already is passed over.
//
// The sequence number of a segment that some rendition has shown must not change any more, so that a break heard of later
// than that shows before the next one, however late it is, and each that was missed has a segment of its own: a
// discontinuity that is none costs players little.
func (t *timeline) learn(number uint32, k int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if number <= t.number {
		return
	}
	news := int64(number - t.number)
	t.number = number
	if k == noSegment {
		return
	}
	if t.shown == noSegment || news > missedMost {
		news = 1
	}
	k = max(k-news+1, t.shown+1)
	if n := len(t.marks); n > 0 {
		k = max(k, t.marks[n-1]+1)
	}
	for i := range news {
		t.marks = append(t.marks, k+i)
	}
	if n := len(t.marks) - maxMarks; n > 0 {
		t.marks = slices.Delete(t.marks, 0, n)
	}
}

// show tells that a rendition is about to list segment k.
func (t *timeline) show(k int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shown = max(t.shown, k)
}

// forget tells that nobody has a playlist any more: breaks that are missed until somebody has need not be shown.
func (t *timeline) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shown = noSegment
	clear(t.targets)
}

// longest takes the part target of a rendition as it is now, and gives the longest that any has.
func (t *timeline) longest(id renditionID, target time.Duration) (most time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.targets[id] = target
	for _, other := range t.targets {
		most = max(most, other)
	}
	return most
}

// leave tells that a rendition is made no more.
func (t *timeline) leave(id renditionID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.targets, id)
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

// within lists the marks from segment first to segment last, and how many breaks came before them:
// EXT-X-DISCONTINUITY-SEQUENCE of a playlist that begins with first. It follows from the newest break and what
// is listed, so that nodes agree which have seen more or less of the past.
func (t *timeline) within(first, last int64) (marks []int64, sequence uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	from, _ := slices.BinarySearch(t.marks, first)
	to, _ := slices.BinarySearch(t.marks, last+1)
	return slices.Clone(t.marks[from:to]), uint64(t.number) - uint64(len(t.marks)-from)
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
