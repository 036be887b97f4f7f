package director

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"banyan/relay/media"
	"banyan/relay/problem"
)

// The roots of what is redirected, and where the list of edges is.
const (
	whepRoot = "/whep/"
	hlsRoot  = "/hls/"
	ListRoot = "/api/v1/edges/"
)

// mark is the query parameter of a request that was redirected once and goes no further.
const mark = "via"

// WHEP sends offers to the edge that is best for the viewer and hands everything else to next, the handler of /whep/; next is
// nil on a node that is no edge.
func (d *Director) WHEP(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stream, err := media.ParseName(strings.TrimPrefix(r.URL.Path, whepRoot))
		if r.Method != http.MethodPost || err != nil {
			d.pass(w, r, next, "OPTIONS, POST")
			return
		}
		d.direct(w, r, next, stream, whepDoor)
	})
}

// HLS does so for multivariant playlists, answers for the steering manifests beside them, and hands everything else to next,
// the handler of /hls/. On a node that is no edge every request for media goes elsewhere.
func (d *Director) HLS(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, hlsRoot)
		isRead := r.Method == http.MethodGet || r.Method == http.MethodHead
		if folder, ok := strings.CutSuffix(path, "/"+SteeringFile); ok {
			if stream, err := media.ParseName(folder); err == nil {
				d.serveSteering(w, r, stream)
				return
			}
		}
		stream, isMultivariant := multivariant(path)
		if !isRead || !isMultivariant && next != nil || stream == "" {
			d.pass(w, r, next, "GET, HEAD, OPTIONS")
			return
		}
		d.direct(w, r, next, stream, hlsDoor)
	})
}

// multivariant reads a path below /hls/: the stream that it belongs to, as far as that can be told, and whether it is the
// playlist of a whole stream. A stream that is itself called like the folder of a rendition is served where it is asked for.
func multivariant(path string) (stream media.Name, is bool) {
	folder, isIndex := strings.CutSuffix(path, "/index.m3u8")
	if !isIndex {
		cut := strings.LastIndexByte(path, '/')
		if cut < 0 {
			return "", false
		}
		folder = path[:cut]
	}
	outer, last := "", folder
	if cut := strings.LastIndexByte(folder, '/'); cut >= 0 {
		outer, last = folder[:cut], folder[cut+1:]
	}
	if isRendition(last) && outer != "" {
		folder, isIndex = outer, false
	}
	name, err := media.ParseName(folder)
	if err != nil {
		return "", false
	}
	return name, isIndex
}

func isRendition(folder string) bool {
	for _, kind := range media.Kinds {
		if format, ok := strings.CutSuffix(folder, "-"+kind.String()); ok {
			_, err := media.ParseFormat(format)
			return err == nil
		}
	}
	return false
}

// pass hands a request to next, and answers as it would where there is none.
func (d *Director) pass(w http.ResponseWriter, r *http.Request, next http.Handler, methods string) {
	switch {
	case next != nil:
		next.ServeHTTP(w, r)
	case r.Method == http.MethodOptions:
		preflight(w, methods)
	default:
		allowOrigins(w.Header())
		problem.NotFound(w, "This node has no viewers of its own, and sends on only requests to watch a stream by its name. Check the address.")
	}
}

// direct serves a viewer who came to a door here or sends it to a better edge.
func (d *Director) direct(w http.ResponseWriter, r *http.Request, next http.Handler, stream media.Name, door string) {
	query := r.URL.Query()
	verdict := d.Serve(d.config.Locator.Viewer(r), stream, formatOf(query))
	isMarked := query.Has(mark)
	if full := verdict.NoRoom || verdict.Why == Full; full && door == hlsDoor && d.config.Plays(r, stream) {
		next.ServeHTTP(w, r)
		return
	}
	switch {
	case verdict.NoRoom, verdict.Why == Full && isMarked:
		d.metrics.refuse(door, refusedFull)
		allowOrigins(w.Header())
		refuseFull(w)
	case verdict.Better != nil && !isMarked:
		d.metrics.redirects.WithLabelValues(door, string(verdict.Why)).Inc()
		redirect(w, r, verdict.Better)
	case next != nil:
		next.ServeHTTP(w, r)
	case verdict.Nowhere:
		d.metrics.refuse(door, refusedNowhere)
		allowOrigins(w.Header())
		problem.Unavailable(w, "No edge of this cluster has the stream now. Try again in a moment.", 2*time.Second)
	default: // it has come a long way already
		d.metrics.refuse(door, refusedMoved)
		allowOrigins(w.Header())
		problem.Unavailable(w, "The edge that the stream was to be watched at has changed. Ask again at the first address.", time.Second)
	}
}

// Those who find everything full come back after comeback to twice that, so that they do not all come at once, and not before
// the loads of those let in last are known.
const comeback = 6 * time.Second

