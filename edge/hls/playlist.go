package hls

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/grafov/m3u8"
)

// listing is all that a media playlist says, at one state of its rendition. It does not change.
type listing struct {
	grid     grid
	target   time.Duration // PART-TARGET
	longest  time.Duration // PART-TARGET of the rendition of the stream that has the longest; zero where not known
	segments []*segment    // closed ones, ascending
	open     *segment      // nil where no segment is open
	marks    []int64       // segments with a discontinuity before them
	sequence uint64        // EXT-X-DISCONTINUITY-SEQUENCE
	mapHint  initID        // an init section that the next segment will need; zero for none
	ended    bool          // nothing will follow
}

// report is the state of another rendition, for EXT-X-RENDITION-REPORT.
type report struct {
	id   renditionID
	msn  int64
	part int // noPart where the rendition has none there
}

// Lengths that RFC 8216bis gives in target durations.
const (
	holdBackTargets = 3 // HOLD-BACK, at least (section 4.4.3.8)
	skipTargets     = 6 // CAN-SKIP-UNTIL, at least
	leastTargets    = 3 // what a playlist lasts, at least, for something to leave it (section 6.2.2)
	partTargets     = 3 // how far back parts are listed (section 6.2.2)
)

func (l *listing) targetDuration() time.Duration {
	return time.Duration(l.grid.targetDuration()) * time.Second
}

// position is the newest part, or where the newest segment has no parts listed, the segment.
func (l *listing) position() (msn int64, index int) {
	if l.open != nil {
		return l.open.msn, len(l.open.parts) - 1
	}
	if n := len(l.segments); n > 0 {
		s := l.segments[n-1]
		return s.msn, len(s.parts) - 1
	}
	return noSegment, noPart
}

// lastClosed is the newest closed segment; noSegment where there is none.
func (l *listing) lastClosed() int64 {
	if n := len(l.segments); n > 0 {
		return l.segments[n-1].msn
	}
	return noSegment
}

// next is the part that will be published next.
func (l *listing) next() (msn int64, index int) {
	if l.open != nil {
		return l.open.msn, len(l.open.parts)
	}
	return l.lastClosed() + 1, 0
}

// covers tells whether a request that waits for a segment, or for a part of it, has what it waits for.
// A part beyond the end of a closed segment stands for the first of the next (section 6.2.5.2).
func (l *listing) covers(msn int64, index int) bool {
	last := l.lastClosed()
	if last == noSegment && l.open == nil {
		return false
	}
	if index == noPart {
		return msn <= last
	}
	if msn == last && index >= len(l.segments[len(l.segments)-1].parts) {
		msn, index = last+1, 0
	}
	if msn <= last {
		return true
	}
	return l.open != nil && msn == l.open.msn && index < len(l.open.parts)
}

// tooFar tells whether a request is for more than players may ask for in advance (section 6.2.5.2).
func (l *listing) tooFar(msn int64, index int) bool {
	last := l.lastClosed()
	if last == noSegment {
		last = l.open.msn - 1
	}
	if msn > last+2 {
		return true
	}
	if index == noPart || msn <= last {
		return false
	}
	limit := 3
	if l.target < time.Second {
		limit = int(math.Ceil(3 / l.target.Seconds()))
	}
	// Counted from the end of what is there; how many parts come before the segment asked for is not
	// known to the client either.
	if l.open != nil && msn == l.open.msn {
		index -= len(l.open.parts)
	}
	return index >= limit
}

// passed tells whether a part or segment that is not there now will not come any more.
func (l *listing) passed(r *resource) bool {
	msn, index := l.next()
	return r.msn < msn || r.kind == partFile && r.msn == msn && r.part < index
}

