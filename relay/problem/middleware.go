package problem

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
)

// Recover serves next and turns a panic of one request into a 500 answer and one line in log, with the stack; the
// process and every other request go on. If the reply has already begun, the connection is cut instead, so that
// the client sees a broken reply and not a short one that looks whole. http.ErrAbortHandler, by which a handler
// asks for just that, passes through unlogged.
func Recover(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		watched := &watchedWriter{ResponseWriter: w}
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(http.ErrAbortHandler)
			}
			// The path is logged, the query is not: people put secrets there however often we ask them not to.
			log.Error("request panicked", "method", r.Method, "path", r.URL.Path, "peer", r.RemoteAddr,
				"cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
			if watched.begun {
				panic(http.ErrAbortHandler)
			}
			Internal(w)
		}()
		next.ServeHTTP(watched, r)
	})
}

// Mux serves mux, with the plain text that http.ServeMux sends for unknown paths and wrong methods replaced by
// problem documents. What mux has a pattern for is not touched.
func Mux(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		unmatched, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r) // not unmatched.ServeHTTP: only the mux fills in the path values
			return
		}
		refusal := refusal{header: http.Header{}}
		unmatched.ServeHTTP(&refusal, r)
		if refusal.status == http.StatusMethodNotAllowed {
			MethodNotAllowed(w, strings.Split(refusal.header.Get("Allow"), ", "))
			return
		}
		NotFound(w, "There is nothing at this address. Check the path: streams are under /watch/, /whip/, /whep/ and /hls/, and /api/v1/openapi.json lists the rest.")
	})
}

// watchedWriter notes whether the reply has begun. It gives way to http.ResponseController by Unwrap, so
// flushing, hijacking and deadlines work as if it were not there.
type watchedWriter struct {
	http.ResponseWriter
	begun bool // owned by the request's goroutine
}

func (w *watchedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *watchedWriter) WriteHeader(status int) {
	// 1xx replies are announcements; the real one is still to come.
	w.begun = w.begun || status >= 200 || status == http.StatusSwitchingProtocols
	w.ResponseWriter.WriteHeader(status)
}

func (w *watchedWriter) Write(p []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(p)
}

// Flush begins the reply, as http.Flusher says.
func (w *watchedWriter) Flush() { _ = w.FlushError() }

// FlushError is what http.ResponseController prefers to Flush.
func (w *watchedWriter) FlushError() error {
	w.begun = true
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// refusal keeps the status and headers by which a ServeMux refuses, and drops the text.
type refusal struct {
	header http.Header
	status int
}

func (r *refusal) Header() http.Header         { return r.header }
func (r *refusal) WriteHeader(status int)      { r.status = status }
func (r *refusal) Write(p []byte) (int, error) { return len(p), nil }
