package auth

import (
	"errors"
	"fmt"
	"strings"

	"banyan/relay/media"
)

// A Glob is a pattern over stream names. Its segments are joined by "/" and are
//
//	**         any number of segments, none included: "cup/**" is cup and all below it
//	cam*       * stands for any characters within one segment, none included; the rest is literal
//	cam1       itself
//
// A segment that is a lone * stands for exactly one segment, whatever it is. Make one with ParseGlob, which checks
// the grammar; a Glob of another making matches by the same rules and never more than it says.
type Glob string

// maxGlobSegments leaves room for a ** beside each segment that a name can have.
const maxGlobSegments = 2*media.MaxNameSegments + 1

// ParseGlob checks s against the grammar.
func ParseGlob(s string) (Glob, error) {
	segments := strings.Split(s, "/")
	if len(segments) > maxGlobSegments {
		return "", fmt.Errorf("pattern %.80q has more than %d segments: stream names have at most %d",
			s, maxGlobSegments, media.MaxNameSegments)
	}
	for _, segment := range segments {
		if err := checkGlobSegment(segment); err != nil {
			return "", fmt.Errorf("pattern %.80q: %w", s, err)
		}
	}
	return Glob(s), nil
}

func checkGlobSegment(segment string) error {
	switch {
	case segment == "":
		return errors.New(`a segment is empty: write a pattern like "cup/*", without leading, trailing or double "/"`)
	case segment == "**":
		return nil
	case strings.Contains(segment, "**"):
		return errors.New(`"**" must be a whole segment: write "cup/**", or "cam*" with one "*"`)
	}
	// What is left when each * becomes a letter must be a segment of a name: the grammar of names stays in one place.
	if _, err := media.ParseName(strings.ReplaceAll(segment, "*", "a")); err != nil {
		return fmt.Errorf(`the segment %.80q cannot match any name: use A-Z, a-z, 0-9, "_", "-" and "*", at most %d characters`,
			segment, media.MaxSegmentBytes)
	}
	return nil
}

// Match says whether name as a whole fits the pattern. The time it takes is bounded: names have few segments.
func (g Glob) Match(name media.Name) bool {
	return g != "" && name != "" && matchSegments(string(g), string(name))
}

// matchSegments matches what is left of a pattern against what is left of a name; either is empty at its end.
func matchSegments(pattern, name string) bool {
	if pattern == "" {
		return name == ""
	}
	head, patternRest, _ := strings.Cut(pattern, "/")
	if head == "**" && matchSegments(patternRest, name) {
		return true // here ** stands for no (more) segments
	}
	if name == "" {
		return false
	}
	segment, nameRest, _ := strings.Cut(name, "/")
	if head == "**" {
		return matchSegments(pattern, nameRest)
	}
	return matchSegment(head, segment) && matchSegments(patternRest, nameRest)
}

// matchSegment matches one segment: the text before the first * and after the last is anchored, and the texts
// between are looked for from left to right, which finds a match if there is one.
func matchSegment(pattern, segment string) bool {
	before, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == segment
	}
	segment, ok := strings.CutPrefix(segment, before)
	for ok {
		var middle string
		if middle, rest, star = strings.Cut(rest, "*"); !star {
			return strings.HasSuffix(segment, middle)
		}
		_, segment, ok = strings.Cut(segment, middle)
	}
	return false
}
