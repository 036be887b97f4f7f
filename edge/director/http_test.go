package director

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"banyan/relay/media"
	"banyan/relay/tree"
)

// served stands for the handlers of an edge.
var served = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })

// byHeader is a locator that believes a header of 10.0.0.1.
func byHeader() *Locator {
	return &Locator{Header: "X-Region", Trusted: func(r *http.Request) bool { return strings.HasPrefix(r.RemoteAddr, "10.0.0.1:") }}
}

func ask(h http.Handler, method, target, region string) *http.Response {
	r := httptest.NewRequest(method, target, nil)
	r.RemoteAddr = "10.0.0.1:4000"
	if region != "" {
		r.Header.Set("X-Region", region)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func TestRedirects(t *testing.T) {
	d := directorOn(t, "eu1", edge("eu1", "eu"), edge("us1", "us"))
	in := directorOn(t, "in", edge("in", "eu", noEdge), edge("us1", "us"))
	none := directorOn(t, "in", edge("in", "eu", noEdge))
	for _, d := range []*Director{d, in, none} {
		d.config.Locator = byHeader()
	}
	const here = http.StatusTeapot
	for _, c := range []struct {
		name, method, target, region string
		handler                      http.Handler
		status                       int
		location                     string
	}{
		{"an offer from the region", "POST", "/whep/cup/cam1", "eu", d.WHEP(served), here, ""},
		{"an offer from another", "POST", "/whep/cup/cam1", "us", d.WHEP(served), 307, "http://us1.example.org/whep/cup/cam1?via=1"},
		{"with a query", "POST", "/whep/cup/cam1?format=720p&x=%2F", "us", d.WHEP(served), 307, "http://us1.example.org/whep/cup/cam1?format=720p&x=%2F&via=1"},
		{"with escapes", "POST", "/whep/cup%2Fcam1", "us", d.WHEP(served), 307, "http://us1.example.org/whep/cup%2Fcam1?via=1"},
		{"that was redirected already", "POST", "/whep/cup/cam1?via=1", "us", d.WHEP(served), here, ""},
		{"to a name that no stream has", "POST", "/whep/..%2f", "us", d.WHEP(served), here, ""},
		{"a preflight", "OPTIONS", "/whep/cup/cam1", "us", d.WHEP(served), here, ""},
		{"an offer to no edge", "POST", "/whep/cup/cam1", "eu", in.WHEP(nil), 307, "http://us1.example.org/whep/cup/cam1?via=1"},
		{"to no edge for the second time", "POST", "/whep/cup/cam1?via=1", "eu", in.WHEP(nil), 503, ""},
		{"where there is no edge at all", "POST", "/whep/cup/cam1", "eu", none.WHEP(nil), 503, ""},
		{"a preflight to no edge", "OPTIONS", "/whep/cup/cam1", "eu", in.WHEP(nil), 204, ""},
		{"a GET to no edge", "GET", "/whep/cup/cam1", "eu", in.WHEP(nil), 404, ""},

		{"a playlist of a stream", "GET", "/hls/cup/cam1/index.m3u8", "us", d.HLS(served), 307, "http://us1.example.org/hls/cup/cam1/index.m3u8?via=1"},
		{"its head", "HEAD", "/hls/cup/cam1/index.m3u8", "us", d.HLS(served), 307, "http://us1.example.org/hls/cup/cam1/index.m3u8?via=1"},
		{"from the region", "GET", "/hls/cup/cam1/index.m3u8", "eu", d.HLS(served), here, ""},
		{"redirected already", "GET", "/hls/cup/cam1/index.m3u8?via=1", "us", d.HLS(served), here, ""},
		{"a playlist of a rendition", "GET", "/hls/cup/cam1/720p-video/index.m3u8?_HLS_msn=3", "us", d.HLS(served), here, ""},
		{"a segment", "GET", "/hls/cup/cam1/720p-video/7.mp4", "us", d.HLS(served), here, ""},
		{"a segment of no edge", "GET", "/hls/cup/cam1/720p-video/7.mp4", "eu", in.HLS(nil), 307, "http://us1.example.org/hls/cup/cam1/720p-video/7.mp4?via=1"},
		{"a rendition of no edge", "GET", "/hls/cup/cam1/720p-video/index.m3u8?_HLS_msn=3", "eu", in.HLS(nil), 307, "http://us1.example.org/hls/cup/cam1/720p-video/index.m3u8?_HLS_msn=3&via=1"},
		{"nonsense to no edge", "GET", "/hls/", "eu", in.HLS(nil), 404, ""},
		{"nonsense", "GET", "/hls/", "us", d.HLS(served), here, ""},
		{"a DELETE", "DELETE", "/hls/cup/cam1/index.m3u8", "us", d.HLS(served), here, ""},
	} {
		r := ask(c.handler, c.method, c.target, c.region)
		if r.StatusCode != c.status || r.Header.Get("Location") != c.location {
			t.Errorf("%s (%s %s): got %d to %q, want %d to %q", c.name, c.method, c.target, r.StatusCode, r.Header.Get("Location"), c.status, c.location)
		}
		if c.status != here && r.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: a page of another origin cannot read the answer", c.name)
		}
		if c.status == 307 && r.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: a cache may keep the redirect, and send others after it", c.name)
		}
	}
}

