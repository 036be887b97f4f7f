package relay

import (
	"sync"
	"time"

	"banyan/relay/media"
)

// breaks counts the breaks of a stream (media.Break) where it is published. The publisher's tracks carry the count, and so
// does what is made of them. A publisher that comes back counts on; so does one that comes to another node, which
// knows the count by the tracks that it had elsewhere. Where nobody knows it, after the birthplace has started anew, it
// begins with media time in steps of tenMinutes: not below the earlier count, as long as there are fewer breaks than that
// on average.
//
// Methods are safe for concurrent use.
type breaks struct {
	segment time.Duration

	mu     sync.Mutex
	newest media.Break
	epochs map[trackKey]*media.Params // the newest of each track of a publisher
}

// Numbers are to be small: hls.js 1.7.4 keeps an array that is as long as EXT-X-DISCONTINUITY-SEQUENCE is large, and
// copies it at each discontinuity. A hundred thousand cost a browser 3 ms, two thousand million hang it.
const (
	tenMinutes = 10 * time.Minute
	countsFrom = 1_767_225_600 * media.Time(time.Second) // 2026-01-01
)

// birth is the number that a stream begins with whose first packet has a media time.
func birth(at media.Time) uint32 { return uint32(max(1, at.Sub(countsFrom)/tenMinutes)) }

func newBreaks(segment time.Duration) *breaks {
	return &breaks{segment: segment, epochs: map[trackKey]*media.Params{}}
}

// begin notes an epoch of a publisher's track, which begins at a media time, and tells the newest break.
func (b *breaks) begin(id media.TrackID, epoch *media.Params, at media.Time) media.Break {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := trackKey{id.Format, id.Kind}
	before := b.epochs[key]
	b.epochs[key] = epoch
	if b.newest.Number == 0 {
		b.newest = media.Break{Number: birth(at)}
	}
	if before == nil || before.Equal(epoch) {
		return b.newest
	}
	shows := media.BreakAt(at, b.segment)
	const clockSet = time.Minute // further back than tracks of one publisher are apart
	if behind := b.newest.At.Sub(shows); behind < 0 || behind > clockSet {
		b.newest = media.Break{Number: b.newest.Number + 1, At: shows}
	}
	return b.newest
}

// hear notes what another node says of the tracks that are published there.
func (b *breaks) hear(tracks []Elsewhere) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range tracks {
		if t.Params == nil {
			continue
		}
		b.epochs[trackKey{t.Format, t.Kind}] = t.Params
		if t.Params.Break.Number > b.newest.Number {
			b.newest = t.Params.Break
		}
	}
}
