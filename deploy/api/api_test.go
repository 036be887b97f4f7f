package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"banyan/edge/director"
	"banyan/relay"
	"banyan/relay/auth"
	"banyan/relay/log"
	"banyan/relay/media"
	"banyan/relay/problem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is an interface over a hub with two live streams.
type bench struct {
	*testing.T
	hub   *relay.Hub
	guard *auth.Guard
	http  http.Handler
}

func newBench(t *testing.T, play auth.Mode) *bench {
	t.Helper()
	revoked, err := auth.OpenRevocations(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	guard, err := auth.NewGuard(auth.Config{
		Secret: []byte(strings.Repeat("s", auth.MinSecretBytes)), Play: play, Revoked: revoked.Revoked,
	})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	b := &bench{T: t, hub: relay.New(relay.Config{Logger: log}), guard: guard}
	t.Cleanup(b.hub.Close)
	for _, name := range []media.Name{"cup/cam1", "cup/cam2"} {
		b.publish(name)
	}
	edges, err := director.New(director.Config{Allow: func(r *http.Request, stream media.Name) error {
		token, err := auth.Bearer(r)
		if err == nil {
			_, err = guard.CheckPlay(token, stream)
		}
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	Register(mux, Config{
		Hub: b.hub, Guard: guard, Revoke: revoked.Revoke, Log: log,
		Node: Node{Name: "n1", Region: "local", Version: "test", Roles: []string{"edge"}, Started: time.Now()},
		WithoutWebRTC: func(t relay.Track) string {
			if t.Params.Codec == media.H264 {
				return ""
			}
			return "it is not H.264"
		},
		WithoutHLS: func(t relay.Track) string { return "HLS does not carry it" },
		Workers:    func() []Worker { return []Worker{} },
		Edges:      edges.List(),
		Thumbnail: func(_ context.Context, s *relay.Stream) ([]byte, error) {
			if s.Name() == "cup/cam2" {
				return nil, errors.New("no keyframe yet")
			}
			return []byte{0xff, 0xd8}, nil
		},
	})
	b.http = mux
	return b
}

func (b *bench) publish(name media.Name) {
	b.Helper()
	p, err := b.hub.Publish(name, "whip 192.0.2.7:4000")
	if err != nil {
		b.Fatal(err)
	}
	w, err := p.Source(media.Video)
	if err != nil {
		b.Fatal(err)
	}
	if err := w.Begin(media.Params{Codec: media.H264, ClockRate: media.VideoClockRate, Width: 1280, Height: 720}); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) token(g auth.Grant) string {
	b.Helper()
	g.TTL = time.Hour
	token, err := b.guard.Mint(g)
	if err != nil {
		b.Fatal(err)
	}
	return token
}

// ask sends a request and checks the status; errors must be problem documents.
func (b *bench) ask(method, path, token, body string, want int) map[string]any {
	b.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	b.http.ServeHTTP(w, r)
	if w.Code != want {
		b.Fatalf("%s %s: %d %s, want %d", method, path, w.Code, w.Body, want)
	}
	var answer map[string]any
	if strings.Contains(w.Header().Get("Content-Type"), "json") {
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			b.Fatalf("%s %s: %v", method, path, err)
		}
	}
	if want >= 400 && (w.Header().Get("Content-Type") != problem.ContentType || answer["detail"] == "") {
		b.Errorf("%s %s: the error is no problem document: %s", method, path, w.Body)
	}
	return answer
}

func TestStreams(t *testing.T) {
	b := newBench(t, auth.Open)
	listing := b.ask("GET", "/api/v1/streams", "", "", 200)
	if list := listing["streams"].([]any); len(list) != 2 {
		t.Fatalf("listed %v, want two streams", list)
	}
	if listing["ingest"] != nil {
		t.Errorf("a node that takes no streams in says that it does: %v", listing["ingest"])
	}
	one := b.ask("GET", "/api/v1/streams/cup/cam1", "", "", 200)
	format := one["formats"].([]any)[0].(map[string]any)
	if one["live"] != true || one["via"] != "whip" || format["name"] != "source" || format["height"] != 720.0 ||
		format["webrtc"] != true || format["hls"] != false || format["running"] != true {
		t.Errorf("described as %v", one)
	}
	if format["no_hls"] != "HLS does not carry it" || format["no_webrtc"] != nil {
		t.Errorf("described as %v, want why there is no HLS, and nothing of WebRTC", format)
	}
	if text, _ := json.Marshal(one); strings.Contains(string(text), "192.0.2.7") {
		t.Error("the publisher's address is told to strangers")
	}
	b.ask("GET", "/api/v1/streams/cup/cam9", "", "", 404)
	b.ask("GET", "/api/v1/streams/cup/c%20m", "", "", 400)
	b.ask("PUT", "/api/v1/streams/cup/cam1", "", "", 405)
	b.ask("GET", "/api/v2/streams", "", "", 404)
}

// TestTracksOfEarlierPublishersAreNotListed: one with sound was there before, and sound, and what could be made of it, would
// be listed for good.
func TestTracksOfEarlierPublishersAreNotListed(t *testing.T) {
	b := newBench(t, auth.Open)
	p, err := b.hub.Publish("cup/cam1", "whip 192.0.2.7:4000")
	if err != nil {
		t.Fatal(err)
	}
	b.hub.AddSupplier(soundMaker{})
	kinds := func() (list []string) {
		for _, f := range b.ask("GET", "/api/v1/streams/cup/cam1", "", "", 200)["formats"].([]any) {
			format := f.(map[string]any)
			list = append(list, format["name"].(string)+" "+format["kind"].(string))
		}
		return list
	}
	for _, kind := range media.Kinds {
		w, err := p.Source(kind)
		if err != nil {
			t.Fatal(err)
		}
		params := media.Params{Codec: media.H264, ClockRate: media.VideoClockRate}
		if kind == media.Audio {
			params = media.Params{Codec: media.Opus, ClockRate: 48000, Channels: 2}
		}
		if err := w.Begin(params); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := kinds(), []string{"source video", "source audio", "aac audio"}; !slices.Equal(got, want) {
		t.Errorf("listed %v, want %v", got, want)
	}
	b.publish("cup/cam1") // without sound
	if got, want := kinds(), []string{"source video"}; !slices.Equal(got, want) {
		t.Errorf("with a publisher without sound: listed %v, want %v", got, want)
	}
}

// soundMaker offers sound of whatever there was.
type soundMaker struct{}

func (soundMaker) Offers(*relay.Stream) []relay.Offer {
	return []relay.Offer{{Format: "aac", Kind: media.Audio, Params: media.Params{Codec: media.AAC, ClockRate: 48000}}}
}

func (soundMaker) Supply(ctx context.Context, _ *relay.Stream, _ relay.Offer, _ *log.Writer) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestPlayingByTokenHidesStreams(t *testing.T) {
	b := newBench(t, auth.NeedToken)
	one := b.token(auth.Grant{Play: []string{"cup/cam1"}})
	if list := b.ask("GET", "/api/v1/streams", one, "", 200)["streams"].([]any); len(list) != 1 {
		t.Errorf("a token for one stream lists %v", list)
	}
	b.ask("GET", "/api/v1/streams", "", "", 401)
	b.ask("GET", "/api/v1/streams/cup/cam2", one, "", 403)
	b.ask("GET", "/api/v1/streams/cup/cam9", one, "", 403) // not told whether it exists
	b.ask("GET", "/thumbnails/cup/cam2", one, "", 403)
}

// Every route but the description, and that which answers nothing, is closed to strangers, or is open only because playing is.
func TestRoutesAreClosedByDefault(t *testing.T) {
	b := newBench(t, auth.NeedToken)
	for pattern := range (&api{}).routes() {
		method, path, _ := strings.Cut(pattern, " ")
		if path == "/api/v1/openapi.json" || path == "/api/v1/ping" {
			continue
		}
		path = strings.NewReplacer("{stream...}", "cup/cam1", "{id}", "ID").Replace(path)
		b.ask(method, path, "", "", 401)
		if strings.HasPrefix(path, "/thumbnails/") || strings.HasPrefix(path, "/api/v1/edges/") || method == "GET" && strings.HasPrefix(path, "/api/v1/streams") {
			continue
		}
		b.ask(method, path, b.token(auth.Grant{Play: []string{"**"}, Publish: []string{"**"}}), "", 403)
	}
}

func TestKick(t *testing.T) {
	b := newBench(t, auth.Open)
	admin := b.token(auth.Grant{API: true})
	b.ask("DELETE", "/api/v1/streams/cup/cam1", admin, "", 204)
	if one := b.ask("GET", "/api/v1/streams/cup/cam1", "", "", 200); one["live"] != false {
		t.Error("still live after the publisher was sent away")
	}
	b.ask("DELETE", "/api/v1/streams/cup/cam1", admin, "", 404)
	b.ask("DELETE", "/api/v1/streams/cup/c%20m", admin, "", 400)
}

func TestMint(t *testing.T) {
	b := newBench(t, auth.NeedToken)
	admin := b.token(auth.Grant{API: true})
	made := b.ask("POST", "/api/v1/tokens", admin, `{"play":["cup/*"],"user":"ana","ttl":"1h"}`, 201)
	b.ask("GET", "/api/v1/streams/cup/cam2", made["token"].(string), "", 200)
	for body, want := range map[string]int{
		"": 400, "[]": 400, `{"ttl":"1h","admin":true}`: 400, `{"ttl":"0s"}`: 422, `{"ttl":"soon"}`: 422,
		`{"play":["../x"],"ttl":"1h"}`: 422, `{"play":["` + strings.Repeat("a", 20<<10) + `"],"ttl":"1h"}`: 400,
	} {
		b.ask("POST", "/api/v1/tokens", admin, body, want)
	}
}

func TestRevoke(t *testing.T) {
	b := newBench(t, auth.NeedToken)
	admin := b.token(auth.Grant{API: true})
	made := b.ask("POST", "/api/v1/tokens", admin, `{"play":["cup/*"],"ttl":"1h"}`, 201)
	token, id := made["token"].(string), made["id"].(string)
	b.ask("GET", "/api/v1/streams/cup/cam2", token, "", 200)
	b.ask("DELETE", "/api/v1/tokens/"+id, token, "", 403)
	b.ask("DELETE", "/api/v1/tokens/"+id, admin, "", 204)
	b.ask("GET", "/api/v1/streams/cup/cam2", token, "", 401)
	b.ask("DELETE", "/api/v1/tokens/none", admin, "", 422)
}

func TestStrangersDoNotLearnWhetherSomethingIsLive(t *testing.T) {
	b := newBench(t, auth.NeedToken)
	b.ask("GET", "/api/v1/streams", "", "", 401)
	b.hub.Close()
	b.ask("GET", "/api/v1/streams", "", "", 401)
}

func TestThumbnail(t *testing.T) {
	b := newBench(t, auth.Open)
	b.ask("GET", "/thumbnails/cup/cam1", "", "", 200)
	b.ask("GET", "/thumbnails/cup/cam2", "", "", 503)
	b.ask("GET", "/thumbnails/cup/cam9", "", "", 404)
}

func TestEdges(t *testing.T) {
	b := newBench(t, auth.NeedToken)
	one := b.token(auth.Grant{Play: []string{"cup/cam1"}})
	if list := b.ask("GET", "/api/v1/edges/cup/cam1", one, "", 200)["edges"].([]any); len(list) != 0 {
		t.Errorf("a node that stands alone lists %v", list)
	}
	b.ask("GET", "/api/v1/edges/cup/cam2", one, "", 403)
	b.ask("GET", "/api/v1/edges/cup/c%20m", one, "", 400)
	b.ask("POST", "/api/v1/edges/cup/cam1", one, "", 405)
	b.ask("OPTIONS", "/api/v1/edges/cup/cam1", "", "", 204) // a page of another origin asks first
}

func TestPing(t *testing.T) {
	b := newBench(t, auth.NeedToken)
	w := httptest.NewRecorder()
	b.http.ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/ping", nil))
	if h := w.Header(); w.Code != 204 || w.Body.Len() != 0 || h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("got %d %v %q, want 204 for pages of any origin, and no cache", w.Code, h, w.Body)
	}
	ms, err := strconv.ParseInt(w.Header().Get("Banyan-Time"), 10, 64)
	if off := time.Since(time.UnixMilli(ms)).Abs(); err != nil || off > time.Minute {
		t.Errorf("our clock is told as %q, off by %v", w.Header().Get("Banyan-Time"), off)
	}
	if w.Header().Get("Access-Control-Expose-Headers") != "Banyan-Time" {
		t.Error("pages of other origins cannot read our clock")
	}
}

// The description names exactly the routes that are served.
func TestDescriptionMatchesRoutes(t *testing.T) {
	var document struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(openapi, &document); err != nil {
		t.Fatal(err)
	}
	var described, served []string
	for path, operations := range document.Paths {
		for method := range operations {
			if method != "parameters" {
				described = append(described, strings.ToUpper(method)+" "+path)
			}
		}
	}
	for pattern := range (&api{}).routes() {
		served = append(served, strings.Replace(pattern, "{stream...}", "{stream}", 1))
	}
	slices.Sort(described)
	slices.Sort(served)
	if !slices.Equal(described, served) {
		t.Errorf("described:\n%s\nserved:\n%s", strings.Join(described, "\n"), strings.Join(served, "\n"))
	}
}