// until is how much media has to come before a part, or the last part of a segment; none for what has passed.
func (l *listing) until(r *resource) time.Duration {
	msn, index := l.next()
	if r.msn > msn+1 {
		return time.Duration(math.MaxInt64)
	}
	length := l.grid.part
	if l.open != nil && l.open.plan.length > 0 {
		length = l.open.plan.length
	}
	have, want := time.Duration(index)*length, l.grid.segment
	if r.kind == partFile {
		want = time.Duration(r.part) * length
	}
	return max(0, time.Duration(r.msn-msn)*l.grid.segment+want-have)
}

// skippable is how many segments a delta update leaves out: those that end before the skip boundary.
func (l *listing) skippable() int {
	if l.ended {
		return 0
	}
	boundary := skipTargets * l.targetDuration()
	var behind time.Duration
	if l.open != nil {
		for _, p := range l.open.parts {
			behind += p.length
		}
	}
	n := len(l.segments)
	for n > 0 && behind <= boundary {
		n--
		behind += l.segments[n].length
	}
	// Segment n is the oldest that reaches over the boundary, or there is none.
	return n
}

// render writes the playlist, with the first skip segments replaced by EXT-X-SKIP.
func (l *listing) render(skip int, self renditionID, reports []report) []byte {
	listed := l.segments[skip:]
	capacity := uint(max(1, len(listed)))
	p, err := m3u8.NewMediaPlaylist(capacity, capacity)
	if err != nil {
		panic(err) // only for a window larger than the capacity
	}
	p.SetVersion(9) // EXT-X-SKIP
	p.SetCustomTag(lines{"#EXT-X-SERVER-CONTROL", l.header()})
	p.SeqNo = uint64(l.first())
	p.DiscontinuitySeq = l.sequence
	withParts := l.partsFrom()
	var init initID
	if skip > 0 {
		init = l.initBefore(skip)
	}
	for i, s := range listed {
		tags := l.segmentTags(s, s.msn >= withParts)
		if i == 0 && skip > 0 {
			tags = append([]string{fmt.Sprintf("#EXT-X-SKIP:SKIPPED-SEGMENTS=%d", skip)}, tags...)
		}
		entry := &m3u8.MediaSegment{URI: segmentName(s.msn), Duration: s.length.Seconds(),
			Custom: map[string]m3u8.CustomTag{"": lines{"", l.mapped(s, &init, tags)}}}
		if err := p.AppendSegment(entry); err != nil {
			panic(err) // only where the capacity is used up
		}
	}
	p.TargetDuration = float64(l.grid.targetDuration()) // after AppendSegment, which raises it
	p.Closed = l.ended
	p.ResetCache()
	out := bytes.Clone(p.Encode().Bytes()) // the library keeps the buffer
	return append(out, l.tail(init, self, reports)...)
}

func (l *listing) first() int64 {
	if len(l.segments) > 0 {
		return l.segments[0].msn
	}
	return l.open.msn
}

func (l *listing) header() []string {
	return []string{
		fmt.Sprintf("#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=%s,HOLD-BACK=%s,CAN-SKIP-UNTIL=%s",
			seconds(l.holdBack()), seconds(holdBackTargets*l.targetDuration()), seconds(skipTargets*l.targetDuration())),
		"#EXT-X-PART-INF:PART-TARGET=" + seconds(l.target),
		"#EXT-X-INDEPENDENT-SEGMENTS",
	}
}

// holdBack is PART-HOLD-BACK: at least three times the longest part of any rendition (RFC 8216bis section 4.4.3.8). Audio
// parts are up to a tenth longer than the wished length, as frames do not end on the grid, and those of a slow clock or of
// pictures that come slowly longer still: before another rendition has shown that, it is not known.
func (l *listing) holdBack() time.Duration {
	return 3 * max(l.target, l.longest, l.grid.part+l.grid.part/10)
}

// partsFrom is the first segment whose parts are listed.
func (l *listing) partsFrom() int64 {
	n := len(l.segments)
	for back := time.Duration(0); n > 0 && back < partTargets*l.targetDuration(); n-- {
		back += l.segments[n-1].length
	}
	if n == len(l.segments) {
		return math.MaxInt64
	}
	return l.segments[n].msn
}

