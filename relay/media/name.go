package media

import (
	"fmt"
	"strings"
)

// Name is the name of a stream: 1 to 4 segments of [A-Za-z0-9_-]{1,64} joined by "/", such as
// "cup/cam1". A Name made by ParseName is safe in a path, a URL, a log line and a metric label.
type Name string

// Limits of the name grammar.
const (
	MaxNameSegments = 4
	MaxSegmentBytes = 64
)

// ParseName checks s against the name grammar. This is the one place that does so; whoever takes a
// name from outside calls it.
func ParseName(s string) (Name, error) {
	rest, segments := s, 0
	for more := true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		if err := checkSegment(segment); err != nil {
			return "", fmt.Errorf("stream name %s: %w", quote(s), err)
		}
		if segments++; segments > MaxNameSegments {
			return "", fmt.Errorf("stream name %s has more than %d segments: use at most %d, joined by \"/\"",
				quote(s), MaxNameSegments, MaxNameSegments)
		}
	}
	return Name(s), nil
}

func checkSegment(segment string) error {
	if segment == "" {
		return fmt.Errorf("a segment is empty: write one like \"cup/cam1\", without leading, trailing or double \"/\"")
	}
	if len(segment) > MaxSegmentBytes {
		return fmt.Errorf("a segment is longer than %d characters: shorten it", MaxSegmentBytes)
	}
	for i := range len(segment) {
		if !nameByte(segment[i]) {
			return fmt.Errorf("the character %q is not allowed: use A-Z, a-z, 0-9, \"_\" and \"-\"", segment[i])
		}
	}
	return nil
}

func nameByte(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || b == '_' || b == '-'
}

// quote keeps a hostile name from flooding a log or an answer.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return fmt.Sprintf("%q…", s[:most])
	}
	return fmt.Sprintf("%q", s)
}

// Format names one encoding of a stream: "source", "720p", "opus". Its grammar is
// [a-z0-9][a-z0-9-]{0,31}.
type Format string

// Source is the format that the publisher sent.
const Source Format = "source"

// ParseFormat checks s against the grammar of formats.
func ParseFormat(s string) (Format, error) {
	const most = 32
	if s == "" || len(s) > most || s[0] == '-' {
		return "", fmt.Errorf("format %s: use 1 to %d characters such as \"source\", \"720p\" or \"opus\"", quote(s), most)
	}
	for i := range len(s) {
		b := s[i]
		if !('a' <= b && b <= 'z' || '0' <= b && b <= '9' || b == '-') {
			return "", fmt.Errorf("format %s: the character %q is not allowed: use a-z, 0-9 and \"-\"", quote(s), b)
		}
	}
	return Format(s), nil
}
