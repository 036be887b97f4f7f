package wish

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"banyan/relay/auth"
	"banyan/relay/media"
	"banyan/relay/problem"
	"banyan/relay/rtc/sdp"
)

// The media types.
const (
	typeSDP      = "application/sdp"
	typeFragment = "application/trickle-ice-sdpfrag"
)

const setUpPatience = 10 * time.Second // for a session to be made

// Endpoint is the handler of an endpoint, to be mounted at /{Name}/.
func (s *Server) Endpoint(e Endpoint) http.Handler {
	methods := []string{"POST", "OPTIONS", "GET", "HEAD"}
	return s.count(e.Name, func(w http.ResponseWriter, r *http.Request) {
		allowOrigins(w.Header(), methods)
		switch r.Method {
		case http.MethodPost:
			s.post(w, r, &e)
		case http.MethodOptions:
			w.Header().Set("Accept-Post", typeSDP)
			w.WriteHeader(http.StatusOK)
		case http.MethodGet, http.MethodHead:
			// RFC 9725 section 4.2 reserves them: success without content. WHEP adds the type.
			w.Header().Set("Content-Type", typeSDP)
			w.WriteHeader(http.StatusOK)
		default:
			problem.MethodNotAllowed(w, methods)
		}
	})
}

// post makes a session of an offer.
func (s *Server) post(w http.ResponseWriter, r *http.Request, e *Endpoint) {
	client := host(s.config.Client(r))
	if !s.posts.allow(client, time.Now()) {
		problem.TooManyRequests(w, "You ask for sessions too often. Wait a little between attempts.", reaction)
		return
	}
	stream, err := media.ParseName(strings.TrimPrefix(r.URL.Path, "/"+e.Name+"/"))
	if err != nil {
		s.logRefusal(r, http.StatusNotFound, err)
		problem.NotFound(w, "The address names no stream: "+err.Error()+".")
		return
	}
	claims, err := e.Authorize(r, stream)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	text, ok := s.readBody(w, r, typeSDP, sdp.MaxBytes)
	if !ok {
		return
	}
	offer, err := sdp.ParseOffer(text, e.Role)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if err := s.reserve(client); err != nil {
		refuse(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), setUpPatience)
	defer cancel()
	id := rand.Text()
	session, err := e.Accept(ctx, &Request{ID: id, Stream: stream, Offer: offer, HTTP: r, claims: claims, again: e.asker(r, stream)})
	if err != nil {
		s.release(client)
		s.fail(w, r, err)
		return
	}
	entry := &entry{
		id: id, endpoint: e, stream: stream, user: claims.User, host: client, session: session,
	}
	if o, ok := session.(Offerer); ok && o.Offer() != nil {
		entry.ours = o.Offer()
	} else {
		entry.speaksFor(offer.Media, offer.Ufrag, offer.Password)
	}
	if !s.enter(entry) {
		session.Close()
		s.release(client)
		refuse(w, errDraining)
		return
	}
	s.created(w, entry)
}

// asker asks Authorize again about a request, of which it keeps no more than the head.
func (e *Endpoint) asker(r *http.Request, stream media.Name) func() error {
	head := &http.Request{Method: r.Method, URL: r.URL, Header: r.Header, Host: r.Host, RemoteAddr: r.RemoteAddr}
	return func() error {
		_, err := e.Authorize(head, stream)
		return err
	}
}

// created answers 201, or 406 with an offer of ours (draft-ietf-wish-whep-03, section 4.2.2).
func (s *Server) created(w http.ResponseWriter, e *entry) {
	location := "/sessions/" + e.id
	header := w.Header()
	header.Set("Content-Type", typeSDP)
	header.Set("Location", location)
	header.Set("ETag", e.tag)
	header.Set("Accept-Patch", e.patches())
	header.Set("Cache-Control", "no-store")
	for _, x := range e.endpoint.Extensions {
		header.Add("Link", fmt.Sprintf("<%s/%s>; rel=%q", location, x.Name, x.Rel))
	}
	if s.config.ICEServers != nil {
		for _, server := range s.config.ICEServers(e.user) {
			header.Add("Link", server.link())
		}
	}
	status, text := http.StatusCreated, e.session.Answer()
	if o, ok := e.session.(Offerer); ok && e.ours != nil {
		status, text = http.StatusNotAcceptable, e.ours.Text
		header.Set("Content-Type", offerType(o.ValidUntil()))
	}
	header.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // a client that is gone is reaped: its ICE never completes
}

// offerType is the type of an offer of ours. Players need not look at the parameter: without it an offer is valid for
// 30 s (draft-ietf-wish-whep-03, section 4.2.2), and this one is for that long unless somebody has configured less.
func offerType(until time.Time) string {
	return typeSDP + `; valid-until="` + until.UTC().Format(http.TimeFormat) + `"`
}

