// Package web serves the pages that people open: the landing page, watch,
// publish and ops.
//
// The pages are TypeScript (src/), built by Vite into dist/, which is embedded
// here and not committed. Each page is one HTML file that loads hashed assets;
// nothing is rendered on the server, so a page depends on its address only in
// the browser, and every viewer gets the same cached bytes. What a page needs
// beyond that it asks of the REST interface, WHEP, WHIP and HLS on the same
// origin.
//
//   - Pages is the http.Handler, made by New.
//   - asset is one built file, plain and compressed, with its entity tag.
//
// A page is revalidated at each load and names assets by their hash; an asset
// never changes and is cached for ever. So a new build is seen at once, and
// costs returning viewers only what has changed.
//
// The content security policy allows no inline script or style and no foreign
// origin. Together with tokens that live only in the fragment of an address
// and `Referrer-Policy: no-referrer`, a token reaches no one but this server.
//
// The package knows nothing of streams: whether one exists is for the page to
// find out. It only turns away names that no stream can have. A page that is not
// there is told of in HTML to those who ask for HTML, as a browser's navigation
// does, and to all others as a problem (RFC 9457).
//
// In src/, shared/ holds what every page uses (theme, REST client, WHIP and WHEP
// signalling, SDP, delay figures), and each page has its folder. The watch page
// is the large one: player.ts is its loop, which opens a Playback (webrtc.ts
// over whep.ts, or hls.ts), judges it with watchdog.ts and asks policy.ts what
// comes after a failure. Which edge of a cluster plays is for edges.ts to say; a
// Playback moves to another one without a break. policy, watchdog, delay, edges
// and the two session types know no page, so their tests need no browser. hook.ts
// is what tests of the whole may rely on. The ops page asks for the tree of the
// cluster once a second; history.ts remembers who has just gone, layout.ts says
// where everything stands, and both are pure.
//
// A page is added as NAME.html beside the others, listed in vite.config.ts,
// with its address in the table in New.
package web

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// built holds the output of `npm run build`. In a tree where that has not run
// there is only .gitkeep, which keeps the folder for this directive.
//
//go:embed all:dist
var built embed.FS

// Config is what New needs.
type Config struct {
	// CheckName tells what is wrong with a stream's name, nil if nothing. Required.
	CheckName func(name string) error

	// ConnectOrigins are origins besides the page's own that pages may talk to,
	// such as "https://edge2.example.org": the edges that WHEP redirects to.
	ConnectOrigins []string

	// Edges gives more such origins, at each load of a page. If nil, there are none. One that is no origin is left out.
	Edges func() []string

	// Files are the built pages: index.html, watch.html and so on, and assets/.
	// If nil, the files embedded in the binary are used.
	Files fs.FS
}

// Pages serves the pages and their assets.
type Pages struct {
	checkName func(string) error
	connect   []string // origins that pages may talk to
	edges     func() []string
	files     map[string]asset // by path below dist, without compressed twins
	mux       *http.ServeMux
}

// Files are the built pages that the binary holds; empty but for a placeholder
// where it was compiled without building them.
func Files() fs.FS {
	files, err := fs.Sub(built, "dist")
	if err != nil {
		panic(err) // "dist" is a valid path, which is all that can be wrong
	}
	return files
}

// New reads the built files into memory. A tree without built pages is no
// error: Pages then says how to build them.
func New(config Config) (*Pages, error) {
	if config.CheckName == nil {
		return nil, errors.New("web: Config.CheckName is missing: give the name grammar's check")
	}
	for _, origin := range config.ConnectOrigins {
		if !isOrigin(origin) {
			return nil, fmt.Errorf("web: Config.ConnectOrigins: %q is not an origin such as https://edge.example.org", origin)
		}
	}
	if config.Edges == nil {
		config.Edges = func() []string { return nil }
	}
	files := config.Files
	if files == nil {
		files = Files()
	}
	assets, err := readAssets(files)
	if err != nil {
		return nil, fmt.Errorf("web: read built pages: %w", err)
	}

	p := &Pages{checkName: config.CheckName, connect: config.ConnectOrigins, edges: config.Edges, files: assets, mux: http.NewServeMux()}
	p.mux.HandleFunc("/{$}", p.page("index.html"))
	p.mux.HandleFunc("/watch/{stream...}", p.streamPage("watch.html"))
	p.mux.HandleFunc("/publish/{$}", p.page("publish.html")) // asks for the name
	p.mux.HandleFunc("/publish/{stream...}", p.streamPage("publish.html"))
	p.mux.HandleFunc("/ops", p.page("ops.html"))
	p.mux.HandleFunc("/ops/{$}", p.page("ops.html"))
	p.mux.HandleFunc("/assets/{file}", p.asset)
	p.mux.HandleFunc("/favicon.svg", p.page("favicon.svg"))
	p.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { p.notFound(w, r, noPage) })
	return p, nil
}