// refuseFull asks a viewer to come back when there may be room.
func refuseFull(w http.ResponseWriter) {
	after := (comeback + rand.N(comeback)).Truncate(time.Second)
	problem.Unavailable(w, fmt.Sprintf("All places are taken: the edges of this cluster are full. Those who watch go on. Try again in %d seconds, "+
		"when somebody may have left.", int(after.Seconds())), after, problem.Member("cause", string(Full)))
}

// redirect names the same address at another edge, marked.
func redirect(w http.ResponseWriter, r *http.Request, e *Edge) {
	to := at(e, r.URL.EscapedPath())
	to.RawQuery = mark + "=1"
	if r.URL.RawQuery != "" {
		to.RawQuery = r.URL.RawQuery + "&" + to.RawQuery
	}
	h := w.Header()
	allowOrigins(h)
	h.Set("Location", to.String())
	h.Set("Cache-Control", "no-store") // it holds for this viewer now
	w.WriteHeader(http.StatusTemporaryRedirect)
}

// at is an escaped path at an edge.
func at(e *Edge, escaped string) *url.URL {
	to := *e.Base
	if path, err := url.PathUnescape(escaped); err == nil {
		to.Path, to.RawPath = e.Base.Path+path, e.Base.EscapedPath()+escaped
	}
	return &to
}

// formatOf is the format that a viewer asks for; empty for none and for one that is no format, which the edge refuses.
func formatOf(query url.Values) media.Format {
	const auto = "auto"
	format, err := media.ParseFormat(query.Get("format"))
	if err != nil || format == auto {
		return ""
	}
	return format
}

// List answers GET /api/v1/edges/{stream}, see list.
func (d *Director) List() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stream, ok := d.admit(w, r, strings.TrimPrefix(r.URL.Path, ListRoot), edgesDoor)
		if !ok {
			return
		}
		v := d.config.Locator.Viewer(r)
		d.metrics.answers.WithLabelValues(edgesDoor, string(v.By)).Inc()
		reply(w, "application/json", d.listFor(v, stream, formatOf(r.URL.Query())))
	})
}

// list is what viewers are told of edges. That of a node that stands alone is empty.
type list struct {
	// Region is the viewer's; empty where it is unknown.
	Region string `json:"region"`
	// Leave tells who plays from this node that it is about to stop, and that the first edge takes viewers.
	Leave bool `json:"leave,omitempty"`
	// Edges are where the viewer may turn to, best first.
	Edges []listed `json:"edges"`
	// Probes are edges of different regions. A viewer whose region is unknown may measure which is nearest, and then ask
	// again with ?region=. Empty where the region is known, or there is nothing to choose.
	Probes []listed `json:"probes,omitempty"`
}

type listed struct {
	URL    string `json:"url"`
	Name   string `json:"name"`
	Region string `json:"region"`
	Self   bool   `json:"self,omitempty"` // the node that answers, which the viewer may reach by another address
}

func (d *Director) listFor(v Viewer, stream media.Name, format media.Format) list {
	verdict := d.Serve(v, stream, format)
	l := list{Region: v.Region, Leave: verdict.Better != nil && verdict.Why == Draining, Edges: d.listed(d.Edges(v, stream, format))}
	if v.By == ByNobody {
		l.Probes = d.listed(d.Probes(v, stream, format))
	}
	return l
}

func (d *Director) listed(edges []Edge) []listed {
	all := []listed{}
	for _, e := range edges {
		all = append(all, listed{e.Base.String(), e.Name, e.Region, e.Name == d.config.Self})
	}
	return all
}

// admit checks a request for what is told of a stream, and answers it where it is not to be told.
func (d *Director) admit(w http.ResponseWriter, r *http.Request, name, door string) (media.Name, bool) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions:
		preflight(w, "GET, HEAD, OPTIONS")
		return "", false
	default:
		problem.MethodNotAllowed(w, []string{http.MethodGet, http.MethodHead, http.MethodOptions})
		return "", false
	}
	allowOrigins(w.Header())
	stream, err := media.ParseName(name)
	if err != nil {
		d.metrics.refuse(door, refusedName)
		problem.BadRequest(w, err.Error())
		return "", false
	}
	if err := d.config.Allow(r, stream); err != nil {
		d.metrics.refuse(door, refusedToken)
		problem.WriteError(w, err)
		return "", false
	}
	return stream, true
}

func reply(w http.ResponseWriter, contentType string, body any) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store") // it holds for this viewer now
	_ = json.NewEncoder(w).Encode(body)         // the client has gone, if this fails
}

// allowOrigins lets pages from anywhere ask: what protects a stream is its token.
func allowOrigins(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "Location, Retry-After")
}

func preflight(w http.ResponseWriter, methods string) {
	allowOrigins(w.Header())
	w.Header().Set("Allow", methods)
	w.Header().Set("Access-Control-Allow-Methods", methods)
	w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Range")
	w.Header().Set("Access-Control-Max-Age", "86400")
	w.WriteHeader(http.StatusNoContent)
}
