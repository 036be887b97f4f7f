package web

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
)

// notBuiltPage is what a binary without pages shows. It has no style of its
// own: the content security policy allows none inline.
const notBuiltPage = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark"><title>Pages are not built</title></head>
<body>
<h1>The pages are not built</h1>
<p>This binary was compiled before its pages. Run <code>make build</code> and start it again.</p>
<p>The server itself works: publishing, WHEP, HLS, RTSP and the API answer as usual.</p>
</body>
</html>
`

// notBuilt answers for every page while there is none.
func notBuilt(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Add("Vary", "Accept")
	if !asksForHTML(r.Header.Values("Accept")) {
		h.Set("Cache-Control", "no-store")
		problem(w, http.StatusServiceUnavailable, "This binary was compiled before its pages. Run `make build` and start it again.")
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(notBuiltPage)))
	w.WriteHeader(http.StatusServiceUnavailable)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, notBuiltPage) // the client went away; there is no one to tell
	}
}

// problem answers with a problem+json (RFC 9457) whose detail says what to do.
func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	// The client may be gone; there is no one to tell.
	_ = json.NewEncoder(w).Encode(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{"about:blank", http.StatusText(status), status, detail})
}
