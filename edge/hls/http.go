package hls

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"banyan/relay"
	"banyan/relay/media"
	"banyan/relay/problem"
)

// Root is where a Server is to be mounted.
const Root = "/hls/"

const (
	playlistType = "application/vnd.apple.mpegurl"
	mediaType    = "video/mp4"
	audioType    = "audio/mp4"
)

// ServeHTTP answers requests below Root.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Pages of any origin may play; there are no cookies, so this gives nothing away.
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "Content-Length, Content-Range, Date, Retry-After")
	methods := []string{http.MethodGet, http.MethodHead, http.MethodOptions}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions:
		h.Set("Allow", strings.Join(methods, ", "))
		h.Set("Access-Control-Allow-Methods", strings.Join(methods, ", "))
		h.Set("Access-Control-Allow-Headers", "Authorization, Range")
		h.Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		problem.MethodNotAllowed(w, methods)
		return
	}
	resource := s.resolve(strings.TrimPrefix(r.URL.EscapedPath(), Root))
	if resource == nil {
		s.metrics.refused.WithLabelValues("path").Inc()
		problem.NotFound(w, "There is no such file. A stream's playlist is at /hls/{stream}/index.m3u8; take all other "+
			"addresses from it.", s.cached(1))
		return
	}
	answer := &answer{Server: s, ResponseWriter: w, r: r, resource: resource}
	defer answer.count()
	answer.serve()
}

// resolve reads a path. Where a stream is named like a rendition's folder of another, the rendition goes
// first if it exists.
func (s *Server) resolve(path string) *resource {
	first, second := parsePath(path)
	s.rename(first)
	if first == nil || second == nil || s.running(first.stream, first.id) != nil {
		return first
	}
	if stream, err := s.config.Hub.Stream(first.stream); err == nil && has(stream, first.id) {
		return first
	}
	if _, err := s.config.Hub.Stream(second.stream); err == nil {
		return second
	}
	return first
}

// rename gives the name of a rendition that is asked for by an older one: a publisher's sound used to be
// named by its track.
func (s *Server) rename(r *resource) {
	if r == nil || r.id != (renditionID{media.Source, media.Audio}) {
		return
	}
	stream, err := s.config.Hub.Stream(r.stream)
	if err != nil {
		return
	}
	for _, t := range stream.Tracks() {
		if t.ID.Format == media.Source && t.ID.Kind == media.Audio && t.Params != nil {
			r.id = idOf(t)
			return
		}
	}
}

func has(stream *relay.Stream, id renditionID) bool {
	_, ok := trackOf(stream, id)
	return ok
}

// answer is one request being answered.
type answer struct {
	*Server
	http.ResponseWriter
	r        *http.Request
	resource *resource

	status int
	sent   int64
	// blocking tells that the request asks for something to come, which changes how long caches may
	// keep the answer.
	blocking bool
}

// WriteHeader notes the status.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write notes how much was sent.
func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(p)
	a.sent += int64(n)
	return n, err
}

func (a *answer) count() {
	kind := a.resource.kind.String()
	a.metrics.requests.WithLabelValues(kind, strconv.Itoa(a.status)).Inc()
	a.metrics.bytes.WithLabelValues(kind).Add(float64(a.sent))
}

// cached says for how many target durations caches may keep an answer (RFC 8216bis appendix B.1).
// Requests with a token are kept by the client's own cache only, as nothing says "public".
func (s *Server) cached(targets float64) problem.Option {
	return problem.Header("Cache-Control", s.maxAge(targets))
}

func (s *Server) maxAge(targets float64) string {
	return "max-age=" + strconv.Itoa(max(1, int(targets*float64(s.grid.targetDuration()))))
}

// How long answers may be kept, in target durations.
const (
	keepBlocking       = 6.0
	keepBlockingError  = 4.0
	keepPlaylist       = 0.5
	keepPlaylistError  = 1.0
	keepMedia          = 6.0
	keepMediaError     = 1.0
	blockedTargets     = 3 // how long a request waits for progress
	mediaStartingLimit = 2 * time.Second
)