func TestAViewerGoesFromANodeToAtMostOneOther(t *testing.T) {
	// Two nodes that see each other as better for the viewer.
	a := directorOn(t, "a", edge("a", "eu"), edge("b", "us"))
	b := directorOn(t, "b", edge("a", "us"), edge("b", "eu"))
	a.config.Locator, b.config.Locator = byHeader(), byHeader()
	first := ask(a.WHEP(served), "POST", "/whep/cup/cam1", "us")
	if first.StatusCode != 307 {
		t.Fatalf("the first node answers %d, want 307", first.StatusCode)
	}
	target := strings.TrimPrefix(first.Header.Get("Location"), "http://b.example.org")
	if second := ask(b.WHEP(served), "POST", target, "us"); second.StatusCode != http.StatusTeapot {
		t.Errorf("the second node answers %d, want that it serves", second.StatusCode)
	}
}

func TestRegionOfAViewer(t *testing.T) {
	rules := []Rule{{"eu", nil, []string{"EU", "AF"}}, {"us", []string{"US", "CA"}, []string{"NA", "SA"}}, {"uk", []string{"GB"}, nil}}
	l := &Locator{Header: "X-Region", Trusted: byHeader().Trusted, GeoIP: database(t), Rules: rules}
	for _, c := range []struct{ name, peer, header, want string }{
		{"what a proxy says", "10.0.0.1:1", "ap-south", "ap-south"},
		{"what a stranger says", "192.0.2.200:1", "ap-south", ""},
		{"what a proxy says that cannot be", "10.0.0.1:1", "a b\x00", ""},
		{"what is too long", "10.0.0.1:1", strings.Repeat("a", 65), ""},
		{"a proxy that says nothing", "10.0.0.1:1", "", ""},
		{"a continent", "81.2.69.1:1", "", "eu"},
		{"a country before its continent", "81.2.70.1:1", "", "uk"},
		{"IPv6", "[2001:db8:1::1]:1", "", "us"},
		{"IPv4 in IPv6", "[::ffff:81.2.69.1]:1", "", "eu"},
		{"a country that no rule has", "81.2.71.1:1", "", ""},
		{"no address", "@", "", ""},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.peer
		r.Header["X-Region"] = []string{c.header}
		if got := l.Viewer(r).Region; got != c.want {
			t.Errorf("%s (%s): got region %q, want %q", c.name, c.peer, got, c.want)
		}
	}
}

