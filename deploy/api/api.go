// Package api is the REST interface of a node, under /api/v1/, and the thumbnails beside it.
//
// It reads what the hub knows and answers in JSON; errors are application/problem+json. Looking at
// streams asks for the right to play them, as configured; everything else asks for a token with the
// right to use the API. The interface is described by openapi.json, which is served too; a test holds
// the description and the routes against each other.
package api

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"banyan/deploy/config"
	"banyan/relay"
	"banyan/relay/auth"
	"banyan/relay/media"
	"banyan/relay/problem"
)

//go:embed openapi.json
var openapi []byte

// Config says what the interface speaks of. Hub, Guard and Edges are required.
type Config struct {
	Hub   *relay.Hub
	Guard *auth.Guard
	// Revoke takes a token back by its id.
	Revoke func(id string) error
	Log    *slog.Logger
	Node   Node
	// WithoutWebRTC says why a track cannot be offered by WebRTC, nothing where it can; nil on a node without WHEP.
	WithoutWebRTC func(relay.Track) string
	// WithoutHLS says the same of HLS; nil on a node without it.
	WithoutHLS func(relay.Track) string
	// Workers lists the transcoder's processes; nil on a node without transcoder.
	Workers func() []Worker
	// Edges answers for /api/v1/edges/{stream}, preflight requests included. Required.
	Edges http.Handler
	// Cluster tells of other nodes; nil on a node that stands alone.
	Cluster func() Cluster
	// Load tells of a node that stands alone how much of its line and of its encoders is in use, from 0 to 1; not asked if nil.
	Load func() (line, encoding float64)
	// Peers makes and checks the tokens by which nodes ask each other for accounts of themselves; nil on a node that
	// stands alone.
	Peers *auth.Guard
	// Ask gets what Own returns from another node, over the link between the two. Nil on a node that stands alone.
	Ask func(ctx context.Context, node string) ([]byte, error)
	// Links tells of the links to parents: the delay lately, nil where nothing came, and drops by reason; nil on a node
	// that stands alone.
	Links func() (*Hop, map[string]uint64)
	// Ingest tells where this node takes streams in; nil on one that takes none.
	Ingest func() Ingest
	// Thumbnail makes a JPEG of a stream's newest picture; nil on a node without transcoder.
	Thumbnail func(ctx context.Context, stream *relay.Stream) ([]byte, error)
}

// Node is what the interface tells of the node itself.
type Node struct {
	Name    string    `json:"name"`
	Region  string    `json:"region"`
	Version string    `json:"version"`
	Roles   []string  `json:"roles"`
	Started time.Time `json:"started"`
}

// Ingest is where a node takes streams in.
type Ingest struct {
	Token    bool `json:"token"`              // who publishes needs one
	WHIP     bool `json:"whip"`               // at /whip/{stream}
	RTSPPort int  `json:"rtsp_port,omitzero"` // zero where it does not listen for RTSP
}

type api struct {
	Config
	gatherer *gatherer
}

// Register adds the interface to mux. own is what this node tells of itself to others that ask (Config.Ask).
//
// Whatever else is asked for below its roots is answered here too, in JSON.
func Register(mux *http.ServeMux, c Config) (own func() []byte) {
	a := &api{Config: c}
	a.gatherer = newGatherer(a)
	inner := http.NewServeMux()
	for pattern, handler := range a.routes() {
		inner.HandleFunc(pattern, handler)
	}
	inner.HandleFunc("OPTIONS /api/v1/streams/{stream...}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
		w.Header().Set("Access-Control-Allow-Headers", "Authorization")
		w.Header().Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusNoContent)
	})
	inner.Handle("OPTIONS /api/v1/edges/{stream...}", c.Edges)
	for _, root := range []string{"/api/", "/thumbnails/"} {
		mux.Handle(root, problem.Mux(inner))
	}
	return a.own
}

func (a *api) routes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"GET /api/v1/openapi.json":           a.openapi,
		"GET /api/v1/node":                   a.admin(a.node),
		"GET /api/v1/workers":                a.admin(a.workers),
		"GET /api/v1/cluster":                a.admin(a.cluster),
		"GET /api/v1/cluster/tree":           a.admin(a.tree),
		"GET /api/v1/cluster/self":           a.self,
		"POST /api/v1/tokens":                a.admin(a.mint),
		"DELETE /api/v1/tokens/{id}":         a.admin(a.revoke),
		"GET /api/v1/streams":                anyOrigin(a.list),
		"GET /api/v1/streams/{stream...}":    anyOrigin(a.one),
		"DELETE /api/v1/streams/{stream...}": a.admin(a.kick),
		"GET /api/v1/edges/{stream...}":      a.edges,
		"GET /api/v1/ping":                   anyOrigin(ping),
		"GET /thumbnails/{stream...}":        a.thumbnail,
	}
}

// anyOrigin lets pages of other origins ask: those of an edge that has died, and those that embed a player. What protects
// streams is their token.
func anyOrigin(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		next(w, r)
	}
}

// admin lets only holders of the right to use the API through.
func (a *api) admin(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token, err := auth.Bearer(r)
		if err == nil {
			_, err = a.Guard.CheckAPI(token)
		}
		if err != nil {
			a.refuse(w, r, err)
			return
		}
		next(w, r)
	}
}

func (a *api) refuse(w http.ResponseWriter, r *http.Request, err error) {
	a.Log.Debug("refused", "path", r.URL.Path, "cause", err)
	problem.WriteError(w, err)
}

func (a *api) openapi(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Access-Control-Allow-Origin", "*")
	_, _ = w.Write(openapi)
}

func (a *api) node(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, a.Node) }

