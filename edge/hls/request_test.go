package hls

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"banyan/relay/media"
)

func TestDirectives(t *testing.T) {
	none := directives{part: noPart}
	for query, want := range map[string]directives{
		"":                                      none,
		"_HLS_unknown=1&x=2&x=3":                none, // H27: unknown directives are ignored
		"_HLS_msn=7":                            {blocking: true, msn: 7, part: noPart},
		"_HLS_msn=7&_HLS_part=0":                {blocking: true, msn: 7},
		"_HLS_part=3&_HLS_msn=9007199254740992": {blocking: true, msn: 1 << 53, part: 3},
		"_HLS_skip=YES":                         {part: noPart, skip: true},
		"_HLS_skip=v2&_HLS_msn=1":               {blocking: true, msn: 1, part: noPart, skip: true},
		"_HLS_skip=v3":                          none,
		"_HLS_msn=007":                          {blocking: true, msn: 7, part: noPart},
	} {
		if got, complaint := parseDirectives(query); complaint != "" || got != want {
			t.Errorf("%q: %+v, %q; want %+v", query, got, complaint, want)
		}
	}
	for _, query := range []string{
		"_HLS_msn=-1", "_HLS_msn=18446744073709551616", "_HLS_msn=9007199254740993", "_HLS_msn=text", "_HLS_msn=", "_HLS_msn=1&_HLS_msn=1",
		"_HLS_msn=1.5", "_HLS_msn=+1", "_HLS_msn=%201", "_HLS_part=1", "_HLS_msn=1&_HLS_part=-1", "_HLS_msn=1&_HLS_part=",
		"_HLS_msn=1&_HLS_part=1&_HLS_part=2", "_HLS_skip=YES&_HLS_skip=YES", "_HLS_x=1&_HLS_x=2", "_HLS_msn=%zz", "a;b",
		"_HLS_msn=0x10", "_HLS_msn=１", strings.Repeat("x", 10<<10),
	} {
		d, complaint := parseDirectives(query)
		if complaint == "" {
			t.Errorf("%.60q was accepted as %+v", query, d)
		} else if len(complaint) > 200 || !strings.HasSuffix(complaint, ".") {
			t.Errorf("%.60q: the answer %q is no short sentence", query, complaint)
		}
	}
}

func FuzzDirectives(f *testing.F) {
	for _, s := range []string{"", "_HLS_msn=1&_HLS_part=2&_HLS_skip=YES", "_HLS_msn=-1", "%", "a=b;c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		d, complaint := parseDirectives(query)
		if complaint != "" {
			return
		}
		if d.msn < 0 || d.msn > maxInteger || d.part < noPart || !d.blocking && (d.msn != 0 || d.part != noPart) {
			t.Fatalf("%q was read as %+v", query, d)
		}
		// H40: neither order nor spelling of a query matters.
		values, _ := url.ParseQuery(query)
		if again, complaint := parseDirectives(values.Encode()); complaint == "" && again != d {
			t.Fatalf("%q means %+v, but sorted it means %+v", query, d, again)
		}
	})
}

func TestPaths(t *testing.T) {
	video := renditionID{"720p", media.Video}
	for path, want := range map[string]resource{
		"cup/cam1/index.m3u8":               {kind: multivariant, stream: "cup/cam1"},
		"cam1/index.m3u8":                   {kind: multivariant, stream: "cam1"},
		"720p-video/index.m3u8":             {kind: multivariant, stream: "720p-video"},
		"cup/cam1/720p-video/index.m3u8":    {kind: playlist, stream: "cup/cam1", id: video},
		"a/b/c/d/720p-video/index.m3u8":     {kind: playlist, stream: "a/b/c/d", id: video},
		"cam1/opus-audio/index.m3u8":        {kind: playlist, stream: "cam1", id: renditionID{"opus", media.Audio}},
		"cam1/480p-vp8-video/index.m3u8":    {kind: playlist, stream: "cam1", id: renditionID{"480p-vp8", media.Video}},
		"cam1/720p-video/init-source-7.mp4": {kind: initFile, stream: "cam1", id: video, init: initID{"source", 7}},
		"cam1/720p-video/12.mp4":            {kind: segmentFile, stream: "cam1", id: video, msn: 12},
		"cam1/720p-video/12.0.mp4":          {kind: partFile, stream: "cam1", id: video, msn: 12},
		"cam1/720p-video/900000000.9.mp4":   {kind: partFile, stream: "cam1", id: video, msn: 900000000, part: 9},
	} {
		if got, _ := parsePath(path); got == nil || *got != want {
			t.Errorf("%q: %+v, want %+v", path, got, want)
		}
	}
	if first, second := parsePath("cup/main-audio/index.m3u8"); first == nil || second == nil || second.stream != "cup/main-audio" {
		t.Errorf("a stream named like a rendition's folder: %+v, %+v; want both readings", first, second)
	}
	for _, path := range badPaths {
		if got, _ := parsePath(path); got != nil {
			t.Errorf("%.60q was accepted as %+v", path, got)
		}
	}
}

