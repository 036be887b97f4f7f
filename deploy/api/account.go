package api

import (
	"encoding/json"
	"net/http"

	"banyan/relay"
	"banyan/relay/auth"
	"banyan/relay/log"
	"banyan/relay/media"
)

// Account is what a node tells of itself to another that draws the tree.
type Account struct {
	Node
	Viewers map[string]int `json:"viewers"` // by transport
	// Hop is the delay of packets from its parents' logs to its own, lately; nil where none came.
	Hop *Hop `json:"hop,omitempty"`
	// Drops are packets, by reason, that its links left out since it started.
	Drops  map[string]uint64 `json:"drops"`
	Tracks []TrackAccount    `json:"tracks"`
	// Troubles are sentences about what is set wrong there or around it, though it works.
	Troubles []string `json:"troubles,omitempty"`
	// More is how many tracks are left out, as there are too many.
	More int `json:"more,omitempty"`
}

// Hop is a distribution of delays, clocks apart.
type Hop struct {
	P50MS float64 `json:"p50_ms"`
	P99MS float64 `json:"p99_ms"`
}

// TrackAccount is a track that runs on a node.
type TrackAccount struct {
	Stream media.Name   `json:"stream"`
	Format media.Format `json:"format"`
	Kind   string       `json:"kind"`
	Codec  media.Codec  `json:"codec,omitempty"`
	Height int          `json:"height,omitempty"`
	// Parent is the node that it is had from. Empty where it is born here, and while it has none.
	Parent  string `json:"parent,omitempty"`
	Born    bool   `json:"born"`    // here
	Bitrate int    `json:"bitrate"` // bits per second of payload, measured; zero while nothing comes
	Readers int    `json:"readers"` // on this node; a child counts as one
	// Drops are packets, by reason, that the track or its readers here have lost since it began.
	Drops map[string]uint64 `json:"drops"`
}

// mostTracks is how many tracks a node tells of: some hundred bytes each, see mostAccount.
const mostTracks = 1000

// self answers the nodes of the cluster, and whoever may use the API.
func (a *api) self(w http.ResponseWriter, r *http.Request) {
	token, err := auth.Bearer(r)
	if err != nil || !a.fromPeer(token) {
		a.admin(func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, a.account()) })(w, r)
		return
	}
	reply(w, http.StatusOK, a.account())
}

// fromPeer tells whether a token was made by a node of the cluster to ask this one.
func (a *api) fromPeer(token string) bool {
	if a.Peers == nil || token == "" {
		return false
	}
	claims, err := a.Peers.CheckAPI(token)
	return err == nil && claims.User == a.Node.Name
}

// own is the account of this node as it travels.
func (a *api) own() []byte {
	b, err := json.Marshal(a.account())
	if err != nil { // nothing in it can fail; who asks hears that it cannot be read
		a.Log.Error("this node cannot tell others of itself", "err", err)
	}
	return b
}

// account is what this node tells of itself.
func (a *api) account() Account {
	out := Account{Node: a.Node, Viewers: map[string]int{}, Drops: map[string]uint64{}, Tracks: []TrackAccount{}}
	if a.Links != nil {
		out.Hop, out.Drops = a.Links()
	}
	parents := map[media.TrackID]string{}
	if a.Cluster != nil {
		c := a.Cluster()
		out.Troubles = c.Troubles
		for _, r := range c.Replicas {
			parents[media.TrackID{Stream: r.Stream, Format: r.Format, Kind: r.Kind}] = r.Parent
		}
	}
	for _, s := range a.Hub.Streams() {
		for transport, n := range s.Viewers() {
			out.Viewers[transport] += n
		}
		for _, t := range s.Tracks() {
			if t.Log == nil || !t.Live {
				continue
			}
			if len(out.Tracks) == mostTracks {
				out.More++
				continue
			}
			parent, replica := parents[t.ID]
			out.Tracks = append(out.Tracks, accountOf(t, parent, !replica))
		}
	}
	return out
}

func accountOf(t relay.Track, parent string, born bool) TrackAccount {
	stats := t.Log.Stats()
	out := TrackAccount{
		Stream: t.ID.Stream, Format: t.ID.Format, Kind: t.ID.Kind.String(), Parent: parent, Born: born,
		Bitrate: int(stats.Bitrate), Readers: t.Readers, Drops: dropsOf(&stats),
	}
	if t.Params != nil {
		out.Codec, out.Height = t.Params.Codec, t.Params.Height
	}
	return out
}

// dropsOf names what a track has lost; what did not happen is left out. Holes are told by readers only where they had
// to pass over one, so those that came in time to fill theirs are no loss.
func dropsOf(stats *log.Stats) map[string]uint64 {
	drops := map[string]uint64{}
	note := func(reason string, n uint64) {
		if n > 0 {
			drops[reason] = n
		}
	}
	note("missing", stats.Holes-min(stats.Filled, stats.Holes))
	note("late", stats.Late)
	for _, why := range log.Skips() {
		if why != log.SkipHole {
			note(why.String(), stats.Skips[why])
		}
	}
	return drops
}
