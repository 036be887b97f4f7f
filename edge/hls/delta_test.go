package hls

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"banyan/relay/media"
)

// merge rebuilds the playlist from the one that a client has and a delta update, as RFC 8216bis section
// 6.2.5.1 says: what EXT-X-SKIP stands for is taken from the old one. An init section holds for all segments after its
// tag (section 4.4.4.5), so that the client has it still when the segment that named it has left the playlist: the
// first that is left names it then.
func merge(old, delta string) (string, bool) {
	head, rest, ok := strings.Cut(delta, "#EXT-X-SKIP:SKIPPED-SEGMENTS=")
	if !ok {
		return delta, true
	}
	count, rest, _ := strings.Cut(rest, "\n")
	n, err := strconv.Atoi(count)
	if err != nil {
		return "", false
	}
	skip := sequenceOf(delta) - sequenceOf(old)
	if skip < 0 {
		return "", false
	}
	_, body := splitHead(old)
	section := ""
	for ; skip > 0 && body != ""; skip-- {
		var gone string
		gone, body = splitSegment(body)
		if named := mapOf(gone); named != "" {
			section = named
		}
	}
	kept := strings.Builder{}
	for ; n > 0; n-- {
		var s string
		if s, body = splitSegment(body); s == "" {
			return "", false
		}
		if section != "" && mapOf(s) == "" {
			const mark = "#EXT-X-DISCONTINUITY\n"
			after, marked := strings.CutPrefix(s, mark)
			if s = section + after; marked {
				s = mark + s
			}
		}
		section = ""
		kept.WriteString(s)
	}
	return head + kept.String() + rest, true
}

// mapOf is the line that names an init section before a segment, if there is one.
func mapOf(segment string) string {
	for line := range strings.Lines(segment) {
		if strings.HasPrefix(line, "#EXT-X-MAP") {
			return line
		}
	}
	return ""
}

func sequenceOf(text string) int {
	_, after, _ := strings.Cut(text, "#EXT-X-MEDIA-SEQUENCE:")
	line, _, _ := strings.Cut(after, "\n")
	n, _ := strconv.Atoi(line)
	return n
}

// splitHead cuts a playlist before the first line that belongs to a segment.
func splitHead(text string) (head, body string) {
	at := 0
	for line := range strings.Lines(text) {
		for _, tag := range []string{"#EXT-X-MAP", "#EXT-X-PROGRAM-DATE-TIME", "#EXT-X-DISCONTINUITY\n", "#EXT-X-SKIP"} {
			if strings.HasPrefix(line, tag) {
				return text[:at], text[at:]
			}
		}
		at += len(line)
	}
	return text, ""
}

// splitSegment cuts after the first line that is an address.
func splitSegment(body string) (segment, rest string) {
	at := 0
	for line := range strings.Lines(body) {
		at += len(line)
		if !strings.HasPrefix(line, "#") {
			return body[:at], body[at:]
		}
	}
	return "", body
}

// normal writes a playlist so that each segment names its init section where it is another than that of the one
// before. A gap names none: there is nothing to decode, and where the segments before it have left the playlist, nothing
// tells a server what init section was in force there. That is all that a merged playlist may differ in.
func normal(text string) string {
	var out strings.Builder
	head, body := splitHead(text)
	out.WriteString(head)
	named, written := "", ""
	for body != "" {
		segment, rest := splitSegment(body)
		if segment == "" {
			out.WriteString(rest + body)
			break
		}
		if s := mapOf(segment); s != "" {
			named, segment = s, strings.Replace(segment, s, "", 1)
		}
		if named != written && !strings.Contains(segment, "#EXT-X-GAP\n") {
			out.WriteString(named)
			written = named
		}
		out.WriteString(segment)
		body = rest
	}
	return out.String()
}

// withoutParts leaves the parts of the first n segments out, which only a playlist that was much newer could have listed
// no more.
func withoutParts(text string, n int) string {
	var out strings.Builder
	head, body := splitHead(text)
	out.WriteString(head)
	for ; n > 0; n-- {
		segment, rest := splitSegment(body)
		for line := range strings.Lines(segment) {
			if !strings.HasPrefix(line, "#EXT-X-PART:") {
				out.WriteString(line)
			}
		}
		body = rest
	}
	return out.String() + body
}

// H28, H30: whatever happened, a delta update and the playlist that a client had make the full one again.
func TestDeltaMerges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkDelta(t, rapid.SliceOfN(rapid.Byte(), 1, 60).Draw(t, "events")) })
}

func FuzzDelta(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3})
	f.Add([]byte{4, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 2, 2})
	f.Fuzz(func(t *testing.T, events []byte) { checkDelta(t, events[:min(len(events), 200)]) })
}

func checkDelta(t failer, events []byte) {
	f := newFeeder(10)
	k := int64(0)
	f.whole(k)
	olds := []*listing{f.listing()}
	for _, e := range events {
		switch k++; e % 5 {
		case 0:
			f.whole(k)
		case 1:
			f.part(k, int(e)%10)
		case 2:
			for i := range int(e) % 10 {
				f.part(k, i)
			}
		case 3:
			k += int64(e) % 8
			f.part(k, 2)
		case 4:
			f.reconfigure()
			f.whole(k)
		}
		l := f.listing()
		parse(t, l.text(0))
		n := l.skippable()
		var behind time.Duration
		for _, s := range l.segments[n:] {
			behind += s.length
		}
		behind += l.openLength()
		if n > 0 && behind <= skipTargets*l.targetDuration() {
			t.Fatalf("%d segments are skipped though only %v follow", n, behind)
		}
		for _, old := range olds {
			if n > 0 && old.lastClosed() >= l.segments[n-1].msn && old.first() <= l.first() {
				checkMerge(t, old, l, n)
			}
		}
		olds = append(olds[max(0, len(olds)-7):], l)
	}
}

// checkMerge merges what a client had with a delta update that skips n segments. Where what it had is older than it may
// be for that (half the skip boundary), it may list parts that are listed no more; else nothing differs.
func checkMerge(t failer, old, l *listing, n int) {
	had, full := old.text(0), l.text(0)
	merged, ok := merge(had, l.text(n))
	if !ok {
		t.Fatalf("the delta update cannot be merged:\n%s\nwith\n%s", l.text(n), had)
	}
	if l.end().Sub(old.end()) > skipTargets*l.targetDuration()/2 {
		merged, full = withoutParts(merged, n), withoutParts(full, n)
	}
	if got, want := normal(merged), normal(full); got != want {
		t.Fatalf("merged:\n%s\nfull:\n%s\nhad:\n%s", got, want, had)
	}
}

func (l *listing) openLength() (sum time.Duration) {
	if l.open != nil {
		for _, p := range l.open.parts {
			sum += p.length
		}
	}
	return sum
}

// end is the media time up to which a playlist goes.
func (l *listing) end() media.Time { return l.grid.start(l.lastClosed() + 1).Add(l.openLength()) }