func (a *answer) serve() {
	if err := a.config.Allow(a.r, a.resource.stream); err != nil {
		a.metrics.refused.WithLabelValues("auth").Inc()
		problem.WriteError(a, err)
		return
	}
	stream, err := a.config.Hub.Stream(a.resource.stream)
	ended := a.running(a.resource.stream, a.resource.id) != nil // its end can still be read
	if err != nil && (a.resource.kind == multivariant || !ended) {
		a.refuse("no-stream", http.StatusNotFound,
			fmt.Sprintf("The stream %q is not live. Check the name, or publish to it first.", a.resource.stream))
		return
	}
	if stream != nil {
		a.see(stream)
	}
	switch a.resource.kind {
	case multivariant:
		a.serveMultivariant(stream)
	case playlist:
		a.servePlaylist(stream)
	default:
		a.serveMedia(stream)
	}
}

// viewerOf is whom a request counts for.
func viewerOf(r *http.Request, stream media.Name) viewer {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return viewer{stream: stream, host: host, agent: agentOf(r)}
}

// Plays tells whether a request for a stream is of a player that lately was here for it.
func (s *Server) Plays(r *http.Request, stream media.Name) bool {
	return s.viewers.knows(viewerOf(r, stream))
}

// see counts the viewer.
func (a *answer) see(stream *relay.Stream) {
	who := viewerOf(a.r, stream.Name())
	a.viewers.see(who, time.Now(), func() func() { return stream.Watch("hls") })
}

func (a *answer) serveMultivariant(stream *relay.Stream) {
	if err := a.settle(a.r.Context(), stream); err != nil {
		a.waited(nil, err)
		return
	}
	a.ask(stream.Name())
	a.complete(stream)
	var entries []entry
	for _, r := range a.renditions(stream) {
		e := entry{rendition: r}
		if p := a.running(stream.Name(), r.id); p != nil {
			e.peak, e.mean = p.bitrate()
		}
		entries = append(entries, e)
	}
	if len(entries) == 0 {
		a.refuse("nothing-to-play", http.StatusServiceUnavailable, "The stream has nothing that HLS can carry yet. "+
			"Try again in a moment; if it stays so, its codecs need a transcoder.", problem.RetryAfter(time.Second))
		return
	}
	text := insertLines(renderMultivariant(entries), a.config.Steering(stream.Name()))
	a.sendPlaylist(text, a.zipper.compress(text), keepPlaylist)
}

func (a *answer) servePlaylist(stream *relay.Stream) {
	d, complaint := parseDirectives(a.r.URL.RawQuery)
	a.blocking = d.blocking
	if complaint != "" {
		a.refuse("query", http.StatusBadRequest, complaint)
		return
	}
	enough := (*state).playable
	if d.blocking && d.skip {
		enough = (*state).ready // a player that goes on from another edge: all it lacks is what comes next
	}
	p, now := a.first(stream, a.config.Start, enough)
	if p == nil {
		return
	}
	if d.blocking && !now.ended {
		if now.tooFar(d.msn, d.part) {
			last, _ := now.position()
			a.refuse("too-far", http.StatusBadRequest, fmt.Sprintf("That is too far ahead: the newest segment is %d. "+
				"Ask for the next part or segment only.", last))
			return
		}
		limit := blockedTargets * now.targetDuration()
		var err error
		now, err = a.await(a.r.Context(), p, limit, func(st *state) bool { return st.covers(d.msn, d.part) })
		if !a.waited(now, err) {
			return
		}
	}
	doc := now.playlist(d.skip)
	keep := keepPlaylist
	if d.blocking {
		keep = keepBlocking
	}
	a.sendPlaylist(doc.plain, doc.zipped, keep)
}

