package replica

import (
	"slices"
	"sync"
	"time"

	"banyan/relay/media"
	"banyan/relay/tree"
)

// lapses remember the formats that workers elsewhere made, and that nobody makes any more in the newest view. While a format
// moves from one worker to another, the first may have withdrawn it, or died, before word of the second is here. To
// those who come meanwhile it stays on offer, so that the ladder is whole for them, and the replica that they start waits for the
// next worker as others do. Where none takes it up for as long as orphaned, it is gone; where its publisher has
// left or another has come, at once. The zero value is ready to use.
type lapses struct {
	mu    sync.Mutex
	known map[media.Name]map[media.TrackID]lapse
}

// lapse is a format as it was announced last.
type lapse struct {
	track tree.Track
	seen  *tree.View // the newest in which it was announced
	since time.Time  // when it was first missed; zero while it is announced
}

// follow notes what is announced and what is missed in a view.
func (l *lapses) follow(v *tree.View, self string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known == nil {
		l.known = map[media.Name]map[media.TrackID]lapse{}
	}
	for _, t := range v.Tracks {
		if t.Source || t.Node == self {
			continue
		}
		if l.known[t.ID.Stream] == nil {
			l.known[t.ID.Stream] = map[media.TrackID]lapse{}
		}
		l.known[t.ID.Stream][t.ID] = lapse{track: t, seen: v}
	}
	for stream, formats := range l.known {
		for id, known := range formats {
			switch {
			case known.seen == v:
			case !known.stands(v, now):
				delete(formats, id)
			case known.since.IsZero():
				known.since = now
				formats[id] = known
			}
		}
		if len(formats) == 0 {
			delete(l.known, stream)
		}
	}
}

// of lists the formats of a stream that nobody makes in a view, and that are waited for.
func (l *lapses) of(v *tree.View, stream media.Name, now time.Time) (tracks []tree.Track) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, known := range l.known[stream] {
		if known.stands(v, now) {
			tracks = append(tracks, known.track)
		}
	}
	return tracks
}

// stands tells whether nobody makes the format, the publisher of whom it is made is still there, and another worker may still
// take it up.
func (l *lapse) stands(v *tree.View, now time.Time) bool {
	id := l.track.ID
	return (l.since.IsZero() || now.Sub(l.since) < orphaned) && len(v.Makers(id)) == 0 &&
		slices.ContainsFunc(v.Stream(id.Stream), func(t tree.Track) bool { return t.Source && t.Since == l.track.Since })
}
