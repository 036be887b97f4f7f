package wish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"banyan/relay/auth"
	"banyan/relay/media"
	"banyan/relay/rtc/sdp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// twin is a Session without media.
type twin struct {
	done     chan struct{}
	once     sync.Once
	trickled chan *sdp.Fragment
	fail     error // of Restart
	restarts int   // that came to something

	ours      *sdp.Offer // a counter-offer; nil for none
	concluded []error    // what the next calls of Conclude return
	answers   int        // that Conclude took
}

func newTwin() *twin {
	return &twin{done: make(chan struct{}), trickled: make(chan *sdp.Fragment, 100)}
}

func (s *twin) Answer() string        { return "v=0\r\n" }
func (s *twin) Done() <-chan struct{} { return s.done }
func (s *twin) Close()                { s.once.Do(func() { close(s.done) }) }

func (s *twin) Offer() *sdp.Offer { return s.ours }
func (s *twin) ValidUntil() time.Time {
	return time.Date(2024, 10, 9, 12, 0, 0, 1e6, time.FixedZone("", 7200))
}

func (s *twin) Conclude(*sdp.Answer) error { // without a lock: the server lets one in at a time
	if len(s.concluded) > 0 {
		err := s.concluded[0]
		s.concluded = s.concluded[1:]
		return err
	}
	s.answers++
	return nil
}

func (s *twin) Trickle(f *sdp.Fragment) error {
	s.trickled <- f
	return nil
}

func (s *twin) Restart(context.Context, *sdp.Fragment) (*sdp.Fragment, error) {
	if s.fail != nil {
		return nil, s.fail
	}
	s.restarts++
	return &sdp.Fragment{Ufrag: fmt.Sprintf("ours%d", s.restarts), Password: strings.Repeat("p", 22), MIDs: []string{"0"}}, nil
}

// testServer is a server with one endpoint, /whip/.
type testServer struct {
	*testing.T
	server *Server
	http   *httptest.Server
	last   *twin // that was made
	refuse error // what Accept answers
	ours   *sdp.Offer
	offer  string
}

const token = "Bearer ana"

func newTestServer(t *testing.T, config Config) *testServer {
	t.Helper()
	d := &testServer{T: t, offer: offer(t)}
	config.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	var err error
	if d.server, err = New(config); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/whip/", d.server.Endpoint(Endpoint{
		Name: "whip", Role: sdp.Publish,
		Authorize: func(r *http.Request, stream media.Name) (auth.Claims, error) {
			switch r.Header.Get("Authorization") {
			case "":
				return auth.Claims{}, &Refusal{Status: 401, Detail: "no token", Header: http.Header{"Www-Authenticate": {"Bearer"}}}
			case "Bearer scoped":
				return auth.Claims{}, &Refusal{Status: 403, Detail: "wrong scope"}
			}
			return auth.Claims{User: strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")}, nil
		},
		Accept: func(context.Context, *Request) (Session, error) {
			if d.refuse != nil {
				return nil, d.refuse
			}
			d.last = newTwin()
			d.last.ours = d.ours
			return d.last, nil
		},
		Extensions: []Extension{{Name: "echo", Rel: "urn:test:echo", Serve: func(w http.ResponseWriter, r *http.Request, _ Session) {
			_, _ = io.Copy(w, r.Body)
		}}},
	}))
	mux.Handle("/sessions/", d.server)
	d.http = httptest.NewServer(mux)
	t.Cleanup(func() { d.http.Close(); d.server.Close() })
	return d
}