// Built reports whether there are pages to serve.
func (p *Pages) Built() bool {
	_, ok := p.files["index.html"]
	return ok
}

func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", contentPolicy(append(slices.Clip(p.connect), p.edges()...)))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(self), microphone=(self), display-capture=(self), geolocation=()")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		problem(w, http.StatusMethodNotAllowed, "Pages answer GET and HEAD only.")
		return
	}
	if !p.Built() {
		notBuilt(w, r)
		return
	}
	p.mux.ServeHTTP(w, r)
}

// page answers with one built file, revalidated at each load.
func (p *Pages) page(file string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a, ok := p.files[file]
		if !ok {
			p.notFound(w, r, noPage)
			return
		}
		w.Header().Set("Cache-Control", "no-cache")
		a.serve(w, r, http.StatusOK)
	}
}

// streamPage is page behind a check of the stream's name in the address.
func (p *Pages) streamPage(file string) http.HandlerFunc {
	page := p.page(file)
	return func(w http.ResponseWriter, r *http.Request) {
		if p.checkName(r.PathValue("stream")) != nil {
			p.notFound(w, r, noName)
			return
		}
		page(w, r)
	}
}

// asset answers with a file whose name holds the hash of its content.
func (p *Pages) asset(w http.ResponseWriter, r *http.Request) {
	a, ok := p.files["assets/"+r.PathValue("file")] // exact: nothing climbs out of a map
	if !ok {
		// An asset of another build: the page that asks for it is stale.
		w.Header().Set("Cache-Control", "no-store")
		problem(w, http.StatusNotFound, "There is no such asset in this build. Reload the page.")
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	a.serve(w, r, http.StatusOK)
}

// What is said where there is no page. The page for people says both.
const (
	noPage = "There is no page here. Streams are watched at /watch/{stream} and published at /publish/{stream}; " +
		"/api/v1/openapi.json lists what programs may ask for."
	noName = "No stream can have this name. Use one to four parts joined by \"/\", each of 1 to 64 letters, digits, \"-\" and \"_\": " +
		"for example cup/cam1."
)

// notFound answers 404: by a page where the client asks for one, else by a problem with the given detail.
func (p *Pages) notFound(w http.ResponseWriter, r *http.Request, detail string) {
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Add("Vary", "Accept")
	if a, ok := p.files["404.html"]; ok && asksForHTML(r.Header.Values("Accept")) {
		a.serve(w, r, http.StatusNotFound)
		return
	}
	problem(w, http.StatusNotFound, detail)
}

// isOrigin tells whether a text is an origin and no more: a stray semicolon or space would begin another directive or source.
func isOrigin(origin string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Scheme != "" && u.Host != "" && u.Scheme+"://"+u.Host == origin && !strings.ContainsAny(origin, "; ,'\"")
}

// contentPolicy is the Content-Security-Policy of all pages, which may talk to some origins beside their own.
func contentPolicy(connect []string) string {
	connect = slices.DeleteFunc(connect, func(origin string) bool { return !isOrigin(origin) })
	return strings.Join([]string{
		"default-src 'self'",
		"script-src 'self'",
		"style-src 'self'",
		strings.Join(append([]string{"connect-src 'self'"}, connect...), " "),
		"media-src blob: 'self'",     // Media Source Extensions play from blob URLs
		"img-src 'self' data: blob:", // thumbnails are fetched with a token, then shown as blobs
		"worker-src blob: 'self'",    // hls.js
		"object-src 'none'",
		"base-uri 'none'",
		"form-action 'self'",
		"frame-ancestors 'self'",
	}, "; ")
}