// initBefore is the init section that a client has at segment i.
func (l *listing) initBefore(i int) initID {
	for i--; i >= 0; i-- {
		if id := l.segments[i].init; id.epoch != 0 {
			return id
		}
	}
	return initID{}
}

// segmentTags are the lines before EXTINF or, for the open segment, at the end of the playlist.
func (l *listing) segmentTags(s *segment, withParts bool) []string {
	tags := []string{}
	tags = append(tags, "#EXT-X-PROGRAM-DATE-TIME:"+s.date.Wall().Format("2006-01-02T15:04:05.000Z07:00"))
	if s.gap {
		tags = append(tags, "#EXT-X-GAP")
	}
	if !withParts {
		return tags
	}
	for i, p := range s.parts {
		tags = append(tags, partTag(s.msn, i, p))
	}
	return tags
}

// mapped puts what must stand before everything of a segment in front of its tags: the discontinuity,
// and the init section where it is another than that of the segment before.
func (l *listing) mapped(s *segment, init *initID, tags []string) []string {
	var front []string
	if len(tags) > 0 && strings.HasPrefix(tags[0], "#EXT-X-SKIP") {
		front, tags = tags[:1:1], tags[1:]
	}
	if _, marked := slices.BinarySearch(l.marks, s.msn); marked {
		front = append(front, "#EXT-X-DISCONTINUITY")
	}
	if s.init.epoch != 0 && s.init != *init {
		*init = s.init
		front = append(front, fmt.Sprintf("#EXT-X-MAP:URI=%q", initName(s.init)))
	}
	return append(front, tags...)
}

func partTag(msn int64, index int, p part) string {
	tag := fmt.Sprintf("#EXT-X-PART:DURATION=%s,URI=%q", seconds(p.length), partName(msn, index))
	if p.independent {
		tag += ",INDEPENDENT=YES"
	}
	if p.gap {
		tag += ",GAP=YES"
	}
	return tag
}

// tail is what follows the last closed segment: the parts of the open one, what comes next, and how
// far the other renditions are.
func (l *listing) tail(init initID, self renditionID, reports []report) []byte {
	var out bytes.Buffer
	write := func(line string) { out.WriteString(line + "\n") }
	if l.ended {
		return nil
	}
	if l.open != nil {
		for _, line := range l.mapped(l.open, &init, l.segmentTags(l.open, true)) {
			write(line)
		}
	}
	if l.mapHint.epoch != 0 && l.mapHint != init {
		write(fmt.Sprintf("#EXT-X-PRELOAD-HINT:TYPE=MAP,URI=%q", initName(l.mapHint)))
	}
	write(fmt.Sprintf("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=%q", partName(l.next())))
	for _, r := range reports {
		if r.id == self {
			continue
		}
		line := fmt.Sprintf("#EXT-X-RENDITION-REPORT:URI=\"../%s/%s\",LAST-MSN=%d", r.id, indexFile, r.msn)
		if r.part != noPart {
			line += fmt.Sprintf(",LAST-PART=%d", r.part)
		}
		write(line)
	}
	return out.Bytes()
}

// seconds writes a length with the precision that parts need: a tenth of a tick at 48 kHz and below.
func seconds(d time.Duration) string { return fmt.Sprintf("%.5f", d.Seconds()) }

// lines is a custom tag of several lines. The library prints custom tags in the order of a map, so
// that all that stands in one place goes into one tag.
type lines struct {
	name string
	list []string
}

// TagName is the key in the library's map.
func (l lines) TagName() string { return l.name }

// Encode joins the lines.
func (l lines) Encode() *bytes.Buffer { return bytes.NewBufferString(strings.Join(l.list, "\n")) }

// String is the text that Encode gives.
func (l lines) String() string { return strings.Join(l.list, "\n") }
