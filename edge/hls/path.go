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
	epoch  uint32      // init
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

// renditionID names a rendition within its stream; its text is a folder in URLs.
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

const (
	indexFile  = "index.m3u8"
	mediaExt   = ".mp4"
	initPrefix = "init-"
	maxPath    = 512 // bytes; four segments of 64 and a file have less
)

func initName(epoch uint32) string         { return fmt.Sprintf("init-%d.mp4", epoch) }
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
	if epoch, ok := strings.CutPrefix(base, initPrefix); ok {
		n, ok := canonical(epoch, 1<<32-1)
		r.kind, r.epoch = initFile, uint32(n)
		return ok
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

// canonical reads a decimal number written the one way that we write it.
func canonical(s string, most int64) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= 0 && n <= most && strconv.FormatInt(n, 10) == s
}
