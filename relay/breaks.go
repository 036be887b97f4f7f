package relay

import (
	"sync"
	"time"

	"banyan/relay/media"
)

// breaks counts the breaks of a stream (media.Break) where it is published. The publisher's tracks carry the count, and so
// does what is made of them. A publisher that comes back counts on; so does one that comes to another node, which
// knows the count by the tracks that it had elsewhere. Where nobody knows it, after the birthplace has started anew, it
// begins with the second of media time: above all earlier counts, as long as there is less than one break a second.
//
// Methods are safe for concurrent use.
type breaks struct {
	segment time.Duration

	mu     sync.Mutex
	newest media.Break
	epochs map[trackKey]*media.Params // the newest of each track of a publisher
}

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
		b.newest = media.Break{Number: uint32(max(1, at.Wall().Unix()))}
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