func offer(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("../sdp/testdata/chrome-publish.sdp")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// do sends a request with the token; header are pairs that are added, or with an empty value taken away.
func (d *testServer) do(method, path, body string, header ...string) (*http.Response, string) {
	d.Helper()
	r, err := http.NewRequest(method, d.http.URL+path, strings.NewReader(body))
	if err != nil {
		d.Fatal(err)
	}
	r.Header.Set("Authorization", token)
	for i := 0; i+1 < len(header); i += 2 {
		if header[i+1] == "" {
			r.Header.Del(header[i])
		} else {
			r.Header.Add(header[i], header[i+1])
		}
	}
	response, text := d.send(r)
	if response.StatusCode >= 400 {
		d.checkProblem(method+" "+path, response, []byte(text))
	}
	return response, text
}

// send sends a request and reads the answer.
func (d *testServer) send(r *http.Request) (*http.Response, string) {
	d.Helper()
	response, err := d.http.Client().Do(r)
	if err != nil {
		d.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		d.Fatal(err)
	}
	return response, string(text)
}

// checkProblem wants a problem document that says what to do (W34).
func (d *testServer) checkProblem(what string, r *http.Response, body []byte) {
	d.Helper()
	var p struct {
		Status int
		Detail string
	}
	if err := json.Unmarshal(body, &p); err != nil || p.Status != r.StatusCode || p.Detail == "" ||
		r.Header.Get("Content-Type") != "application/problem+json" {
		d.Errorf("%s: %s %q %s, want a problem document", what, r.Status, r.Header.Get("Content-Type"), body)
	}
	if r.Header.Get("Access-Control-Allow-Origin") != "*" {
		d.Errorf("%s: pages of other origins cannot read the problem", what)
	}
}

const (
	isSDP      = "application/sdp"
	isFragment = "application/trickle-ice-sdpfrag"
)

// open makes a session.
func (d *testServer) open() (location, tag string) {
	d.Helper()
	r, body := d.do("POST", "/whip/cup/cam1", d.offer, "Content-Type", isSDP)
	if r.StatusCode != http.StatusCreated {
		d.Fatalf("POST: %s %s", r.Status, body)
	}
	return r.Header.Get("Location"), r.Header.Get("ETag")
}

func TestCreated(t *testing.T) {
	d := newTestServer(t, Config{ICEServers: func(user string) []ICEServer {
		return []ICEServer{{URL: "stun:stun.example.com:3478"}, {URL: "turn:turn.example.com:3478?transport=udp", Username: user, Credential: "secret"}}
	}})
	r, body := d.do("POST", "/whip/cup/cam1", d.offer, "Content-Type", isSDP)
	if r.StatusCode != 201 || body != "v=0\r\n" || r.Header.Get("Content-Type") != isSDP {
		t.Fatalf("POST: %s %q", r.Status, body)
	}
	location, err := r.Location()
	if err != nil || !strings.HasPrefix(location.Path, "/sessions/") || len(location.Path) < len("/sessions/")+26 {
		t.Errorf("Location is %v, want an id of 128 bits or more", location)
	}
	if tag := r.Header.Get("ETag"); !strings.HasPrefix(tag, `"`) || !strings.HasSuffix(tag, `"`) || len(tag) < 10 {
		t.Errorf("ETag is %s, want a strong quoted tag", tag)
	}
	links := strings.Join(r.Header.Values("Link"), "\n")
	for _, want := range []string{
		`<stun:stun.example.com:3478>; rel="ice-server"`,
		`<turn:turn.example.com:3478?transport=udp>; rel="ice-server"; username="ana"; credential="secret"; credential-type="password"`,
		`<` + location.Path + `/echo>; rel="urn:test:echo"`,
	} {
		if !strings.Contains(links, want) {
			t.Errorf("the links lack %s:\n%s", want, links)
		}
	}
	for _, want := range []string{"Location", "ETag", "Link"} {
		if !strings.Contains(r.Header.Get("Access-Control-Expose-Headers"), want) {
			t.Errorf("%s is not exposed to pages", want)
		}
	}
}

// TestRequests is class A of the checklists, as far as it needs no session.
func TestRequests(t *testing.T) {
	d := newTestServer(t, Config{PostRate: 1000, PatchRate: 1000})
	big := strings.Repeat("x", 10<<20)
	for _, c := range []struct {
		why, method, path, body string
		header                  []string
		want                    int
	}{
		{"empty body", "POST", "/whip/s", "", []string{"Content-Type", isSDP}, 400},
		{"1-byte body", "POST", "/whip/s", "v", []string{"Content-Type", isSDP}, 400},
		{"10 MiB body", "POST", "/whip/s", big, []string{"Content-Type", isSDP}, 413},
		{"wrong type", "POST", "/whip/s", d.offer, []string{"Content-Type", "text/plain"}, 415},
		{"missing type", "POST", "/whip/s", d.offer, nil, 415},
		{"two types", "POST", "/whip/s", d.offer, []string{"Content-Type", isSDP, "Content-Type", isSDP}, 415},
		{"odd charset", "POST", "/whip/s", d.offer, []string{"Content-Type", isSDP + "; charset=utf-16"}, 415},
		{"broken type", "POST", "/whip/s", d.offer, []string{"Content-Type", "application/sdp;;="}, 415},
		{"charset of SDP", "POST", "/whip/s", d.offer, []string{"Content-Type", "Application/SDP; charset=UTF-8"}, 201},
		{"gzip body", "POST", "/whip/s", d.offer, []string{"Content-Type", isSDP, "Content-Encoding", "gzip"}, 415},
		{"no name", "POST", "/whip/", d.offer, []string{"Content-Type", isSDP}, 404},
		{"bad name", "POST", "/whip/a%20b", d.offer, []string{"Content-Type", isSDP}, 404},
		{"dots", "POST", "/whip/%2e%2e%2fx", d.offer, []string{"Content-Type", isSDP}, 404},
		{"NUL in the name", "POST", "/whip/a%00", d.offer, []string{"Content-Type", isSDP}, 404},
		{"no token", "POST", "/whip/s", d.offer, []string{"Content-Type", isSDP, "Authorization", ""}, 401},
		{"parameters and headers of nobody's", "POST", "/whip/s?x-extension=1", d.offer, []string{"Content-Type", isSDP, "X-Extension", "1"}, 201}, // W33
		{"another tenant's Host", "POST", "/whip/s", d.offer, []string{"Content-Type", isSDP, "Host", "evil.example"}, 201},
		{"PUT", "PUT", "/whip/s", d.offer, []string{"Content-Type", isSDP}, 405},
		{"TRACE", "TRACE", "/whip/s", "", nil, 405},
		{"unknown method", "BREW", "/whip/s", "", nil, 405},
		{"PATCH to the endpoint", "PATCH", "/whip/s", "a=mid:0", []string{"Content-Type", isFragment}, 405},
		{"DELETE of the endpoint", "DELETE", "/whip/s", "", nil, 405},
		{"GET of the endpoint", "GET", "/whip/s", "", nil, 200},
		{"HEAD of the endpoint", "HEAD", "/whip/s", "", nil, 200},
		{"preflight without token", "OPTIONS", "/whip/s", "", []string{"Authorization", ""}, 200},
		{"POST to a session", "POST", "/sessions/x", d.offer, []string{"Content-Type", isSDP}, 405},
		{"PATCH of a session that never was", "PATCH", "/sessions/x", "", []string{"Content-Type", isFragment}, 404},
		{"DELETE of a session that never was", "DELETE", "/sessions/x", "", nil, 404},
		{"no id", "DELETE", "/sessions/", "", nil, 404},
		{"preflight of a session without token", "OPTIONS", "/sessions/x", "", []string{"Authorization", ""}, 200},
	} {
		r, body := d.do(c.method, c.path, c.body, c.header...)
		if r.StatusCode != c.want {
			t.Errorf("%s: %s %s, want %d", c.why, r.Status, body, c.want)
		}
		switch {
		case c.want == 405 && r.Header.Get("Allow") == "":
			t.Errorf("%s: Allow is missing", c.why)
		case c.want == 401 && r.Header.Get("WWW-Authenticate") == "":
			t.Errorf("%s: WWW-Authenticate is missing", c.why)
		case c.method == "OPTIONS" && (r.Header.Get("Access-Control-Allow-Origin") != "*" || r.Header.Get("Link") != ""):
			t.Errorf("%s: %v; want CORS, and no ICE servers for strangers", c.why, r.Header)
		case c.method == "OPTIONS" && !allows(r.Header, c.path):
			t.Errorf("%s: %v; pages of other origins cannot use it", c.why, r.Header)
		case c.method == "OPTIONS" && strings.HasPrefix(c.path, "/whip") && r.Header.Get("Accept-Post") != isSDP:
			t.Errorf("%s: Accept-Post is %q", c.why, r.Header.Get("Accept-Post"))
		case (c.method == "GET" || c.method == "HEAD") && (body != "" || r.Header.Get("Content-Type") != isSDP): // P10
			t.Errorf("%s: has content %q of type %s", c.why, body, r.Header.Get("Content-Type"))
		}
	}
	if n := d.server.Sessions(); n != 3 {
		t.Errorf("%d sessions, want the three that were made", n)
	}
}

// allows tells whether a preflight lets pages make the requests that a path is for, with the headers that they need
// (W27).
func allows(header http.Header, path string) bool {
	methods := []string{"POST"}
	if strings.HasPrefix(path, "/sessions/") {
		methods = []string{"PATCH", "DELETE"}
	}
	has := func(name string, values ...string) bool {
		list := strings.Split(header.Get(name), ", ")
		return !slices.ContainsFunc(values, func(v string) bool { return !slices.Contains(list, v) })
	}
	return has("Access-Control-Allow-Methods", methods...) &&
		has("Access-Control-Allow-Headers", "Authorization", "Content-Type", "If-Match")
}

const (
	same     = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n"
	fresh    = "a=ice-ufrag:newu\r\na=ice-pwd:newnewnewnewnewnewnewn\r\n"
	trickled = "a=mid:0\r\na=candidate:1 1 udp 2130706431 198.51.100.1 39132 typ host\r\n"
)

func TestPatch(t *testing.T) {
	const current = "current" // stands for the session's tag
	for _, c := range []struct {
		why, body string
		header    []string
		want      int
	}{
		{"trickle", same + trickled, []string{"If-Match", current}, 204},
		{"trickle without credentials", trickled, []string{"If-Match", current}, 204},
		{"trickle for any tag", same + trickled, []string{"If-Match", "*"}, 204},
		{"end of candidates twice", "a=end-of-candidates\r\na=end-of-candidates\r\n", []string{"If-Match", current}, 204},
		{"candidates that are dropped", "a=candidate:1 1 udp 1 example.com 9 typ host\r\n", []string{"If-Match", current}, 204},
		{"unknown mid", "a=mid:9\r\na=end-of-candidates\r\n", []string{"If-Match", current}, 204},
		{"restart", fresh, []string{"If-Match", "*"}, 200},
		{"restart as RFC 9725 prints it", fresh, []string{"If-Match", `"*"`}, 200},
		{"restart of this generation", fresh, []string{"If-Match", current}, 200},
		{"no If-Match", same + trickled, nil, 428},
		{"stale tag", same + trickled, []string{"If-Match", `"stale"`}, 412},
		{"stale tag on restart", fresh, []string{"If-Match", `"stale"`}, 412},
		{"weak tag", same + trickled, []string{"If-Match", `W/"weak"`}, 412},
		{"unquoted tag", same + trickled, []string{"If-Match", "bare"}, 400},
		{"8 KiB tag", same + trickled, []string{"If-Match", `"` + strings.Repeat("x", 8<<10) + `"`}, 400},
		{"two If-Match", same + trickled, []string{"If-Match", current, "If-Match", current}, 400},
		{"full SDP", "", []string{"If-Match", current}, 400},
		{"empty", "", []string{"If-Match", current}, 400},
		{"ufrag without pwd", "a=ice-ufrag:newu\r\n", []string{"If-Match", "*"}, 400},
		{"other type", same, []string{"If-Match", "*", "Content-Type", "text/plain"}, 415},
		{"answer to a counter-offer that never was", same, []string{"If-Match", "*", "Content-Type", isSDP}, 415},
		{"10,000 candidates", strings.Repeat(trickled, 10000), []string{"If-Match", current}, 413},
		{"no token", same + trickled, []string{"If-Match", current, "Authorization", ""}, 401},
		{"wrong scope", same + trickled, []string{"If-Match", current, "Authorization", "", "Authorization", "Bearer scoped"}, 403},
		{"another's token", same + trickled, []string{"If-Match", current, "Authorization", "", "Authorization", "Bearer eve"}, 403},
	} {
		t.Run(c.why, func(t *testing.T) {
			d := newTestServer(t, Config{})
			location, tag := d.open()
			header := append([]string(nil), c.header...)
			if !strings.Contains(strings.Join(header, " "), "Content-Type") {
				header = append(header, "Content-Type", isFragment)
			}
			for i, h := range header {
				if h == current {
					header[i] = tag
				}
			}
			body := c.body
			if c.why == "full SDP" {
				body = d.offer
			}
			r, text := d.do("PATCH", location, body, header...)
			if r.StatusCode != c.want {
				t.Fatalf("%s %s, want %d", r.Status, text, c.want)
			}
			switch c.want {
			case 204:
				if r.Header.Get("ETag") != "" || text != "" {
					t.Errorf("a trickle is answered with ETag %q and %q; want neither (W19)", r.Header.Get("ETag"), text)
				}
			case 200:
				f, err := sdp.ParseFragment(text)
				if err != nil || f.Ufrag != "ours1" || r.Header.Get("Content-Type") != isFragment {
					t.Errorf("a restart is answered with %q: %v", text, err)
				}
				if next := r.Header.Get("ETag"); next == "" || next == tag {
					t.Errorf("a restart is answered with the tag %q after %q; want a new one", next, tag)
				}
				if r, _ := d.do("PATCH", location, trickled, "If-Match", tag, "Content-Type", isFragment); r.StatusCode != 412 {
					t.Errorf("the old tag after the restart: %s, want 412", r.Status)
				}
			default:
				if len(d.last.trickled) > 0 {
					t.Error("candidates reached the session all the same")
				}
			}
		})
	}
}

func TestFailedRestartKeepsTheSession(t *testing.T) {
	d := newTestServer(t, Config{})
	location, tag := d.open()
	d.last.fail = errors.New("no")
	if r, _ := d.do("PATCH", location, fresh, "If-Match", "*", "Content-Type", isFragment); r.StatusCode != 422 {
		t.Errorf("failed restart: %s, want 422", r.Status)
	}
	if r, _ := d.do("PATCH", location, same+trickled, "If-Match", tag, "Content-Type", isFragment); r.StatusCode != 204 {
		t.Errorf("trickle after it: %s, want the session and its tag as they were", r.Status)
	}
}

// TestRepeatedRestart asks for the same restart until the answer arrives.
func TestRepeatedRestart(t *testing.T) {
	d := newTestServer(t, Config{})
	location, _ := d.open()
	patch := func(body, tag string) (*http.Response, string) {
		t.Helper()
		return d.do("PATCH", location, body, "If-Match", tag, "Content-Type", isFragment)
	}
	if r, _ := patch(same+trickled, "*"); r.StatusCode != 204 {
		t.Errorf("candidates before any restart: %s, want 204", r.Status)
	}
	first, answer := patch(fresh, "*")
	for _, tag := range []string{"*", `"*"`} {
		<-d.last.trickled // those from before
		r, body := patch(fresh+trickled, tag)
		if r.StatusCode != 200 || body != answer || r.Header.Get("ETag") != first.Header.Get("ETag") || r.Header.Get("Content-Type") != isFragment {
			t.Errorf("once more: %s %q, ETag %s; want what was answered first: %q, ETag %s", r.Status, body, r.Header.Get("ETag"), answer, first.Header.Get("ETag"))
		}
		if d.last.restarts != 1 || len(d.last.trickled) != 1 {
			t.Errorf("the session was restarted %d times and has %d new fragments, want 1 and 1", d.last.restarts, len(d.last.trickled))
		}
	}
	if r, body := patch(fresh+trickled, first.Header.Get("ETag")); r.StatusCode != 204 || body != "" {
		t.Errorf("candidates by the tag: %s %q, want 204", r.Status, body)
	}
	next, body := patch(strings.ReplaceAll(fresh, "newu", "newv"), "*")
	if next.StatusCode != 200 || body == answer || next.Header.Get("ETag") == first.Header.Get("ETag") {
		t.Errorf("another restart: %s %q, want it answered anew", next.Status, body)
	}
	for what, late := range map[string]string{"the first": fresh, "the offer": same} {
		if r, _ := patch(late, "*"); r.StatusCode != 412 {
			t.Errorf("a restart back to the credentials of %s: %s, want 412", what, r.Status)
		}
	}
	if d.last.restarts != 2 {
		t.Errorf("the session was restarted %d times, want 2", d.last.restarts)
	}
}

func TestSessionResource(t *testing.T) {
	d := newTestServer(t, Config{})
	location, _ := d.open()
	if r, body := d.do("GET", location, ""); r.StatusCode != 204 || body != "" {
		t.Errorf("GET of a session: %s %q, want success without content (W12)", r.Status, body)
	}
	if r, body := d.do("POST", location+"/echo", "hello"); r.StatusCode != 200 || body != "hello" {
		t.Errorf("extension: %s %q", r.Status, body)
	}
	if r, _ := d.do("POST", location+"/echo", "hello", "Authorization", "", "Authorization", "Bearer eve"); r.StatusCode != 403 {
		t.Errorf("extension by another: %s, want 403", r.Status)
	}
	if r, _ := d.do("POST", location+"/none", ""); r.StatusCode != 404 {
		t.Errorf("unknown extension: %s, want 404", r.Status)
	}
	if r, _ := d.do("DELETE", location, "", "If-Match", `"other"`); r.StatusCode != 200 {
		t.Errorf("DELETE: %s, want 200 whatever If-Match says (W14)", r.Status)
	}
	for _, method := range []string{"DELETE", "PATCH", "GET"} {
		if r, _ := d.do(method, location, ""); r.StatusCode != 404 {
			t.Errorf("%s after DELETE: %s, want 404 (W15)", method, r.Status)
		}
	}
}

// TestRaces lets PATCH and DELETE race; each gets an answer that fits one order or the other.
func TestRaces(t *testing.T) {
	d := newTestServer(t, Config{PostRate: 1000, PatchRate: 1000})
	for range 10 {
		location, tag := d.open()
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				method, body, allowed := "PATCH", trickled, []int{204, 404, 412}
				switch {
				case i == 3:
					method, body, allowed = "DELETE", "", []int{200}
				case i > 3:
					body, allowed = strings.ReplaceAll(fresh, "newu", "newu"+string(rune('0'+i))), []int{200, 404, 412}
				}
				r, _ := d.do(method, location, body, "If-Match", tag, "Content-Type", isFragment)
				for _, status := range allowed {
					if r.StatusCode == status {
						return
					}
				}
				t.Errorf("%s: %s, want one of %v", method, r.Status, allowed)
			})
		}
		all.Wait()
	}
	if n := d.server.Sessions(); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
}