var badPaths = []string{
	"", "/", "index.m3u8", "/index.m3u8", "cam1", "cam1/", "cam1/index.m3u", "cam1/INDEX.M3U8", "a/b/c/d/e/f/index.m3u8",
	"cam1/../index.m3u8", "../index.m3u8", "cam1/720p-video/../../x/index.m3u8", "cam1/%2e%2e/index.m3u8", "cam1%2findex.m3u8",
	"cam1\\index.m3u8", "cam1//index.m3u8", "cam1/720p-video//1.mp4", "cam1/%00/index.m3u8", "cam1\x00/index.m3u8",
	"cam1/720p-video/01.mp4", "cam1/720p-video/1.00.mp4", "cam1/720p-video/+1.mp4", "cam1/720p-video/-1.mp4", "cam1/720p-video/1.mp4.mp4",
	"cam1/720p-video/1.2.3.mp4", "cam1/720p-video/1.-2.mp4", "cam1/720p-video/.mp4", "cam1/720p-video/1..mp4", "cam1/720p-video/.1.mp4",
	"cam1/720p-video/18446744073709551616.mp4", "cam1/720p-video/9007199254740993.mp4", "cam1/720p-video/1.9999999.mp4",
	"cam1/720p-video/init-.mp4", "cam1/720p-video/init-1.mp4", "cam1/720p-video/init-source-4294967296.mp4", "cam1/720p-video/init--1.mp4",
	"cam1/720p-video/init-source-1.1.mp4", "cam1/720p-video/init-source-.mp4", "cam1/720p-video/init-source.mp4",
	"cam1/720p/index.m4", "cam1/720P-video/1.mp4", "cam1/-video/1.mp4", "cam1/720p-data/1.mp4", "cam1/720p-video/1.mp4/", "cam1/é/index.m3u8",
	strings.Repeat("a", 8<<10), strings.Repeat("a/", 1000) + "index.m3u8", strings.Repeat("a", 65) + "/index.m3u8",
}

func FuzzPath(f *testing.F) {
	for _, s := range append([]string{"cup/cam1/720p-video/12.3.mp4", "cup/cam1/index.m3u8", "a/x-audio/init-x-y-1.mp4"}, badPaths...) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		first, second := parsePath(path)
		for _, r := range []*resource{first, second} {
			if r == nil {
				continue
			}
			if again := r.path(); again != path {
				t.Fatalf("%q is read as what is written %q", path, again)
			}
			if _, err := media.ParseName(string(r.stream)); err != nil {
				t.Fatal(err)
			}
		}
		if first == nil && second != nil {
			t.Fatal("a second reading without a first")
		}
	})
}

// path writes what parsePath reads.
func (r *resource) path() string {
	folder := string(r.stream) + "/"
	if r.kind != multivariant {
		folder += r.id.String() + "/"
	}
	switch r.kind {
	case initFile:
		return folder + initName(r.init)
	case segmentFile:
		return folder + segmentName(r.msn)
	case partFile:
		return folder + partName(r.msn, r.part)
	}
	return folder + indexFile
}

