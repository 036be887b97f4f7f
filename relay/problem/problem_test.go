package problem_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"banyan/relay/problem"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// document is what a client reads.
type document struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

func wantProblem(t *testing.T, resp *http.Response, status int) document {
	t.Helper()
	if resp.StatusCode != status {
		t.Errorf("status: got %d, want %d", resp.StatusCode, status)
	}
	if got := resp.Header.Get("Content-Type"); got != problem.ContentType {
		t.Errorf("Content-Type: got %q, want %q", got, problem.ContentType)
	}
	if got := resp.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control: got %q, want no-store: a failure must not outlive its cause", got)
	}
	var doc document
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		t.Fatalf("body is not JSON: %v", err)
	}
	if doc.Status != status || doc.Title != http.StatusText(status) {
		t.Errorf("document: got %d %q, want %d %q", doc.Status, doc.Title, status, http.StatusText(status))
	}
	if !strings.HasSuffix(doc.Detail, ".") {
		t.Errorf("detail %q is not a sentence", doc.Detail)
	}
	return doc
}

func TestEachHelperGivesItsStatusAndTheHeadersThatGoWithIt(t *testing.T) {
	const detail = "Do this instead."
	for _, c := range []struct {
		status int
		write  func(http.ResponseWriter)
		header string
		value  string
	}{
		{400, func(w http.ResponseWriter) { problem.BadRequest(w, detail) }, "", ""},
		{401, func(w http.ResponseWriter) { problem.Unauthorized(w, detail) }, "WWW-Authenticate", "Bearer"},
		{401, func(w http.ResponseWriter) {
			problem.Unauthorized(w, detail, problem.Header("WWW-Authenticate", `Bearer error="invalid_token"`))
		}, "WWW-Authenticate", `Bearer error="invalid_token"`},
		{403, func(w http.ResponseWriter) { problem.Forbidden(w, detail) }, "", ""},
		{404, func(w http.ResponseWriter) { problem.NotFound(w, detail) }, "", ""},
		{405, func(w http.ResponseWriter) { problem.MethodNotAllowed(w, []string{"GET", "POST"}) }, "Allow", "GET, POST"},
		{406, func(w http.ResponseWriter) { problem.NotAcceptable(w, detail) }, "", ""},
		{409, func(w http.ResponseWriter) { problem.Conflict(w, detail) }, "Retry-After", ""},
		{409, func(w http.ResponseWriter) { problem.Conflict(w, detail, problem.RetryAfter(0)) }, "Retry-After", "1"},
		{412, func(w http.ResponseWriter) { problem.PreconditionFailed(w, detail) }, "", ""},
		{413, func(w http.ResponseWriter) { problem.TooLarge(w, detail) }, "", ""},
		{415, func(w http.ResponseWriter) { problem.UnsupportedMediaType(w, []string{"application/sdp"}) }, "Accept", "application/sdp"},
		{422, func(w http.ResponseWriter) { problem.Unprocessable(w, detail) }, "", ""},
		{428, func(w http.ResponseWriter) { problem.PreconditionRequired(w, detail) }, "", ""},
		{429, func(w http.ResponseWriter) { problem.TooManyRequests(w, detail, 1500*time.Millisecond) }, "Retry-After", "2"},
		{500, func(w http.ResponseWriter) { problem.Internal(w) }, "", ""},
		{503, func(w http.ResponseWriter) { problem.Unavailable(w, detail, 30*time.Second) }, "Retry-After", "30"},
	} {
		t.Run(fmt.Sprintf("%d %s", c.status, c.value), func(t *testing.T) {
			w := httptest.NewRecorder()
			c.write(w)
			wantProblem(t, w.Result(), c.status)
			if c.header != "" {
				if got := w.Header().Get(c.header); got != c.value {
					t.Errorf("%s: got %q, want %q", c.header, got, c.value)
				}
			}
		})
	}
}

func TestAnAnswerDropsTheHeadersOfTheReplyItReplaces(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header().Set("ETag", `"1"`)
	w.Header().Set("Content-Encoding", "gzip")
	w.Header().Set("Access-Control-Allow-Origin", "*")
	problem.NotFound(w, "Ask for another stream.")
	if w.Header().Get("ETag") != "" || w.Header().Get("Content-Encoding") != "" {
		t.Errorf("headers of the body that was not sent remain: %v", w.Header())
	}
	if w.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Error("the CORS header is gone, so a browser page could not read why it failed")
	}
}

func TestMembersExtendButDoNotReplace(t *testing.T) {
	w := httptest.NewRecorder()
	problem.Write(w, 409, "Wait.", problem.Type("/problems/no-publisher"), problem.Member("stream", "cup/cam1"),
		problem.Member("status", 200), problem.Member("broken", func() {}))
	wantProblem(t, w.Result(), 409)

	w = httptest.NewRecorder()
	problem.Write(w, 409, "Wait.", problem.Type("/problems/no-publisher"), problem.Member("status", 200))
	if doc := wantProblem(t, w.Result(), 409); doc.Type != "/problems/no-publisher" {
		t.Errorf("type: got %q, want /problems/no-publisher", doc.Type)
	}
}

