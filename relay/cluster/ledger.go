package cluster

import (
	"bytes"
	"fmt"
	"slices"

	"banyan/relay/media"
	"banyan/relay/tree"
)

// registry is what a node knows of everybody's tracks: one ledger for each life of a node. It knows no socket and no
// clock, and what it holds depends only on what it heard, not on the order: records may come late, twice, by way of
// anybody, or only with a later exchange of states.
//
// A node alone writes in its own ledger, and numbers each change. So of two records of one track the one with the
// greater number holds, and a recording of an old one changes nothing. A track that is withdrawn leaves a record that
// says so, until the ledger is known to be complete beyond it: then its absence says the same. Completeness begins
// with the node itself, whose ledger lacks nothing, and spreads with the exchanges of states.
type registry struct {
	self    string
	boot    int64
	ledgers map[string][]*ledger // by node, a few lives of each
	live    map[string]int64     // the life that is alive now, by node
	tracks  int                  // records in all ledgers but our own
}

// ledger is what one life of a node says of its tracks.
type ledger struct {
	boot     int64
	complete uint64 // nothing that was announced up to this version is missing
	records  map[media.TrackID]record
}

// maxLives is how many lives of a node are kept: the one that is alive, and one more whose first records came before
// word that it lives, or which is another node that wrongly has the same name.
const maxLives = 2

func newRegistry(self string, boot int64) *registry {
	r := &registry{self: self, boot: boot, ledgers: map[string][]*ledger{}, live: map[string]int64{self: boot}}
	r.ledgers[self] = []*ledger{{boot: boot, records: map[media.TrackID]record{}}}
	return r
}

// announce makes tracks all that this node has, and returns the records that others must hear. Tracks that others would
// not believe are left out, with an error that tells of one of them.
func (r *registry) announce(tracks []tree.Track) (changed []record, err error) {
	own := r.own()
	keep := make(map[media.TrackID]bool, len(tracks))
	for _, t := range tracks {
		if len(keep) == maxNodeTracks {
			break
		}
		keep[t.ID] = true
		t.Node = r.self
		old, known := own.records[t.ID]
		if known && sameTrack(&old.Track, &t) {
			continue
		}
		rec := record{Version: own.complete + 1, Track: t}
		if _, _, _, e := decodeNews(encodeNews(r.self, r.boot, rec)); e != nil {
			err = fmt.Errorf("track %.300q: %w", t.ID, e)
			delete(keep, t.ID)
			continue
		}
		own.complete++
		own.records[t.ID] = rec
		changed = append(changed, rec)
	}
	for id := range own.records {
		if keep[id] {
			continue
		}
		own.complete++
		delete(own.records, id)
		changed = append(changed, record{Version: own.complete, Gone: true, Track: tree.Track{ID: id, Node: r.self}})
	}
	return changed, err
}

// own is the ledger that this node writes.
func (r *registry) own() *ledger { return r.ledgers[r.self][0] }

// rename makes boot the life of this node, and returns all that others must hear again.
func (r *registry) rename(boot int64) (all []record) {
	r.boot, r.live[r.self] = boot, boot
	own := r.own()
	own.boot = boot
	for _, rec := range own.records {
		all = append(all, rec)
	}
	return all
}

// sameTrack tells whether a and b say the same to others.
func sameTrack(a, b *tree.Track) bool {
	return a.Source == b.Source && a.Waits == b.Waits && a.Since == b.Since &&
		(a.Params == b.Params || a.Params != nil && b.Params != nil && bytes.Equal(encodeParams(a.Params), encodeParams(b.Params)))
}

// alive says which life of a node is alive now. Those before it are over.
func (r *registry) alive(node string, boot int64) {
	r.live[node] = boot
	for _, l := range r.ledgers[node] {
		if l.boot < boot {
			r.drop(node, l)
		}
	}
}

// dead says that a node is not reachable any more. Its ledgers are kept, out of sight, because it may come back: with
// its next word after a partition its tracks are there at once. They are the first to go when room is needed.
func (r *registry) dead(node string) { delete(r.live, node) }

func (r *registry) drop(node string, gone *ledger) {
	r.tracks -= len(gone.records)
	rest := slices.DeleteFunc(slices.Clone(r.ledgers[node]), func(l *ledger) bool { return l == gone })
	if len(rest) == 0 {
		delete(r.ledgers, node)
	} else {
		r.ledgers[node] = rest
	}
}

// outcome says what became of something heard.
type outcome int

const (
	news  outcome = iota // it was not known
	stale                // it was known, or is older than what is known
	full                 // there is no room for it
)

