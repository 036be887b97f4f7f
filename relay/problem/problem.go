// Package problem answers failed HTTP requests in one voice: application/problem+json, RFC 9457.
//
// A reply has a status, its standard title and a detail: one or two sentences that tell the reader what to do next.
// The detail is written by us for a stranger. It never holds an error of the Go runtime, a path, an address, a stack
// or anything else from inside; those belong in the log.
//
//	problem.Write(w, status, detail, options…)  any status
//	problem.Conflict(w, detail, …)              one helper per status that Banyan uses; where a status demands
//	                                            a header (Allow, WWW-Authenticate, Retry-After), the helper asks for it
//	problem.WriteError(w, err)                  for errors that know their own answer, see [Answerer]
//	problem.Recover(log, next)                  a panic of one request becomes a 500, logged once
//	problem.Mux(mux)                            the 404 and 405 of an http.ServeMux in the same voice
//
// The package knows nothing of streams or tokens and imports nothing of the module: an error type elsewhere joins in
// by having the method that [Answerer] asks for.
package problem

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ContentType is the media type of every answer of this package.
const ContentType = "application/problem+json"

// An Option adds to an answer what only some have.
type Option func(*answer)

// answer is a reply in the making.
type answer struct {
	header  http.Header
	members map[string]any
}

// Header sets a response header.
func Header(name, value string) Option {
	return func(a *answer) { a.header.Set(name, value) }
}

// RetryAfter tells the client to come back after d, rounded up to whole seconds and at least one, so that a client
// that obeys never comes back at once.
func RetryAfter(d time.Duration) Option {
	seconds := max(1, int64((d+time.Second-1)/time.Second))
	return Header("Retry-After", strconv.FormatInt(seconds, 10))
}

// Type sets the problem type, a URI reference that programs may branch on. Without it the type is about:blank, which
// says that the status tells all (RFC 9457 section 4.2.1).
func Type(uri string) Option { return Member("type", uri) }

// Member adds an extension member (RFC 9457 section 3.2). It cannot replace status, title or detail.
func Member(name string, value any) Option {
	return func(a *answer) { a.members[name] = value }
}