// lines collects what is logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestRefusalsAreLogged: who sees no more than a number on its screen asks the operator, whose log has to tell.
func TestRefusalsAreLogged(t *testing.T) {
	d := newTestServer(t, Config{})
	book := &lines{}
	d.server.refusals = auth.NewRefusalLog(slog.New(slog.NewTextHandler(book, nil)))
	const secret = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbmEifQ.c2lnbmF0dXJl"
	d.do("POST", "/whip/cup/ana?token="+secret, d.offer, "Content-Type", isSDP, "Authorization", "")
	d.do("POST", "/whip/cup/bea", d.offer, "Content-Type", isSDP, "Authorization", "", "Authorization", "Bearer scoped")
	d.do("POST", "/whip/cup/z%20z", d.offer, "Content-Type", isSDP)
	d.do("POST", "/whip/cup/"+secret, d.offer, "Content-Type", isSDP)
	d.do("POST", "/whip/cup/ana", "nonsense", "Content-Type", isSDP)
	got := book.String()
	for _, want := range []string{
		"path=/whip/cup/ana peer=127.0.0.1 status=401", "path=/whip/cup/bea peer=127.0.0.1 status=403", `path="/whip/cup/z z" peer=127.0.0.1 status=404`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	if strings.Contains(got, secret[:20]) || strings.Contains(got, "scoped") || strings.Count(got, "\n") != 4 {
		t.Errorf("the log has a token, or a line too many")
	}
	if t.Failed() {
		t.Log(got)
	}
}
