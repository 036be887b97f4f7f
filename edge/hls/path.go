package hls

import (
	"fmt"
	"strconv"
	"strings"

	"banyan/relay/media"
)

// resource is what a path below /hls/ names.
type resource struct {
	kind   resourceKind
	stream media.Name
	id     renditionID // all but multivariant
	init   initID      // init
	msn    int64       // segment, partial
	part   int         // partial
}

type resourceKind uint8

const (
	multivariant resourceKind = iota
	playlist
	initFile
	segmentFile
	partFile
)

func (k resourceKind) String() string {
	return [...]string{"multivariant", "playlist", "init", "segment", "part"}[k]
}

// renditionID names a rendition within its stream by what it is; its text is a folder in URLs. Video is named
// by its format, sound by its codec: whether that is the publisher's own or made of it may change while
// players play (renditions.go).
type renditionID struct {
	format media.Format
	kind   media.Kind
}

func (id renditionID) String() string { return string(id.format) + "-" + id.kind.String() }

func parseRendition(s string) (renditionID, bool) {
	for _, kind := range media.Kinds {
		if name, ok := strings.CutSuffix(s, "-"+kind.String()); ok {
			format, err := media.ParseFormat(name)
			return renditionID{format, kind}, err == nil
		}
	}
	return renditionID{}, false
}

// initID names an init section within its rendition. Epochs are counted by each track for itself, and a
// rendition may have had several tracks.
type initID struct {
	format media.Format // of the track
	epoch  uint32       // zero for no init section
}

const (
	indexFile  = "index.m3u8"
	mediaExt   = ".mp4"
	initPrefix = "init-"
	maxPath    = 512 // bytes; four segments of 64 and a file have less
)

func initName(id initID) string            { return fmt.Sprintf("init-%s-%d.mp4", id.format, id.epoch) }
func segmentName(msn int64) string         { return fmt.Sprintf("%d.mp4", msn) }
func partName(msn int64, index int) string { return fmt.Sprintf("%d.%d.mp4", msn, index) }

// parsePath reads what follows "/hls/" in a path, escapes and all. None of our names needs an escape,
// so one that has any names nothing; and there is one way only to write each number, so that equal
// requests have equal paths. A path may be read in two ways, as a stream's name may look like a
// rendition's folder: the second result is the other reading, nil where there is none.
func parsePath(path string) (first, second *resource) {
	if len(path) > maxPath {
		return nil, nil
	}
	cut := strings.LastIndexByte(path, '/')
	if cut < 0 {
		return nil, nil
	}
	folder, file := path[:cut], path[cut+1:]
	if r := parseInRendition(folder, file); r != nil {
		first = r
	}
	if file == indexFile {
		if name, err := media.ParseName(folder); err == nil {
			second = &resource{kind: multivariant, stream: name}
		}
	}
	if first == nil {
		first, second = second, nil
	}
	return first, second
}

func parseInRendition(folder, file string) *resource {
	cut := strings.LastIndexByte(folder, '/')
	if cut < 0 {
		return nil
	}
	name, err := media.ParseName(folder[:cut])
	id, ok := parseRendition(folder[cut+1:])
	if err != nil || !ok {
		return nil
	}
	r := &resource{stream: name, id: id}
	if file == indexFile {
		r.kind = playlist
		return r
	}
	base, ok := strings.CutSuffix(file, mediaExt)
	if !ok || !r.parseMedia(base) {
		return nil
	}
	return r
}

func (r *resource) parseMedia(base string) bool {
	if id, ok := strings.CutPrefix(base, initPrefix); ok {
		r.kind = initFile
		return r.init.parse(id)
	}
	msn, index, isPart := strings.Cut(base, ".")
	var ok bool
	r.kind = segmentFile
	if r.msn, ok = canonical(msn, maxInteger); !ok || !isPart {
		return ok
	}
	const mostParts = 1 << 16
	n, ok := canonical(index, mostParts)
	r.kind, r.part = partFile, int(n)
	return ok
}

// parse reads "{format}-{epoch}".
func (id *initID) parse(s string) bool {
	cut := max(0, strings.LastIndexByte(s, '-'))
	format, err := media.ParseFormat(s[:cut])
	n, ok := canonical(strings.TrimPrefix(s[cut:], "-"), 1<<32-1)
	*id = initID{format, uint32(n)}
	return ok && err == nil
}

// canonical reads a decimal number written the one way that we write it.
func canonical(s string, most int64) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= 0 && n <= most && strconv.FormatInt(n, 10) == s
}