// Write answers the request with status and detail. It writes the header, so nothing may have been written before.
// Headers that describe a body meant for success (its type, length, caching, validators) are replaced or removed.
func Write(w http.ResponseWriter, status int, detail string, options ...Option) {
	a := answer{header: http.Header{}, members: map[string]any{}}
	for _, option := range options {
		option(&a)
	}
	a.members["title"] = http.StatusText(status)
	a.members["status"] = status
	a.members["detail"] = detail
	body, err := json.Marshal(a.members)
	if err != nil { // a member that JSON cannot hold is our mistake; the client still gets its answer
		body, _ = json.Marshal(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail})
	}

	header := w.Header()
	for _, name := range []string{"Content-Encoding", "ETag", "Last-Modified", "Accept-Ranges"} {
		header.Del(name)
	}
	header.Set("Content-Type", ContentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("X-Content-Type-Options", "nosniff")
	// A cached failure would outlive its cause: a stream that starts a second later must be found.
	header.Set("Cache-Control", "no-store")
	for _, name := range slices.Sorted(maps.Keys(a.header)) {
		header[name] = a.header[name]
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone; there is nobody left to tell
}

// BadRequest answers 400: the request cannot be understood.
func BadRequest(w http.ResponseWriter, detail string, options ...Option) {
	Write(w, http.StatusBadRequest, detail, options...)
}

// Unauthorized answers 401 with the Bearer challenge that RFC 9110 section 11.6.1 demands. A WWW-Authenticate
// among the options replaces the plain challenge.
func Unauthorized(w http.ResponseWriter, detail string, options ...Option) {
	challenge := []Option{Header("WWW-Authenticate", "Bearer")}
	Write(w, http.StatusUnauthorized, detail, append(challenge, options...)...)
}

// Forbidden answers 403: the token is good, but not for this.
func Forbidden(w http.ResponseWriter, detail string, options ...Option) {
	Write(w, http.StatusForbidden, detail, options...)
}

// NotFound answers 404.
func NotFound(w http.ResponseWriter, detail string, options ...Option) {
	Write(w, http.StatusNotFound, detail, options...)
}

// MethodNotAllowed answers 405 with the methods that do work (RFC 9110 section 15.5.6 demands the Allow header).
func MethodNotAllowed(w http.ResponseWriter, allow []string, options ...Option) {
	methods := strings.Join(allow, ", ")
	detail := "This address does not take that method. Use one of: " + methods + "."
	Write(w, http.StatusMethodNotAllowed, detail, append([]Option{Header("Allow", methods)}, options...)...)
}

// NotAcceptable answers 406: none of the forms that the client accepts can be made.
func NotAcceptable(w http.ResponseWriter, detail string, options ...Option) {
	Write(w, http.StatusNotAcceptable, detail, options...)
}

// Conflict answers 409: right request, wrong moment. Add [RetryAfter] where time alone will mend it.
func Conflict(w http.ResponseWriter, detail string, options ...Option) {
	Write(w, http.StatusConflict, detail, options...)
}

// PreconditionFailed answers 412: the If-Match tag is not the current one.
func PreconditionFailed(w http.ResponseWriter, detail string, options ...Option) {
	Write(w, http.StatusPreconditionFailed, detail, options...)
}

// TooLarge answers 413: the body exceeds what this address takes.
func TooLarge(w http.ResponseWriter, detail string, options ...Option) {
	Write(w, http.StatusRequestEntityTooLarge, detail, options...)
}

// UnsupportedMediaType answers 415 and names the types that would do.
func UnsupportedMediaType(w http.ResponseWriter, want []string, options ...Option) {
	types := strings.Join(want, ", ")
	detail := "Send the body with Content-Type " + strings.Join(want, " or ") + "."
	Write(w, http.StatusUnsupportedMediaType, detail, append([]Option{Header("Accept", types)}, options...)...)
}

// Unprocessable answers 422: understood, well formed, and not something this server can do.
func Unprocessable(w http.ResponseWriter, detail string, options ...Option) {
	Write(w, http.StatusUnprocessableEntity, detail, options...)
}

// PreconditionRequired answers 428: the request needs an If-Match header (RFC 6585 section 3).
func PreconditionRequired(w http.ResponseWriter, detail string, options ...Option) {
	Write(w, http.StatusPreconditionRequired, detail, options...)
}

// TooManyRequests answers 429: this client asks too often; it may come back after the given time.
func TooManyRequests(w http.ResponseWriter, detail string, after time.Duration, options ...Option) {
	Write(w, http.StatusTooManyRequests, detail, append([]Option{RetryAfter(after)}, options...)...)
}

// Internal answers 500. It takes no detail: what went wrong inside is for the log.
func Internal(w http.ResponseWriter, options ...Option) {
	Write(w, http.StatusInternalServerError, "Something went wrong on our side. Try again; if it stays, "+
		"tell the operator the time of this request, the server's log has the cause.", options...)
}

// Unavailable answers 503: the server as a whole cannot take this now, but may after the given time.
func Unavailable(w http.ResponseWriter, detail string, after time.Duration, options ...Option) {
	Write(w, http.StatusServiceUnavailable, detail, append([]Option{RetryAfter(after)}, options...)...)
}

// An Answerer is an error that knows how it is answered over HTTP. Detail is fit for strangers, as for [Write];
// header, which may be nil, holds what the status demands, such as WWW-Authenticate.
type Answerer interface {
	error
	Answer() (status int, detail string, header http.Header)
}

// WriteError answers with what the nearest [Answerer] in err's tree says, and with 500 if there is none: the text of
// any other error was written for us and not for the client. A body cut off by http.MaxBytesReader is 413.
func WriteError(w http.ResponseWriter, err error, options ...Option) {
	var answerer Answerer
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &answerer):
		status, detail, header := answerer.Answer()
		var demanded []Option
		for name := range header {
			demanded = append(demanded, Header(name, header.Get(name)))
		}
		Write(w, status, detail, append(demanded, options...)...)
	case errors.As(err, &tooLarge):
		TooLarge(w, "The body is too large. Send at most "+strconv.FormatInt(tooLarge.Limit, 10)+" bytes.", options...)
	default:
		Internal(w, options...)
	}
}