// forbidden is an error with an answer, as packages that check tokens have.
type forbidden struct{ error }

func (forbidden) Answer() (int, string, http.Header) {
	return 401, "Bring a token.", http.Header{"Www-Authenticate": {`Bearer realm="x"`}}
}

func TestWriteErrorAsksTheErrorAndKeepsSecretsOfOthers(t *testing.T) {
	w := httptest.NewRecorder()
	problem.WriteError(w, fmt.Errorf("attach: %w", forbidden{errors.New("inner")}))
	doc := wantProblem(t, w.Result(), 401)
	if doc.Detail != "Bring a token." || w.Header().Get("WWW-Authenticate") != `Bearer realm="x"` {
		t.Errorf("got %q %v, want the error's own answer", doc.Detail, w.Header())
	}

	w = httptest.NewRecorder()
	problem.WriteError(w, errors.New("open /var/lib/banyan/secret: permission denied"))
	if doc := wantProblem(t, w.Result(), 500); strings.Contains(doc.Detail, "/var") {
		t.Errorf("detail %q tells of our insides", doc.Detail)
	}

	w = httptest.NewRecorder()
	_, err := io.ReadAll(http.MaxBytesReader(w, io.NopCloser(strings.NewReader("12345")), 4))
	problem.WriteError(w, err)
	if doc := wantProblem(t, w.Result(), 413); !strings.Contains(doc.Detail, "4 bytes") {
		t.Errorf("detail %q does not name the limit", doc.Detail)
	}
}

func serve(t *testing.T, h http.Handler) (*httptest.Server, *http.Client) {
	t.Helper()
	server := httptest.NewServer(h)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(server.Close)
	client := server.Client()
	t.Cleanup(client.CloseIdleConnections)
	return server, client
}

func TestAPanicEndsOneRequestOnly(t *testing.T) {
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	mux := http.NewServeMux()
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic("secret cause") })
	mux.HandleFunc("/ok", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	server, client := serve(t, problem.Recover(log, mux))

	resp, err := client.Get(server.URL + "/panic?token=hidden")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if doc := wantProblem(t, resp, 500); strings.Contains(doc.Detail, "secret cause") {
		t.Errorf("detail %q shows the cause", doc.Detail)
	}
	if got := strings.Count(text.String(), "request panicked"); got != 1 {
		t.Errorf("logged %d lines, want 1:\n%s", got, text.String())
	}
	if !strings.Contains(text.String(), "secret cause") || strings.Contains(text.String(), "hidden") {
		t.Errorf("the log must have the cause and not the query:\n%s", text.String())
	}

	again, err := client.Get(server.URL + "/ok")
	if err != nil {
		t.Fatalf("the next request fails: %v", err)
	}
	again.Body.Close()
}

func TestAPanicAfterTheReplyBeganCutsTheConnection(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	server, client := serve(t, problem.Recover(log, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("flush through the middleware: %v", err)
		}
		panic("late")
	})))
	resp, err := client.Get(server.URL)
	if err != nil {
		return // cut before the client saw the header: as good
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("read %q without an error: a broken reply looks whole", body)
	}
}

func TestAnAbortPassesThroughUnlogged(t *testing.T) {
	var text bytes.Buffer
	h := problem.Recover(slog.New(slog.NewTextHandler(&text, nil)), http.HandlerFunc(
		func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer func() {
		if cause := recover(); cause != http.ErrAbortHandler {
			t.Errorf("recovered %v, want http.ErrAbortHandler", cause)
		}
		if text.Len() > 0 {
			t.Errorf("logged %q", text.String())
		}
	}()
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
}

func TestMuxRefusesInTheSameVoice(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /whip/{stream...}", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.PathValue("stream"))
	})
	mux.HandleFunc("GET /gone", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "own text", 404) })
	h := problem.Mux(mux)
	ask := func(method, path string) *http.Response {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w.Result()
	}
	wantProblem(t, ask("GET", "/nothing"), 404)
	resp := ask("DELETE", "/whip/cup/cam1")
	wantProblem(t, resp, 405)
	if got := resp.Header.Get("Allow"); got != "POST" {
		t.Errorf("Allow: got %q, want POST", got)
	}
	if body, _ := io.ReadAll(ask("POST", "/whip/cup/cam1").Body); string(body) != "cup/cam1" {
		t.Errorf("path value: got %q, want cup/cam1", body)
	}
	if body, _ := io.ReadAll(ask("GET", "/gone").Body); string(body) != "own text\n" {
		t.Errorf("a handler's own 404 became %q", body)
	}
}
