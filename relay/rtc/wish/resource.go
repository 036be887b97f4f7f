package wish

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"banyan/relay/problem"
	"banyan/relay/rtc/sdp"
)

// ServeHTTP serves the session resources, /sessions/{id} and what is below.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.count("sessions", s.resource).ServeHTTP(w, r)
}

func (s *Server) resource(w http.ResponseWriter, r *http.Request) {
	id, name, below := strings.Cut(strings.TrimPrefix(r.URL.Path, "/sessions/"), "/")
	methods := []string{"PATCH", "DELETE", "OPTIONS", "GET", "HEAD"}
	if below {
		methods = []string{"POST", "OPTIONS"}
	}
	allowOrigins(w.Header(), methods)
	if r.Method == http.MethodOptions { // a preflight carries no token
		if !below {
			w.Header().Set("Accept-Patch", typeFragment)
		}
		w.WriteHeader(http.StatusOK)
		return
	}
	if !slices.Contains(methods, r.Method) {
		problem.MethodNotAllowed(w, methods)
		return
	}
	if !s.patches.allow(host(s.config.Client(r)), time.Now()) {
		problem.TooManyRequests(w, "You change sessions too often. Wait a little between requests.", reaction)
		return
	}
	e := s.find(id)
	if e == nil {
		gone(w)
		return
	}
	if !s.owned(w, r, e) {
		return
	}
	why := e.whyEnded()
	switch {
	case why != nil && (e.session == nil || r.Method != http.MethodDelete): // DELETE also waits until nothing is left
		answerEnded(w, r, why)
	case below:
		e.extension(w, r, name)
	case r.Method == http.MethodPatch:
		s.patch(w, r, e)
	case r.Method == http.MethodDelete:
		s.delete(w, e)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

func gone(w http.ResponseWriter) {
	problem.NotFound(w, "There is no such session, or no longer. Make a new one with POST.")
}

// owned lets only the user that made the session touch it.
func (s *Server) owned(w http.ResponseWriter, r *http.Request, e *entry) bool {
	claims, err := e.endpoint.Authorize(r, e.stream)
	if err != nil {
		s.fail(w, r, err)
		return false
	}
	if e.user != "" && claims.User != e.user {
		problem.Forbidden(w, "This session belongs to somebody else. Use the token that it was made with.")
		return false
	}
	return true
}

func (e *entry) extension(w http.ResponseWriter, r *http.Request, name string) {
	for _, x := range e.endpoint.Extensions {
		if x.Name == name {
			x.Serve(w, r, e.session)
			return
		}
	}
	problem.NotFound(w, "Sessions have nothing at this address. The Link headers of the answer to POST list what they have.")
}

// delete ends the session. If-Match is ignored (RFC 9725 section 4.2).
func (s *Server) delete(w http.ResponseWriter, e *entry) {
	s.forget(e)
	e.session.Close()
	w.WriteHeader(http.StatusOK)
}

// patch answers our offer, adds candidates, or restarts ICE.
func (s *Server) patch(w http.ResponseWriter, r *http.Request, e *entry) {
	if e.ours != nil && isType(r.Header, typeSDP) {
		s.conclude(w, r, e)
		return
	}
	text, ok := s.readBody(w, r, typeFragment, sdp.MaxFragmentBytes)
	if !ok {
		return
	}
	f, err := sdp.ParseFragment(text)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if !e.take(w, r) {
		return
	}
	defer e.give()
	if e.ours != nil && !e.concluded {
		problem.Conflict(w, "The offer of this session is not answered yet. Send your answer first, as "+typeSDP+".")
		return
	}
	if !matches(w, r.Header.Values("If-Match"), e.tag) {
		return
	}
	known := f.Ufrag == e.ufrag && f.Password == e.secret
	switch {
	case f.Ufrag != "" && !known:
		s.restart(w, r, e, f)
	case known && e.restarted != "" && whatever(r.Header.Get("If-Match")):
		s.repeat(w, r, e, f)
	default:
		s.trickle(w, r, e, f)
	}
}

// take waits for the session's turn, or answers why it does not come: changes are made one at a time, in the order in
// which they come. Who has it gives it back.
func (e *entry) take(w http.ResponseWriter, r *http.Request) bool {
	select {
	case <-e.turn:
		return true
	case <-e.session.Done():
		gone(w)
	case <-r.Context().Done():
	}
	return false
}

func (e *entry) give() { e.turn <- struct{}{} }

// conclude takes the answer to our offer. It needs no If-Match: there is only one answer, whatever the ICE generation.
func (s *Server) conclude(w http.ResponseWriter, r *http.Request, e *entry) {
	text, ok := s.readBody(w, r, typeSDP, sdp.MaxBytes)
	if !ok || !e.take(w, r) {
		return
	}
	defer e.give()
	if e.concluded {
		problem.Conflict(w, "The offer of this session is answered already. Make a new session with POST to change what was agreed.")
		return
	}
	answer, err := sdp.ParseAnswer(text, e.ours)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	var mistake *sdp.Error
	switch err := e.session.(Offerer).Conclude(answer); {
	case errors.As(err, &mistake):
		s.fail(w, r, err)
		return
	case err != nil:
		gone(w)
		return
	}
	e.concluded = true
	e.speaksFor(answer.Media, answer.Ufrag, answer.Password)
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) trickle(w http.ResponseWriter, r *http.Request, e *entry, f *sdp.Fragment) {
	if s.add(w, r, e, f) {
		w.WriteHeader(http.StatusNoContent) // without ETag: it is still the same generation (RFC 9725 section 4.3.2)
	}
}

// add adds the candidates of a fragment, or answers why not. Those of m-lines that are not there are dropped like others
// that cannot be used.
func (s *Server) add(w http.ResponseWriter, r *http.Request, e *entry, f *sdp.Fragment) bool {
	known := len(f.MIDs) == 0 || slices.ContainsFunc(f.MIDs, func(mid string) bool { return slices.Contains(e.mids, mid) })
	if !known {
		return true
	}
	if err := e.session.Trickle(f); err != nil {
		s.fail(w, r, err)
		return false
	}
	return true
}

func (s *Server) restart(w http.ResponseWriter, r *http.Request, e *entry, f *sdp.Fragment) {
	if slices.Contains(e.past, f.Ufrag) {
		problem.PreconditionFailed(w, "ICE was restarted since with other credentials than these. To restart it again, make new ones.")
		return
	}
	ours, err := e.session.Restart(r.Context(), f)
	if err != nil {
		select {
		case <-e.session.Done():
			gone(w)
		default:
			s.config.Logger.Debug("ICE restart failed", "stream", e.stream, "cause", err)
			problem.Unprocessable(w, "ICE could not be restarted with these credentials. The session goes on while its "+
				"connection lasts; otherwise make a new one.")
		}
		return
	}
	e.past = append(e.past, e.ufrag)
	e.past = e.past[max(0, len(e.past)-pastKept):]
	e.ufrag, e.secret, e.tag, e.restarted = f.Ufrag, f.Password, newTag(), ours.String()
	e.answerRestart(w)
}

// pastKept is how many of a peer's former names are known, so that a request for a restart that comes late, or twice,
// undoes none that came after it: ICE wants new credentials each time (RFC 8445 section 9).
const pastKept = 4

// repeat answers a restart that was made before once more: a client that never got the answer, as its network went
// away under the request, asks again with the same words, and would be lost without ours. Candidates that it has found
// meanwhile are added.
func (s *Server) repeat(w http.ResponseWriter, r *http.Request, e *entry, f *sdp.Fragment) {
	if s.add(w, r, e, f) {
		e.answerRestart(w)
	}
}

func (e *entry) answerRestart(w http.ResponseWriter) {
	w.Header().Set("Content-Type", typeFragment)
	w.Header().Set("ETag", e.tag)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	_, _ = io.WriteString(w, e.restarted)
}

// whatever tells whether If-Match is an asterisk, by which ICE is restarted (RFC 9725 section 4.3.3). The RFC's own
// example quotes it, so that counts as one too.
func whatever(tag string) bool { return tag == "*" || tag == `"*"` }

// matches evaluates If-Match (RFC 9110 section 13.1.1, RFC 9725 section 4.3), or answers why not.
func matches(w http.ResponseWriter, values []string, tag string) bool {
	const longest = 128
	switch {
	case len(values) == 0:
		problem.PreconditionRequired(w, "Send If-Match with the ETag of the session, or with \"*\" to restart ICE.")
	case len(values) > 1 || len(values[0]) > longest:
		problem.BadRequest(w, "Send one If-Match header with one tag.")
	case whatever(values[0]) || values[0] == tag:
		return true
	case !strings.HasPrefix(values[0], `"`) && !strings.HasPrefix(values[0], "W/"):
		problem.BadRequest(w, "The tag in If-Match is not quoted. Send the ETag as you got it.")
	default: // weak tags never match
		problem.PreconditionFailed(w, "The session has another ETag by now. Use the newest one that you were given.")
	}
	return false
}