func (a *api) workers(w http.ResponseWriter, _ *http.Request) {
	if a.Workers == nil {
		problem.NotFound(w, "This node has no transcoder. Ask a node that has the role \"transcoder\".")
		return
	}
	reply(w, http.StatusOK, map[string]any{"workers": a.Workers()})
}

// grant is the body of POST /api/v1/tokens.
type grant struct {
	User    string   `json:"user"`
	Publish []string `json:"publish"`
	Play    []string `json:"play"`
	API     bool     `json:"api"`
	TTL     string   `json:"ttl"`
}

func (a *api) mint(w http.ResponseWriter, r *http.Request) {
	const most = 16 << 10
	var g grant
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, most))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&g); err != nil {
		problem.BadRequest(w, `The body must be JSON such as {"publish":["cup/*"],"play":["**"],"user":"ana","ttl":"24h"}.`)
		return
	}
	ttl, err := config.ParseDuration(g.TTL)
	if err != nil || ttl <= 0 {
		problem.Unprocessable(w, `"ttl" must be a duration such as "30m", "24h", "7d" or "2w".`)
		return
	}
	token, err := a.Guard.Mint(auth.Grant{User: g.User, Publish: g.Publish, Play: g.Play, API: g.API, TTL: ttl})
	if err != nil {
		problem.Unprocessable(w, err.Error()) // Mint's errors speak of the grant alone
		return
	}
	claims, err := a.Guard.Check(token)
	if err != nil {
		a.Log.Error("a token that was just made is not good", "cause", err)
		problem.Internal(w)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	reply(w, http.StatusCreated, map[string]any{"token": token, "id": claims.ID, "expires": claims.Expires.UTC()})
}

// revoke takes a token back. Requests with it are refused from now on; sessions that it has opened go on.
func (a *api) revoke(w http.ResponseWriter, r *http.Request) {
	if err := a.Revoke(r.PathValue("id")); err != nil {
		problem.Unprocessable(w, err.Error())
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (a *api) list(w http.ResponseWriter, r *http.Request) {
	token, err := auth.Bearer(r)
	if err != nil {
		a.refuse(w, r, err)
		return
	}
	// Asked for any one name, so that a stranger does not learn whether something is live.
	if _, err := a.Guard.CheckPlay(token, "any"); err != nil && !errors.Is(err, auth.ErrForbidden) {
		a.refuse(w, r, err)
		return
	}
	streams := []Stream{}
	for _, s := range a.Hub.Streams() {
		if _, err := a.Guard.CheckPlay(token, s.Name()); err == nil {
			streams = append(streams, a.describe(s))
		}
	}
	answer := struct {
		Streams []Stream `json:"streams"`
		Ingest  *Ingest  `json:"ingest,omitempty"`
	}{Streams: streams}
	if a.Ingest != nil {
		here := a.Ingest()
		answer.Ingest = &here
	}
	reply(w, http.StatusOK, answer)
}

func (a *api) one(w http.ResponseWriter, r *http.Request) {
	if s := a.find(w, r); s != nil {
		reply(w, http.StatusOK, a.describe(s))
	}
}

// find returns the stream of the request if its sender may play it, else nil after answering. Whether
// a stream exists is told only to those who may play it.
func (a *api) find(w http.ResponseWriter, r *http.Request) *relay.Stream {
	name, err := media.ParseName(r.PathValue("stream"))
	if err != nil {
		problem.BadRequest(w, err.Error())
		return nil
	}
	token, err := auth.Bearer(r)
	if err == nil {
		_, err = a.Guard.CheckPlay(token, name)
	}
	if err != nil {
		a.refuse(w, r, err)
		return nil
	}
	s, err := a.Hub.Stream(name)
	if err != nil {
		problem.NotFound(w, "No stream of this name is live. Check the name, or publish to it first.")
		return nil
	}
	return s
}

func (a *api) edges(w http.ResponseWriter, r *http.Request) { a.Edges.ServeHTTP(w, r) }

// ping is the shortest of answers, by which pages measure the way to an edge, and how far their clock is from ours.
func ping(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Banyan-Time", strconv.FormatInt(time.Now().UnixMilli(), 10))
	w.Header().Set("Access-Control-Expose-Headers", "Banyan-Time")
	w.WriteHeader(http.StatusNoContent)
}

// kick ends the publisher's session. Its readers stay, and it may come back.
func (a *api) kick(w http.ResponseWriter, r *http.Request) {
	name, err := media.ParseName(r.PathValue("stream"))
	if err != nil {
		problem.BadRequest(w, err.Error())
		return
	}
	s, err := a.Hub.Stream(name)
	if err != nil || !s.Kick() {
		problem.NotFound(w, "This stream has no publisher at the moment.")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (a *api) thumbnail(w http.ResponseWriter, r *http.Request) {
	s := a.find(w, r)
	if s == nil {
		return
	}
	if a.Thumbnail == nil {
		problem.NotFound(w, "This node makes no thumbnails, as it has no transcoder.")
		return
	}
	picture, err := a.Thumbnail(r.Context(), s)
	if err != nil {
		a.Log.Debug("no thumbnail", "stream", s.Name(), "cause", err)
		problem.Unavailable(w, "There is no picture of this stream yet.", 5*time.Second)
		return
	}
	w.Header().Set("Content-Type", "image/jpeg")
	w.Header().Set("Cache-Control", "max-age=4")
	w.Header().Set("Content-Length", strconv.Itoa(len(picture)))
	_, _ = w.Write(picture)
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	if w.Header().Get("Cache-Control") == "" {
		w.Header().Set("Cache-Control", "no-cache")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client has gone, if this fails
}