func TestAViewerSaysItsRegionWhereNobodyElseKnows(t *testing.T) {
	l := &Locator{Header: "X-Region", Trusted: byHeader().Trusted, GeoIP: database(t), Rules: []Rule{{"eu", nil, []string{"EU"}}}}
	for _, c := range []struct {
		name, peer, header, query, want string
		by                              Source
	}{
		{"nobody", "192.0.2.200:1", "", "", "", ByNobody},
		{"the page", "192.0.2.200:1", "", "us", "us", ByPage},
		{"the page says what cannot be", "192.0.2.200:1", "", "a%00b", "", ByNobody},
		{"the page says too much", "192.0.2.200:1", "", strings.Repeat("a", 65), "", ByNobody},
		{"GeoIP and the page", "81.2.69.1:1", "", "us", "eu", ByGeoIP},
		{"a proxy and the page", "10.0.0.1:1", "ap", "us", "ap", ByHeader},
	} {
		r := httptest.NewRequest("GET", "/?region="+c.query, nil)
		r.RemoteAddr = c.peer
		r.Header.Set("X-Region", c.header)
		if v := l.Viewer(r); v.Region != c.want || v.By != c.by {
			t.Errorf("%s knows: got region %q by %q, want %q by %q", c.name, v.Region, v.By, c.want, c.by)
		}
	}
}

func TestViewersOfOneNetworkAreOneViewer(t *testing.T) {
	for _, c := range []struct{ a, b string }{{"2001:db8::1", "2001:db8::ffff:2"}, {"192.0.2.1", "192.0.2.1"}} {
		if key(netip.MustParseAddr(c.a), "") != key(netip.MustParseAddr(c.b), "") {
			t.Errorf("%s and %s are two viewers, want one", c.a, c.b)
		}
	}
	if key(netip.MustParseAddr("192.0.2.1"), "") == key(netip.MustParseAddr("192.0.2.2"), "") {
		t.Error("two addresses of IPv4 are one viewer")
	}
}

func TestList(t *testing.T) {
	d := directorOn(t, "eu1", edge("eu1", "eu"), edge("eu2", "eu"), edge("us1", "us"))
	d.config.Locator = byHeader()
	d.config.Allow = func(_ *http.Request, stream media.Name) error {
		if stream != cam {
			return errors.New("it is secret")
		}
		return nil
	}
	r := ask(d.List(), "GET", ListRoot+"cup/cam1", "us")
	var got list
	if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if len(got.Probes) != 0 || got.Leave {
		t.Errorf("a viewer whose region is known gets %+v", got)
	}
	if got.Region != "us" || len(got.Edges) != 3 || got.Edges[0].URL != "http://us1.example.org" || got.Edges[0].Region != "us" {
		t.Errorf("the list is %+v, want three edges, that of the viewer's region first", got)
	}
	for target, want := range map[string]int{ListRoot + "cup/cam2": 500, ListRoot + "..": 400, ListRoot: 400} {
		if r := ask(d.List(), "GET", target, ""); r.StatusCode != want {
			t.Errorf("GET %s: got %d, want %d", target, r.StatusCode, want)
		}
	}
	if r := ask(d.List(), "POST", ListRoot+"cup/cam1", ""); r.StatusCode != 405 {
		t.Errorf("POST: got %d, want 405", r.StatusCode)
	}
	if r := ask(d.List(), "OPTIONS", ListRoot+"cup/cam1", ""); r.StatusCode != 204 || !strings.Contains(r.Header.Get("Access-Control-Allow-Headers"), "Authorization") {
		t.Errorf("a page of another origin cannot ask with a token: %d %v", r.StatusCode, r.Header)
	}
}