// ranges are Range headers for a file of 100 bytes, with where they begin and end, and 1 if the file has any of them.
var ranges = map[string][3]int{
	"": {0, 100, 1}, "bytes=0-0": {0, 1, 1}, "bytes=10-": {10, 100, 1}, "bytes=-1": {99, 100, 1}, "bytes=-500": {0, 100, 1},
	"bytes=50-1000": {50, 100, 1}, "bytes=100-": {0, 0, 0}, "bytes=100-200": {0, 0, 0}, "bytes=5-2": {0, 100, 1},
	"bytes=0-1,2-3": {0, 100, 1}, "items=0-1": {0, 100, 1}, "bytes=x-1": {0, 100, 1}, "bytes=-": {0, 100, 1},
	"bytes=99999999999999999999-": {0, 100, 1}, "bytes=4611686018427387903-": {0, 0, 0}, "bytes=0-4611686018427387903": {0, 100, 1},
}

func TestByteRange(t *testing.T) {
	for header, want := range ranges {
		from, to, ok := byteRange(header, 100)
		if got := [3]int{from, to, 0}; ok {
			got[2] = 1
			if got != want {
				t.Errorf("%q: %v, want %v", header, got, want)
			}
		} else if want[2] != 0 {
			t.Errorf("%q: refused, want %v", header, want)
		}
	}
	if _, _, ok := byteRange("bytes=-0", 100); ok {
		t.Error("the last zero bytes are no range")
	}
}

// Whatever a client writes, the range lies in the file; one that is taken is what net/http takes of a file, too.
func FuzzByteRange(f *testing.F) {
	for header := range ranges {
		f.Add(header, uint16(100))
	}
	f.Add("bytes=0-", uint16(0))
	f.Add("bytes=-5", uint16(0))
	f.Fuzz(func(t *testing.T, header string, n uint16) {
		size := int(n)
		from, to, ok := byteRange(header, size)
		if from < 0 || from > to || to > size || ok && size > 0 && from == to {
			t.Fatalf("%q of %d bytes: %d to %d, %v", header, size, from, to, ok)
		}
		if whole := from == 0 && to == size; whole || strings.ContainsAny(header, ", \t") {
			return // it may ask for several, or be malformed, which net/http takes differently
		}
		if !ok && strings.HasPrefix(header, "bytes=-") {
			return // the last zero bytes, which no file has (RFC 9110 section 14.1.2); net/http gives them
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Range", header)
		w := httptest.NewRecorder()
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(strings.Repeat("x", size)))
		want := http.StatusPartialContent
		if !ok {
			want = http.StatusRequestedRangeNotSatisfiable
		}
		if got := w.Header().Get("Content-Range"); w.Code != want || ok && got != fmt.Sprintf("bytes %d-%d/%d", from, to-1, size) {
			t.Fatalf("%q of %d bytes: %d to %d, %v; net/http says %d, %q", header, size, from, to, ok, w.Code, got)
		}
	})
}

// encodings are Accept-Encoding headers, and whether gzip may be sent.
var encodings = map[string]bool{
	"": false, "gzip": true, "deflate, gzip;q=0.5": true, "gzip;q=0": false, "gzip; q=0.0": false, "*": true, "*;q=0": false,
	"*;q=0, gzip": true, "identity": false, "GZIP": true, "gzip;q=nonsense": false, strings.Repeat("br,", 5000): false,
}

func TestAcceptsGzip(t *testing.T) {
	for header, want := range encodings {
		if got := acceptsGzip(header); got != want {
			t.Errorf("Accept-Encoding %.40q: %v, want %v", header, got, want)
		}
	}
}

// Gzip goes to those only who name it, or everything. A header that begins with it needs no more; one that begins with
// its refusal gets none.
func FuzzAcceptsGzip(f *testing.F) {
	for header := range encodings {
		f.Add(header)
	}
	f.Fuzz(func(t *testing.T, header string) {
		if acceptsGzip(header) && !strings.Contains(strings.ToLower(header), "gzip") && !strings.Contains(header, "*") {
			t.Fatalf("%q was taken for one that names gzip", header)
		}
		if !acceptsGzip("gzip," + header) {
			t.Fatalf("%q after gzip hides it", header)
		}
		if acceptsGzip("gzip;q=0," + header) {
			t.Fatalf("%q after a refusal of gzip undoes it", header)
		}
	})
}