// hear takes in one record of a node.
func (r *registry) hear(node string, boot int64, rec record) outcome {
	l, what := r.ledger(node, boot)
	if l == nil {
		return what
	}
	return r.enter(l, rec)
}

// ledger finds the one that a life of a node writes, and begins it if need be.
func (r *registry) ledger(node string, boot int64) (*ledger, outcome) {
	if node == r.self {
		return nil, stale // nobody knows our tracks better
	}
	lives := r.ledgers[node]
	for _, l := range lives {
		if l.boot == boot {
			return l, news
		}
	}
	live, isAlive := r.live[node]
	if isAlive && boot < live {
		return nil, stale
	}
	if len(lives) == maxLives {
		// The life that is alive stays, and of the others the newest.
		oldest := slices.MinFunc(lives, func(a, b *ledger) int {
			if isAlive && (a.boot == live) != (b.boot == live) {
				if a.boot == live {
					return 1
				}
				return -1
			}
			return int(min(max(a.boot/2-b.boot/2, -1), 1))
		})
		if isAlive && boot != live && oldest.boot > boot {
			return nil, stale
		}
		r.drop(node, oldest)
	}
	if len(r.ledgers) >= maxNodes && len(lives) == 0 && !r.makeRoom(nil) {
		return nil, full
	}
	l := &ledger{boot: boot, records: map[media.TrackID]record{}}
	r.ledgers[node] = append(r.ledgers[node], l)
	return l, news
}

func (r *registry) enter(l *ledger, rec record) outcome {
	old, known := l.records[rec.Track.ID]
	if known && rec.Version <= old.Version || !known && rec.Version <= l.complete {
		return stale
	}
	if !known {
		if len(l.records) >= maxNodeTracks || r.tracks >= maxTracks && !r.makeRoom(l) {
			return full
		}
		r.tracks++
	}
	l.records[rec.Track.ID] = rec
	return news
}

// makeRoom drops a ledger of a node that is not alive, other than keep; false if there is none.
func (r *registry) makeRoom(keep *ledger) bool {
	for node, lives := range r.ledgers {
		for _, l := range lives {
			if boot, ok := r.live[node]; l != keep && (!ok || boot != l.boot) {
				if len(l.records) == 0 && len(r.ledgers) < maxNodes {
					continue // frees nothing
				}
				r.drop(node, l)
				return true
			}
		}
	}
	return false
}

// merge takes in what somebody knows of a node, and returns which of it is news here, whether anything changed, and
// how many records there was no room for.
func (r *registry) merge(a announcement) (fresh []record, changed bool, refused int) {
	l, what := r.ledger(a.Node, a.Boot)
	if l == nil {
		if what == full {
			refused = max(1, len(a.Records))
		}
		return nil, false, refused
	}
	listed := make(map[media.TrackID]bool, len(a.Records))
	for _, rec := range a.Records {
		listed[rec.Track.ID] = true
		if refused > 0 { // to look for room again and again would cost more than it is worth
			refused++
			continue
		}
		switch r.enter(l, rec) {
		case news:
			fresh = append(fresh, rec)
		case full:
			refused++
		}
	}
	changed = len(fresh) > 0
	if a.Complete <= l.complete || refused > 0 {
		return fresh, changed, refused
	}
	// What the other would know of and does not was withdrawn.
	for id, rec := range l.records {
		if rec.Version <= a.Complete && (rec.Gone || !listed[id]) {
			delete(l.records, id)
			r.tracks--
			changed = true
		}
	}
	l.complete = a.Complete
	return fresh, changed, refused
}

// state is what to tell a node with whom states are exchanged: the ledgers of all that are alive, our own first.
func (r *registry) state() []announcement {
	all := make([]announcement, 0, len(r.ledgers))
	for node, lives := range r.ledgers {
		boot, ok := r.live[node]
		for _, l := range lives {
			if !ok || l.boot != boot {
				continue
			}
			a := announcement{Node: node, Boot: l.boot, Complete: l.complete, Records: make([]record, 0, len(l.records))}
			for _, rec := range l.records {
				a.Records = append(a.Records, rec)
			}
			all = append(all, a)
			if node == r.self {
				all[0], all[len(all)-1] = all[len(all)-1], all[0]
			}
		}
	}
	return all
}

// list is every track of every node that is alive.
func (r *registry) list() []tree.Track {
	all := make([]tree.Track, 0, r.tracks+len(r.own().records))
	for node, boot := range r.live {
		for _, l := range r.ledgers[node] {
			if l.boot != boot {
				continue
			}
			for _, rec := range l.records {
				if !rec.Gone {
					all = append(all, rec.Track)
				}
			}
		}
	}
	return all
}
