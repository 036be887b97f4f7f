package web

import (
	"crypto/sha256"
	"encoding/base64"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// An asset is one built file. It does not change after it was read.
type asset struct {
	plain       []byte
	compressed  []byte // gzip, made by the build; nil if not worth it
	contentType string
	tag         string // the hash within the entity tag
}

// readAssets reads every file below dist. Hidden files are not for serving.
func readAssets(files fs.FS) (map[string]asset, error) {
	assets := make(map[string]asset)
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasPrefix(entry.Name(), ".") || path.Ext(name) == ".gz" {
			return err
		}
		plain, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		// Without a twin the plain file is served; nothing to report.
		compressed, _ := fs.ReadFile(files, name+".gz")
		sum := sha256.Sum256(plain)
		assets[name] = asset{
			plain:       plain,
			compressed:  compressed,
			contentType: contentType(name),
			tag:         base64.RawURLEncoding.EncodeToString(sum[:12]),
		}
		return nil
	})
	return assets, err
}

// contentType goes by a table for what the build makes: the machine's own
// registry of types differs from place to place.
func contentType(name string) string {
	switch ext := path.Ext(name); ext {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".json", ".map":
		return "application/json"
	default:
		if known := mime.TypeByExtension(ext); known != "" {
			return known
		}
		return "application/octet-stream"
	}
}

// serve answers with the asset, or 304 to a client that has it already.
func (a asset) serve(w http.ResponseWriter, r *http.Request, status int) {
	h := w.Header()
	body, tag := a.plain, `"`+a.tag+`"`
	if a.compressed != nil {
		h.Add("Vary", "Accept-Encoding")
		if acceptsGzip(r.Header.Values("Accept-Encoding")) {
			h.Set("Content-Encoding", "gzip")
			// Another representation needs another strong tag (RFC 9110 section 8.8.3.3).
			body, tag = a.compressed, `"`+a.tag+`-gz"`
		}
	}
	if status == http.StatusOK {
		h.Set("ETag", tag)
		if matches(r.Header.Values("If-None-Match"), tag) {
			h.Del("Content-Encoding")
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	h.Set("Content-Type", a.contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client went away; there is no one to tell
	}
}

// acceptsGzip reads Accept-Encoding (RFC 9110 section 12.5.3). A coding that is
// not named is taken only through "*"; quality zero refuses.
func acceptsGzip(values []string) bool {
	star := false
	for _, value := range values {
		for item := range strings.SplitSeq(value, ",") {
			coding, params, _ := strings.Cut(item, ";")
			coding = strings.ToLower(strings.TrimSpace(coding))
			if coding == "gzip" || coding == "x-gzip" {
				return !refused(params)
			}
			star = star || coding == "*" && !refused(params)
		}
	}
	return star
}

// refused tells whether the parameters of a coding hold a quality of zero.
func refused(params string) bool { return quality(params) == 0 }

// quality reads the weight among parameters (RFC 9110 section 12.4.2). It is 1 where there is none, or none that can
// be read.
func quality(params string) float64 {
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(param, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		if q, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil && q >= 0 && q <= 1 {
			return q
		}
	}
	return 1
}

// asksForHTML reads Accept (RFC 9110 section 12.5.1): whether it names HTML, as a browser's navigation does, and no
// form of JSON that it would like better. "*/*" names nothing: programs send it.
func asksForHTML(values []string) bool {
	var page, data float64
	for _, value := range values {
		for item := range strings.SplitSeq(value, ",") {
			kind, params, _ := strings.Cut(item, ";")
			switch strings.ToLower(strings.TrimSpace(kind)) {
			case "text/html", "application/xhtml+xml":
				page = max(page, quality(params))
			case "application/problem+json", "application/json":
				data = max(data, quality(params))
			}
		}
	}
	return page > 0 && page >= data
}

// matches tells whether If-None-Match names the tag (RFC 9110 section 13.1.2,
// which compares weakly).
func matches(values []string, tag string) bool {
	for _, value := range values {
		for item := range strings.SplitSeq(value, ",") {
			item = strings.TrimSpace(item)
			if item == "*" || strings.TrimPrefix(item, "W/") == tag {
				return true
			}
		}
	}
	return false
}