// patches lists the types of bodies that PATCH takes.
func (e *entry) patches() string {
	if e.ours != nil {
		return typeSDP + ", " + typeFragment
	}
	return typeFragment
}

// link writes the server as a header (RFC 9725 section 4.6).
func (i ICEServer) link() string {
	link := "<" + i.URL + `>; rel="ice-server"`
	if i.Username != "" {
		link += fmt.Sprintf("; username=%q; credential=%q; credential-type=\"password\"", i.Username, i.Credential)
	}
	return link
}

// readBody reads a body of the given type, or answers why not.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, want string, most int64) (string, bool) {
	if !isType(r.Header, want) {
		problem.UnsupportedMediaType(w, []string{want})
		return "", false
	}
	// Recorders and HTTP/1.0 hijackers have no deadline; every real connection has.
	connection := http.NewResponseController(w)
	_ = connection.SetReadDeadline(time.Now().Add(s.config.BodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if err == nil {
		_ = connection.SetReadDeadline(time.Time{}) // or it would end the request's context while a session is made
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		problem.WriteError(w, err)
	case err != nil:
		problem.Write(w, http.StatusRequestTimeout, "The body did not arrive whole and in time. Send it again.")
	}
	return string(body), err == nil
}

// isType tells whether the body is plainly of the given type.
func isType(header http.Header, want string) bool {
	values := header.Values("Content-Type")
	if len(values) != 1 || header.Get("Content-Encoding") != "" {
		return false
	}
	got, parameters, err := mime.ParseMediaType(values[0])
	charset := strings.ToLower(parameters["charset"])
	return err == nil && got == want && slices.Contains([]string{"", "utf-8", "us-ascii"}, charset)
}

// refuse says why there is no place.
func refuse(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, errGreedy):
		problem.TooManyRequests(w, "Your address has as many sessions here as it may. End some first.", reaction)
	case errors.Is(err, errDraining):
		problem.Unavailable(w, "This server is about to stop and takes nobody new. Try again: another one will answer.", reaction)
	default:
		problem.Unavailable(w, "This server carries as many sessions as it can. Try again in a moment.", reaction)
	}
}

// fail answers with what went wrong. What is our own fault goes to the log instead.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var description *sdp.Error
	var answerer problem.Answerer
	switch {
	case errors.As(err, &description) && description.Understood:
		problem.Unprocessable(w, description.Detail)
	case errors.As(err, &description):
		problem.BadRequest(w, description.Detail)
	case errors.As(err, &answerer):
		if status, _, _ := answerer.Answer(); status == http.StatusUnauthorized || status == http.StatusForbidden {
			s.logRefusal(r, status, err)
		}
		problem.WriteError(w, err)
	case r.Context().Err() != nil: // the client has gone; nobody reads this
		problem.Internal(w)
	case errors.Is(err, context.DeadlineExceeded): // many came at once, see setUpPatience
		problem.Unavailable(w, "This server is too busy to set a session up in time. Try again in a moment.", reaction)
	default:
		s.config.Logger.Error("request failed", "method", r.Method, "path", r.URL.Path, "peer", r.RemoteAddr, "cause", err)
		problem.Internal(w)
	}
}

// logRefusal tells the operator who may not do what it asked for. A publisher's screen often shows no more than "401".
func (s *Server) logRefusal(r *http.Request, status int, cause error) {
	const most = 120 // bytes: the path is the client's
	path := auth.RedactText(r.URL.Path)
	path = strings.ToValidUTF8(path[:min(len(path), most)], "?")
	s.refusals.Write(time.Now(), "request refused", "method", r.Method, "path", path,
		"peer", s.config.Client(r), "status", status, "cause", auth.RedactText(cause.Error()))
}

// allowOrigins lets pages from anywhere use the address (RFC 9725 section 4.2): what protects it is the token.
func allowOrigins(header http.Header, methods []string) {
	header.Set("Access-Control-Allow-Origin", "*")
	header.Set("Access-Control-Allow-Methods", strings.Join(methods, ", "))
	header.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, If-Match")
	header.Set("Access-Control-Expose-Headers", "Location, ETag, Link, Retry-After, Accept-Post, Accept-Patch, WWW-Authenticate")
	header.Set("Access-Control-Max-Age", "86400")
}

// count counts answers.
func (s *Server) count(endpoint string, next http.HandlerFunc) http.Handler {
	known := []string{"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		watched := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next(watched, r)
		method := r.Method
		if !slices.Contains(known, method) {
			method = "other"
		}
		s.requests.WithLabelValues(endpoint, method, strconv.Itoa(watched.status)).Inc()
	})
}

// statusWriter remembers the status of the answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}
