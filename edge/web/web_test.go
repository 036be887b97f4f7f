package web

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var grammar = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}(/[A-Za-z0-9_-]{1,64}){0,3}$`)

func checkName(name string) error {
	if !grammar.MatchString(name) {
		return errors.New("bad name")
	}
	return nil
}

// build is a small output of the build. Its compressed twins need not be real
// gzip: they are handed out as they are.
func build() fstest.MapFS {
	return fstest.MapFS{
		".gitkeep":                 {},
		"index.html":               {Data: []byte("landing")},
		"index.html.gz":            {Data: []byte("landing, small")},
		"watch.html":               {Data: []byte("watch")},
		"publish.html":             {Data: []byte("publish")},
		"ops.html":                 {Data: []byte("ops")},
		"404.html":                 {Data: []byte("no such page")},
		"favicon.svg":              {Data: []byte("<svg/>")},
		"assets/watch-Ab12.js":     {Data: []byte("play()")},
		"assets/watch-Ab12.js.gz":  {Data: []byte("play(), small")},
		"assets/theme-Cd34.css":    {Data: []byte("a{}")},
		"assets/.secret":           {Data: []byte("hidden")},
		"assets/picture-Ef56.webp": {Data: []byte("picture")},
	}
}

func newPages(t *testing.T, config Config) *Pages {
	t.Helper()
	if config.CheckName == nil {
		config.CheckName = checkName
	}
	pages, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return pages
}

func ask(t *testing.T, pages http.Handler, method, target string, header ...string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	pages.ServeHTTP(w, r)
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Result(), string(body)
}

func TestAddresses(t *testing.T) {
	pages := newPages(t, Config{Files: build()})
	long := strings.Repeat("a", 65)
	for _, test := range []struct {
		path   string
		status int
		body   string
	}{
		{"/", 200, "landing"},
		{"/watch/cam1", 200, "watch"},
		{"/watch/cup/cam1", 200, "watch"},
		{"/watch/calls/7f3a/ana/camera?transport=hls", 200, "watch"},
		{"/watch/cup%2Fcam1", 200, "watch"}, // the same name, escaped
		{"/publish/", 200, "publish"},
		{"/publish/cup/cam1", 200, "publish"},
		{"/ops", 200, "ops"},
		{"/ops/", 200, "ops"},
		{"/ops/cup", 404, "no such page"},
		{"/favicon.svg", 200, "<svg/>"},
		{"/assets/watch-Ab12.js", 200, "play()"},
		{"/watch/", 404, "no such page"},
		{"/watch/a/b/c/d/e", 404, "no such page"}, // a fifth segment
		{"/watch/cup/", 404, "no such page"},
		{"/watch/%2e%2e%2fetc", 404, "no such page"},
		{"/watch/a%00b", 404, "no such page"},
		{"/watch/<script>", 404, "no such page"},
		{"/watch/" + long, 404, "no such page"},
		{"/publish/a%20b", 404, "no such page"},
		{"/nowhere", 404, "no such page"},
		{"/watch.html", 404, "no such page"}, // files are not addresses
		{"/.gitkeep", 404, "no such page"},
	} {
		response, body := ask(t, pages, "GET", test.path, "Accept", navigation)
		if response.StatusCode != test.status || body != test.body {
			t.Errorf("GET %s: got %d %q, want %d %q", test.path, response.StatusCode, body, test.status, test.body)
		}
	}
	for _, path := range []string{"/assets/gone-99.js", "/assets/.secret", "/assets/watch-Ab12.js.gz", "/assets/..%2findex.html"} {
		if response, body := ask(t, pages, "GET", path); response.StatusCode != 404 {
			t.Errorf("GET %s: got %d %q, want 404", path, response.StatusCode, body)
		}
	}
}

// navigation is what Chromium accepts where people open an address.
const navigation = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"

// Who asks for no page gets the reason as a problem, and so do those who say nothing of what they take.
func TestPagesThatAreNotThere(t *testing.T) {
	pages, empty := newPages(t, Config{Files: build()}), newPages(t, Config{Files: fstest.MapFS{".gitkeep": {}}})
	const problems, html = "application/problem+json", "text/html; charset=utf-8"
	for accept, want := range map[string]string{
		"": problems, "*/*": problems, "application/json": problems, "image/avif,image/webp,*/*;q=0.8": problems,
		"text/html;q=0, */*": problems, "application/json, text/html;q=0.5": problems, "text/*": problems, "text/htmlx": problems,
		"text/html;level=1;q=0.0": problems,
		navigation:                html, "TEXT/HTML": html, "text/html;q=0.4, application/json;q=0.3": html, "text/html;q=": html,
	} {
		for path, words := range map[string]string{
			"/nope": "/watch/{stream}", "/edges/x": "/watch/{stream}", "/signal": "/watch/{stream}", "/ops/x": "/watch/{stream}",
			"/watch/a%20b": "cup/cam1", "/watch/": "cup/cam1", "/publish/a/b/c/d/e": "cup/cam1",
		} {
			for _, method := range []string{"GET", "HEAD"} {
				response, body := ask(t, pages, method, path, "Accept", accept)
				if got := response.Header.Get("Content-Type"); response.StatusCode != 404 || got != want {
					t.Errorf("%s %s, Accept %q: got %d of type %q, want 404 of %q", method, path, accept, response.StatusCode, got, want)
				}
				if !strings.Contains(strings.Join(response.Header.Values("Vary"), ","), "Accept") {
					t.Errorf("%s %s: Vary is %q: a cache would mix the two up", method, path, response.Header.Values("Vary"))
				}
				if method == "GET" && want == problems {
					wantProblem(t, path, response, body, words)
				}
			}
		}
		response, body := ask(t, empty, "GET", "/", "Accept", accept)
		if got := response.Header.Get("Content-Type"); response.StatusCode != 503 || got != want || !strings.Contains(body, "make build") {
			t.Errorf("without pages, Accept %q: got %d of type %q, want 503 of %q: %s", accept, response.StatusCode, got, want, body)
		}
	}
}

// wantProblem checks that an answer is a problem whose detail has some words in it.
func wantProblem(t *testing.T, path string, response *http.Response, body, words string) {
	t.Helper()
	var problem struct {
		Title, Detail string
		Status        int
	}
	if err := json.Unmarshal([]byte(body), &problem); err != nil || problem.Status != response.StatusCode || problem.Title == "" ||
		!strings.Contains(problem.Detail, words) || !strings.HasSuffix(problem.Detail, ".") {
		t.Errorf("%s: the answer is %q (%v), want a problem that speaks of %s", path, body, err, words)
	}
}

func TestEveryAnswerCarriesTheSecurityHeaders(t *testing.T) {
	pages := newPages(t, Config{Files: build(), ConnectOrigins: []string{"https://edge2.example.org:8443"}})
	empty := newPages(t, Config{Files: fstest.MapFS{".gitkeep": {}}})
	for _, test := range []struct {
		pages        *Pages
		method, path string
	}{
		{pages, "GET", "/"}, {pages, "GET", "/watch/a"}, {pages, "GET", "/nowhere"}, {pages, "POST", "/"},
		{pages, "GET", "/assets/watch-Ab12.js"}, {pages, "GET", "/assets/gone.js"}, {empty, "GET", "/"},
	} {
		response, _ := ask(t, test.pages, test.method, test.path)
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff",
			"Referrer-Policy":        "no-referrer",
		} {
			if got := response.Header.Get(name); got != want {
				t.Errorf("%s %s: %s is %q, want %q", test.method, test.path, name, got, want)
			}
		}
		policy := response.Header.Get("Content-Security-Policy")
		for _, want := range []string{"script-src 'self';", "media-src blob: 'self';", "img-src 'self' data: blob:;", "worker-src blob: 'self';", "connect-src 'self'", "base-uri 'none'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s %s: policy %q lacks %q", test.method, test.path, policy, want)
			}
		}
		if strings.Contains(policy, "unsafe") {
			t.Errorf("%s %s: policy %q allows something unsafe", test.method, test.path, policy)
		}
	}
	response, _ := ask(t, pages, "GET", "/")
	if policy := response.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "connect-src 'self' https://edge2.example.org:8443;") {
		t.Errorf("policy %q lacks the other edge", policy)
	}
}

func TestCaching(t *testing.T) {
	pages := newPages(t, Config{Files: build()})

	response, _ := ask(t, pages, "GET", "/assets/watch-Ab12.js")
	if got := response.Header.Get("Cache-Control"); !strings.Contains(got, "immutable") {
		t.Errorf("hashed asset: Cache-Control is %q, want immutable", got)
	}
	response, _ = ask(t, pages, "GET", "/watch/a")
	if got := response.Header.Get("Cache-Control"); got != "no-cache" {
		t.Errorf("page: Cache-Control is %q, want no-cache: a new build must be seen at once", got)
	}
	tag := response.Header.Get("ETag")
	response, body := ask(t, pages, "GET", "/watch/b", "If-None-Match", `"other", W/`+tag)
	if response.StatusCode != http.StatusNotModified || body != "" {
		t.Errorf("with its tag %s: got %d %q, want 304 without content", tag, response.StatusCode, body)
	}
	response, _ = ask(t, pages, "GET", "/nowhere", "If-None-Match", "*")
	if response.StatusCode != http.StatusNotFound {
		t.Errorf("a missing page with a condition: got %d, want 404", response.StatusCode)
	}
}

func TestCompression(t *testing.T) {
	pages := newPages(t, Config{Files: build()})
	for _, test := range []struct {
		accept string
		want   string
	}{
		{"", "play()"},
		{"gzip", "play(), small"},
		{"GZIP;q=0.5, br", "play(), small"},
		{"*", "play(), small"},
		{"gzip;q=0", "play()"},
		{"gzip; q=0.000, *", "play()"}, // the exact name wins over the star
		{"*;q=0", "play()"},
		{"br, deflate", "play()"},
		{"notgzip", "play()"},
	} {
		response, body := ask(t, pages, "GET", "/assets/watch-Ab12.js", "Accept-Encoding", test.accept)
		if body != test.want {
			t.Errorf("Accept-Encoding %q: got %q, want %q", test.accept, body, test.want)
		}
		if response.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("Accept-Encoding %q: no Vary, so a cache would mix the two up", test.accept)
		}
		if got, want := response.Header.Get("Content-Encoding") == "gzip", test.want == "play(), small"; got != want {
			t.Errorf("Accept-Encoding %q: Content-Encoding gzip is %t, want %t", test.accept, got, want)
		}
	}
	plain, _ := ask(t, pages, "GET", "/")
	small, _ := ask(t, pages, "GET", "/", "Accept-Encoding", "gzip")
	if plain.Header.Get("ETag") == small.Header.Get("ETag") {
		t.Error("two representations share a strong entity tag")
	}
	if response, body := ask(t, pages, "GET", "/assets/theme-Cd34.css", "Accept-Encoding", "gzip"); body != "a{}" || response.Header.Get("Content-Encoding") != "" {
		t.Errorf("an asset without a twin: got %q, want it plain", body)
	}
}

func TestMethods(t *testing.T) {
	pages := newPages(t, Config{Files: build()})
	response, body := ask(t, pages, "HEAD", "/watch/a")
	if response.StatusCode != 200 || body != "" || response.Header.Get("Content-Length") != "5" {
		t.Errorf("HEAD: got %d, %q, length %s", response.StatusCode, body, response.Header.Get("Content-Length"))
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "TRACE", "OPTIONS"} {
		response, body := ask(t, pages, method, "/watch/a")
		if response.StatusCode != http.StatusMethodNotAllowed || response.Header.Get("Allow") == "" || !strings.Contains(body, "detail") {
			t.Errorf("%s: got %d %q, want 405 with Allow and a problem", method, response.StatusCode, body)
		}
	}
}

func TestContentTypes(t *testing.T) {
	pages := newPages(t, Config{Files: build()})
	for path, want := range map[string]string{
		"/":                         "text/html; charset=utf-8",
		"/assets/watch-Ab12.js":     "text/javascript; charset=utf-8",
		"/assets/theme-Cd34.css":    "text/css; charset=utf-8",
		"/favicon.svg":              "image/svg+xml",
		"/assets/picture-Ef56.webp": "image/webp",
	} {
		if response, _ := ask(t, pages, "GET", path); response.Header.Get("Content-Type") != want {
			t.Errorf("%s: got %q, want %q", path, response.Header.Get("Content-Type"), want)
		}
	}
}

func TestPagesThatAreNotBuilt(t *testing.T) {
	pages := newPages(t, Config{Files: fstest.MapFS{".gitkeep": {}}})
	if pages.Built() {
		t.Error("an empty build counts as built")
	}
	for _, path := range []string{"/", "/watch/cup/cam1", "/assets/x.js"} {
		response, body := ask(t, pages, "GET", path)
		if response.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "make build") {
			t.Errorf("GET %s: got %d %q, want 503 that says how to build", path, response.StatusCode, body)
		}
	}
}

// The embedded tree is whatever the last build left: New must take both.
func TestEmbeddedFiles(t *testing.T) {
	pages := newPages(t, Config{})
	response, _ := ask(t, pages, "GET", "/watch/cup/cam1")
	want := http.StatusServiceUnavailable
	if pages.Built() {
		want = http.StatusOK
	}
	if response.StatusCode != want {
		t.Errorf("built %t: got %d, want %d", pages.Built(), response.StatusCode, want)
	}
}

func TestBadConfig(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a missing CheckName was taken")
	}
	for _, origin := range []string{"", "*", "edge.example.org", "https://", "https://a/b", "https://a; script-src *", "https://a 'unsafe-inline'", "'self'"} {
		if _, err := New(Config{CheckName: checkName, ConnectOrigins: []string{origin}}); err == nil {
			t.Errorf("origin %q was taken", origin)
		}
	}
}
