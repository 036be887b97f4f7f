package director

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"banyan/relay/media"
	"banyan/relay/tree"
)

// SteeringFile is the steering manifest of a stream, beside its multivariant playlist.
const SteeringFile = "steering.json"

const (
	// defaultPathway is that of variants without a PATHWAY-ID (draft-pantos-hls-rfc8216bis section 4.4.6.2).
	defaultPathway = "."
	// steeringTTL is how often players ask, in seconds: a few times while an edge drains.
	steeringTTL = 10
	// baseParameter names the edge that the default pathway leads to: the one that wrote the multivariant playlist.
	baseParameter = "base"
	// pathwayParameter is what a player plays from (section 7.3).
	pathwayParameter = "_HLS_pathway"
	// holdParameter says that the player is moved by the page around it, which does so without a break: it is to stay on the
	// default pathway as long as that edge lives, also if it drains. A player that turned to another pathway, as it met an
	// error, is beyond its page's reach.
	holdParameter = "hold"
	steeringType  = "application/json"
)

// manifest is a steering manifest (section 7.2).
type manifest struct {
	Version  int      `json:"VERSION"`
	TTL      int      `json:"TTL"` // seconds
	Reload   string   `json:"RELOAD-URI,omitempty"`
	Priority []string `json:"PATHWAY-PRIORITY"`
	Clones   []clone  `json:"PATHWAY-CLONES,omitempty"`
}

type clone struct {
	Base        string      `json:"BASE-ID"`
	ID          string      `json:"ID"`
	Replacement replacement `json:"URI-REPLACEMENT"`
}

type replacement struct {
	Host string `json:"HOST"`
}

// SteeringLines are for the multivariant playlists that this node writes; none where it stands alone.
func (d *Director) SteeringLines(media.Name) []string {
	if d.config.View == nil {
		return nil
	}
	return []string{fmt.Sprintf("#EXT-X-CONTENT-STEERING:SERVER-URI=%q,PATHWAY-ID=%q",
		SteeringFile+"?"+baseParameter+"="+d.config.Self, defaultPathway)}
}

func (d *Director) serveSteering(w http.ResponseWriter, r *http.Request, stream media.Name) {
	if _, ok := d.admit(w, r, string(stream), steeringDoor); !ok {
		return
	}
	query := r.URL.Query()
	base := query.Get(baseParameter)
	if base == "" {
		base = d.config.Self
	}
	plays, hold := strings.Trim(query.Get(pathwayParameter), `"`), false
	if plays == defaultPathway || plays == "" {
		plays, hold = base, query.Has(holdParameter)
	}
	v := d.config.Locator.Viewer(r)
	d.metrics.answers.WithLabelValues(steeringDoor, string(v.By)).Inc()
	reply(w, steeringType, d.steer(v, stream, base, plays, hold))
}

// steer writes the manifest of a viewer whose default pathway is the edge base and who plays from the edge plays, where it is
// to stay as long as that serves, or with hold as long as it lives.
func (d *Director) steer(v Viewer, stream media.Name, base, plays string, hold bool) manifest {
	m := manifest{Version: 1, TTL: steeringTTL, Priority: []string{}}
	edges := d.pathways(v, stream, base, plays, hold)
	for _, e := range edges {
		if e.Name == base {
			m.Priority = append(m.Priority, defaultPathway)
			continue
		}
		m.Priority = append(m.Priority, e.Name)
		m.Clones = append(m.Clones, clone{defaultPathway, e.Name, replacement{e.Base.Hostname()}})
	}
	if len(m.Priority) == 0 {
		m.Priority = []string{defaultPathway} // a list must not be empty
	}
	if other := slices.IndexFunc(edges, func(e Edge) bool { return e.Name != plays }); other >= 0 {
		to := at(&edges[other], hlsRoot+string(stream)+"/"+SteeringFile)
		to.RawQuery = url.Values{baseParameter: {base}}.Encode()
		m.Reload = to.String()
	}
	return m
}

// pathways are the edges that a player can be steered to, best first, that which it stays at before all.
// A pathway differs from another by the name of its host alone: scheme, port and path are the same (section 7.2: HOST).
func (d *Director) pathways(v Viewer, stream media.Name, base, plays string, hold bool) []Edge {
	plan := d.current()
	if plan == nil {
		return nil
	}
	formats := wanted(plan.View(), stream, "")
	edges := d.Edges(v, stream, "")
	if n := plan.View().Node(plays); plan.Serves(plays, formats...) || hold && n != nil {
		edges = d.first(edges, n)
	}
	if n := plan.View().Node(base); n != nil {
		if from, ok := edgeOf(n); ok {
			edges = slices.DeleteFunc(edges, func(e Edge) bool { return !isTwin(e, from) })
		}
	}
	return edges
}

// first puts a node before others.
func (d *Director) first(edges []Edge, n *tree.Node) []Edge {
	e, ok := edgeOf(n)
	if !ok {
		return edges
	}
	edges = slices.DeleteFunc(edges, func(other Edge) bool { return other.Name == e.Name })
	return append([]Edge{e}, edges[:min(len(edges), mostEdges-1)]...)
}

func isTwin(a, b Edge) bool {
	return a.Base.Scheme == b.Base.Scheme && a.Base.Port() == b.Base.Port() && a.Base.Path == b.Base.Path
}