// first finds the packager of the rendition and waits until it has enough. Where that
// fails it answers the request and returns nil.
//
// stream is nil where the hub has forgotten it; a packager may still have its end.
func (a *answer) first(stream *relay.Stream, limit time.Duration, enough func(*state) bool) (*packager, *state) {
	name, id := a.resource.stream, a.resource.id
	p := a.running(name, id)
	if p == nil && (stream == nil || !a.joins(stream, id)) {
		a.refuse("no-rendition", http.StatusNotFound, fmt.Sprintf("The stream has no rendition %q that HLS can play. "+
			"Choose one from /hls/%s/index.m3u8.", id, name))
		return nil, nil
	}
	fresh := p == nil
	p, err := a.packager(name, id, stream != nil)
	if err != nil {
		a.waited(nil, err)
		return nil, nil
	}
	if fresh {
		a.complete(stream)
	}
	now, err := a.await(a.r.Context(), p, limit, enough)
	if !a.waited(now, err) {
		return nil, nil
	}
	return p, now
}

// joins tells whether the stream has the rendition, or offers it.
func (a *answer) joins(stream *relay.Stream, id renditionID) bool {
	return slices.ContainsFunc(stream.Tracks(), func(t relay.Track) bool { return idOf(t) == id && a.playable(t) })
}

// waited answers a request whose wait failed, and tells whether it did not.
func (a *answer) waited(now *state, err error) bool {
	switch {
	case err == nil && (now.err == nil || now.ended && now.ready()):
		return true
	case err == nil && errors.Is(now.err, relay.ErrNoTrack), err == nil && errors.Is(now.err, relay.ErrNoStream):
		a.refuse("ended", http.StatusNotFound, "The rendition has ended. Load the stream's index.m3u8 again.")
	case err == nil, errors.Is(err, errStopping):
		a.busy("stopping", "This server is shutting down or has let the rendition go. Load the stream's index.m3u8 again.")
	case errors.Is(err, errSlow) && a.resource.kind > playlist:
		a.refuse("no-media", http.StatusNotFound, noMedia)
	case errors.Is(err, errSlow):
		a.refuse("no-progress", http.StatusServiceUnavailable,
			"Nothing new has come for a while: the publisher may be away. Try again.", problem.RetryAfter(time.Second))
	case errors.Is(err, errFull):
		a.busy("full", "This server packages as many renditions as it may. Try again, or play from another server.")
	case errors.Is(err, errCrowded):
		a.busy("crowded", "Too many requests wait for media here. Try again, or play from another server.")
	default: // the client has gone
		a.metrics.refused.WithLabelValues("gone").Inc()
		a.status = statusGone
	}
	return false
}

// statusGone stands in metrics for a client that left before it was answered.
const statusGone = 499

// refuse answers with an error that all who ask the same may share for as long as RFC 8216bis says.
func (a *answer) refuse(reason string, status int, detail string, options ...problem.Option) {
	keep := keepPlaylistError
	switch {
	case a.resource.kind > playlist:
		keep = keepMediaError
	case a.blocking:
		keep = keepBlockingError
	}
	a.metrics.refused.WithLabelValues(reason).Inc()
	problem.Write(a, status, detail, append(options, a.cached(keep))...)
}

// busy answers with an error that is about this server at this moment, which no cache may keep.
func (a *answer) busy(reason, detail string) {
	a.metrics.refused.WithLabelValues(reason).Inc()
	problem.Unavailable(a, detail, time.Second)
}

func (a *answer) sendPlaylist(plain, zipped []byte, keep float64) {
	h := a.Header()
	h.Set("Content-Type", playlistType)
	h.Set("Cache-Control", a.maxAge(keep))
	h.Set("Vary", "Accept-Encoding")
	h.Set("Priority", priority(urgencyPlaylist))
	body := plain
	if acceptsGzip(a.r.Header.Get("Accept-Encoding")) {
		h.Set("Content-Encoding", "gzip")
		body = zipped
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	a.WriteHeader(http.StatusOK)
	if a.r.Method != http.MethodHead {
		_, _ = a.Write(body) // the client may be gone; there is nobody left to tell
	}
}

// acceptsGzip reads Accept-Encoding (RFC 9110 section 12.5.3) as far as gzip is concerned, and of a very
// long one the beginning only.
func acceptsGzip(header string) bool {
	const most = 512 // bytes
	wildcard := false
	for item := range strings.SplitSeq(header[:min(len(header), most)], ",") {
		name, parameters, _ := strings.Cut(item, ";")
		refused := false
		if q, ok := strings.CutPrefix(strings.ReplaceAll(parameters, " ", ""), "q="); ok {
			weight, err := strconv.ParseFloat(q, 64)
			refused = err != nil || weight <= 0
		}
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "gzip", "x-gzip":
			return !refused
		case "*":
			wildcard = !refused
		}
	}
	return wildcard
}