// edgesFor asks a node for the list.
func edgesFor(t *testing.T, d *Director, query string) (l list) {
	t.Helper()
	if err := json.NewDecoder(ask(d.List(), "GET", ListRoot+"cup/cam1"+query, "").Body).Decode(&l); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestListForAViewerOfNoKnownRegion(t *testing.T) {
	d := directorOn(t, "eu1", edge("eu1", "eu"), edge("eu2", "eu"), edge("us1", "us"))
	l := edgesFor(t, d, "")
	if l.Region != "" || len(l.Probes) != 2 || !l.Probes[0].Self || l.Probes[1].URL != "http://us1.example.org" || l.Edges[0].Name != "eu1" {
		t.Errorf("the list is %+v, want this node and us1 to probe", l)
	}
	if l = edgesFor(t, d, "?region=us"); l.Region != "us" || len(l.Probes) != 0 || l.Edges[0].Name != "us1" {
		t.Errorf("after probing the list is %+v, want us1 and nothing to probe", l)
	}
}

func TestListOfAnEdgeThatDrains(t *testing.T) {
	d := directorOn(t, "eu1", edge("eu1", "eu", draining), edge("eu2", "eu"))
	if l := edgesFor(t, d, ""); !l.Leave || l.Edges[0].Name != "eu2" {
		t.Errorf("the list is %+v, want to leave for eu2", l)
	}
	for _, d := range []*Director{
		directorOn(t, "eu1", edge("eu1", "eu", draining), edge("eu2", "eu", draining)), // nowhere to go
		directorOn(t, "eu1", edge("eu1", "eu", isFull), edge("eu2", "eu")),             // who is there has a place
	} {
		if l := edgesFor(t, d, ""); l.Leave {
			t.Errorf("viewers are to leave for %+v", l)
		}
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	view := tree.NewView([]tree.Node{edge("eu1", "eu"), edge("us1", "us")}, nil)
	d, err := New(Config{
		Self: "eu1", View: func() *tree.View { return view }, Metrics: registry,
		Locator: &Locator{Header: "X-Region", Trusted: byHeader().Trusted, GeoIP: database(t)},
		Allow: func(_ *http.Request, stream media.Name) error {
			if stream != cam {
				return errors.New("it is secret")
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ask(d.WHEP(served), "POST", "/whep/cup/cam1", "us")
	ask(d.WHEP(served), "POST", "/whep/cup/cam1", "eu") // served here: no matter for the director
	ask(d.HLS(served), "GET", "/hls/cup/cam1/index.m3u8", "us")
	ask(d.HLS(served), "GET", "/hls/cup/cam1/steering.json", "us")
	ask(d.List(), "GET", ListRoot+"cup/cam1", "")
	ask(d.List(), "GET", ListRoot+"cup/cam1?region=us", "")
	ask(d.List(), "GET", ListRoot+"cup/cam2", "")
	ask(d.List(), "GET", ListRoot+"..", "")
	view = tree.NewView([]tree.Node{edge("eu1", "eu", noEdge)}, nil)
	ask(d.WHEP(nil), "POST", "/whep/cup/cam1", "us")
	view = tree.NewView([]tree.Node{edge("eu1", "eu", noEdge), edge("us1", "us")}, nil)
	ask(d.WHEP(nil), "POST", "/whep/cup/cam1?via=1", "us")
	got := map[string]float64{}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := strings.TrimPrefix(family.GetName(), "banyan_director_")
			for _, label := range m.GetLabel() {
				name += " " + label.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	if got["geoip_built_seconds"] == 0 {
		t.Error("the age of the database is not told")
	}
	delete(got, "geoip_built_seconds")
	want := map[string]float64{
		"redirects_total whep region": 1, "redirects_total hls region": 1,
		"answers_total steering header": 1, "answers_total edges nobody": 1, "answers_total edges page": 1,
		"refused_total edges token": 1, "refused_total edges name": 1, "refused_total whep no-edge": 1, "refused_total whep moved": 1,
	}
	if !maps.Equal(got, want) {
		t.Errorf("the metrics are %v, want %v", got, want)
	}
	if _, err := New(Config{Metrics: registry}); err == nil {
		t.Error("two directors count into the same metrics")
	}
}

// steering asks for a steering manifest on a node.
func steering(t *testing.T, d *Director, query string) (m manifest) {
	t.Helper()
	r := ask(d.HLS(served), "GET", "/hls/cup/cam1/steering.json"+query, "eu")
	if r.StatusCode != 200 || r.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("the manifest comes as %d %q", r.StatusCode, r.Header.Get("Content-Type"))
	}
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestSteering(t *testing.T) {
	d := directorOn(t, "eu1", edge("eu1", "eu"), edge("eu2", "eu"), edge("us1", "us"))
	d.config.Locator = byHeader()
	if got, want := d.SteeringLines(cam), `#EXT-X-CONTENT-STEERING:SERVER-URI="steering.json?base=eu1",PATHWAY-ID="."`; len(got) != 1 || got[0] != want {
		t.Errorf("the playlist gets %q, want %s", got, want)
	}
	m := steering(t, d, "?base=eu1")
	if m.Version != 1 || m.TTL <= 0 || !slices.Equal(m.Priority, []string{".", "eu2", "us1"}) {
		t.Errorf("the manifest is %+v, want the base, then eu2, then us1", m)
	}
	want := []clone{{".", "eu2", replacement{"eu2.example.org"}}, {".", "us1", replacement{"us1.example.org"}}}
	if !slices.Equal(m.Clones, want) {
		t.Errorf("the clones are %v, want %v", m.Clones, want)
	}
	if !strings.HasPrefix(m.Reload, "http://eu2.example.org/hls/cup/cam1/steering.json?base=eu1") {
		t.Errorf("it is reloaded from %s, want another edge than the one that plays", m.Reload)
	}
	if m := steering(t, d, `?base=eu2&_HLS_pathway=%22eu1%22`); m.Priority[0] != "eu1" || m.Priority[1] != "." || !strings.HasPrefix(m.Reload, "http://eu2.") {
		t.Errorf("a player that moved here from eu2 gets %+v, want that it stays", m)
	}
	if m := steering(t, d, `?base=us1&_HLS_pathway=.`); m.Priority[0] != "." {
		t.Errorf("a player that plays well in another region gets %+v, want that it stays", m)
	}
	if m := steering(t, d, `?base=dead&_HLS_pathway=.`); slices.Contains(m.Priority, ".") || len(m.Priority) != 3 {
		t.Errorf("a player whose edge died gets %+v, want the three that live", m)
	}

	leaving := directorOn(t, "eu1", edge("eu1", "eu", draining), edge("eu2", "eu"), edge("us1", "us"))
	leaving.config.Locator = byHeader()
	if m := steering(t, leaving, "?base=eu1&_HLS_pathway=."); !slices.Equal(m.Priority, []string{"eu2", "us1"}) {
		t.Errorf("a player on an edge that drains gets %v, want the others", m.Priority)
	}
	if m := steering(t, leaving, "?base=eu1&_HLS_pathway=.&hold=1"); m.Priority[0] != "." {
		t.Errorf("a player on an edge that drains, which its page moves, gets %v, want that it stays", m.Priority)
	}
	if m := steering(t, leaving, "?base=us1&_HLS_pathway=%22eu1%22&hold=1"); m.Priority[0] != "eu2" {
		t.Errorf("a player that turned by itself to an edge that drains gets %v, want another edge", m.Priority)
	}
	if m := steering(t, leaving, "?base=dead&_HLS_pathway=.&hold=1"); slices.Contains(m.Priority, ".") {
		t.Errorf("a player whose edge died, and which its page moves, gets %v, want the others", m.Priority)
	}
	mixed := directorOn(t, "eu1", edge("eu1", "eu"), edge("eu2", "eu", atPort8443))
	if m := steering(t, mixed, "?base=eu1"); !slices.Equal(m.Priority, []string{"."}) {
		t.Errorf("a player is sent to %v, where another port is needed, which a manifest cannot say", m.Priority)
	}
	single := directorOn(t, "eu1", edge("eu1", "eu"))
	if m := steering(t, single, "?base=eu1"); !slices.Equal(m.Priority, []string{"."}) || len(m.Clones) != 0 || m.Reload != "" {
		t.Errorf("where there is one edge the manifest is %+v", m)
	}
}