func (a *answer) serveMedia(stream *relay.Stream) {
	p, now := a.first(stream, mediaStartingLimit, (*state).ready)
	if p == nil {
		return
	}
	data := p.file(a.resource)
	if data == nil && a.comes(now) {
		limit := blockedTargets * now.targetDuration()
		var err error
		now, err = a.await(a.r.Context(), p, limit, func(st *state) bool { return st.passed(a.resource) })
		if !a.waited(now, err) {
			return
		}
		data = p.file(a.resource)
	}
	if data == nil {
		a.refuse("no-media", http.StatusNotFound, noMedia)
		return
	}
	a.sendMedia(data, p.urgency())
}

const noMedia = "There is no such segment or part, or no more. Load the playlist again and take addresses from it."

// comes tells whether a part or segment is not there yet and soon will be: the part that the playlist hints at, and
// what a node may list already that gets its media sooner. Players that move from there to here know of it.
func (a *answer) comes(now *state) bool {
	const soon = time.Second // far more than nodes differ by
	r := a.resource
	if r.kind != partFile && r.kind != segmentFile || now.ended || now.passed(r) {
		return false
	}
	return now.until(r) < soon
}

func (a *answer) sendMedia(data []byte, urgency int) {
	h := a.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Priority", priority(urgency))
	if a.resource.id.kind == media.Audio {
		h.Set("Content-Type", audioType)
	}
	if len(data) == 0 { // a gap here, which may be media on the next node: no cache may mix them up
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Length", "0")
		a.WriteHeader(http.StatusOK)
		return
	}
	h.Set("Cache-Control", a.maxAge(keepMedia))
	h.Set("Accept-Ranges", "bytes")
	from, to, ok := byteRange(a.r.Header.Get("Range"), len(data))
	if !ok {
		problem.Write(a, http.StatusRequestedRangeNotSatisfiable, fmt.Sprintf("The file has %d bytes. Ask for a range within "+
			"it, or for all of it.", len(data)), problem.Header("Content-Range", fmt.Sprintf("bytes */%d", len(data))), a.cached(keepMediaError))
		return
	}
	status := http.StatusOK
	if to-from < len(data) {
		status = http.StatusPartialContent
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(data)))
	}
	h.Set("Content-Length", strconv.Itoa(to-from))
	a.WriteHeader(status)
	if a.r.Method != http.MethodHead {
		_, _ = a.Write(data[from:to])
	}
}

// byteRange reads a Range header (RFC 9110 section 14.2) for a file of size bytes: the bytes from from up
// to to. A header that is malformed, of other units or of several ranges means the whole file, as the
// RFC allows; ok is false where the range lies outside the file.
func byteRange(header string, size int) (from, to int, ok bool) {
	span, isBytes := strings.CutPrefix(header, "bytes=")
	first, last, isRange := strings.Cut(span, "-")
	if !isBytes || !isRange {
		return 0, size, true
	}
	a, errA := strconv.ParseUint(first, 10, 62)
	b, errB := strconv.ParseUint(last, 10, 62)
	length := uint64(size)
	switch {
	case first == "" && errB == nil: // the last b bytes
		return size - int(min(b, length)), size, b > 0
	case errA != nil || last != "" && errB != nil || last != "" && b < a:
		return 0, size, true
	case a >= length:
		return 0, 0, false
	case last == "":
		return int(a), size, true
	}
	return int(a), int(min(b+1, length)), true
}
