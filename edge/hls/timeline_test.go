package hls

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestDiscontinuity(t *testing.T) {
	f := newFeeder(4)
	f.whole(0)
	f.reconfigure()
	f.part(1, 0)
	const together = "#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"init-source-8.mp4\"\n#EXT-X-PROGRAM-DATE-TIME"
	if text := f.listing().text(0); !strings.Contains(text, together) || strings.Index(text, together) > strings.Index(text, partName(900000001, 0)) {
		t.Errorf("the tags of a discontinuity do not stand together before the parts of an open segment (H8, H16): %s", text)
	}
	f.whole(1) // part 0 is refused, as it is there
	f.part(2, 0)
	text := f.listing().text(0)
	if n := len(tagged(text, "#EXT-X-MAP")); n != 2 {
		t.Errorf("%d EXT-X-MAP, want one for each epoch: %s", n, text)
	}
	if m := parse(t, text); !m.Segments[lead+1].Discontinuity || *m.DiscontinuitySequence != bornAt {
		t.Errorf("segment 1 is no discontinuity: %s", text)
	}
	if !strings.Contains(text, together) {
		t.Errorf("the tags of a discontinuity do not stand together before its segment (H8): %s", text)
	}
	before := uint64(bornAt)
	for k := int64(2); k < 12; k++ {
		f.whole(k)
		l := f.listing()
		if l.sequence < before {
			t.Errorf("EXT-X-DISCONTINUITY-SEQUENCE fell from %d to %d", before, l.sequence)
		}
		before = l.sequence
	}
	if before != bornAt+1 {
		t.Errorf("EXT-X-DISCONTINUITY-SEQUENCE is %d after one discontinuity left the playlist", before)
	}
}

// All renditions of a stream show the same discontinuities, and none changes after it was shown.
func TestTimelineIsTheSameForAll(t *testing.T) {
	line := newTimeline()
	line.learn(100, noSegment)
	line.show(5)
	for range 2 { // by two renditions
		line.learn(101, 6)
	}
	line.learn(100, 3) // long known
	line.show(8)
	line.learn(102, 8) // shown already by another rendition: the next one has it
	for _, c := range []struct {
		first, last int64
		marks       []int64
		sequence    uint64
	}{
		{0, 5, nil, 100},
		{6, 9, []int64{6, 9}, 100},
		{7, 8, nil, 101},
		{9, 9, []int64{9}, 101},
		{10, 20, nil, 102},
	} {
		marks, sequence := line.within(c.first, c.last)
		if !slices.Equal(marks, c.marks) || sequence != c.sequence {
			t.Errorf("segments %d to %d: marks %v, sequence %d, want %v, %d", c.first, c.last, marks, sequence, c.marks, c.sequence)
		}
	}
	line.show(100)
	line.learn(103, 50)  // shown long ago by another node
	line.learn(106, 104) // two more were missed
	if marks, sequence := line.within(20, 200); !slices.Equal(marks, []int64{101, 102, 103, 104}) || sequence != 102 {
		t.Errorf("marks %v, sequence %d, want 101 to 104, and 102 as before", marks, sequence)
	}
	line.show(110)
	line.forget()
	line.learn(109, 112) // nobody has seen that two more were missed
	if marks, sequence := line.within(105, 200); !slices.Equal(marks, []int64{112}) || sequence != 108 {
		t.Errorf("marks %v, sequence %d, want 112, and 108", marks, sequence)
	}
	line.learn(5000, noSegment) // the birthplace has started anew
	if marks, sequence := line.within(113, 200); len(marks) != 0 || sequence != 5000 {
		t.Errorf("marks %v, sequence %d, want none, 5000", marks, sequence)
	}
	for k := range uint32(2 * maxMarks) {
		line.learn(5001+k, 113+int64(k))
	}
	if _, sequence := line.within(1<<30, 1<<40); sequence != 5000+2*maxMarks || len(line.marks) > maxMarks {
		t.Errorf("sequence %d with %d marks kept", sequence, len(line.marks))
	}
}

// Media sequence and discontinuity sequence only grow, and the latter by the discontinuities that left the playlist
// (H10), whatever order a rendition shows segments in and breaks are heard of; a node that joins late has the same
// as one that was there (H18).
func TestSequencesOnlyGrow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const listed = 8
		line, number := newTimeline(), uint32(bornAt)
		line.learn(number, noSegment)
		marksBefore, firstBefore, sequenceBefore := []int64(nil), int64(0), uint64(bornAt)
		last := int64(listed)
		line.show(last)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				number += uint32(rapid.IntRange(1, missedMost).Draw(t, "breaks"))
				line.learn(number, last+rapid.Int64Range(-20, 3).Draw(t, "from"))
			case 1:
				line.learn(uint32(rapid.IntRange(1, int(number)).Draw(t, "old")), last) // from another track
			case 2:
				last += rapid.Int64Range(1, 3).Draw(t, "segments")
			}
			line.show(last)
			first := last - listed + 1
			marks, sequence := line.within(first, last)
			gone := 0
			for _, k := range marksBefore {
				if k < first {
					gone++
				}
			}
			fresh := 0 // came and left between two looks
			if all, _ := line.within(firstBefore, first-1); len(all) > gone {
				fresh = len(all) - gone
			}
			if sequence != sequenceBefore+uint64(gone+fresh) {
				t.Fatalf("the sequence went from %d to %d, and %d discontinuities left the playlist", sequenceBefore, sequence, gone+fresh)
			}
			for _, k := range marksBefore {
				if k >= first && !slices.Contains(marks, k) {
					t.Fatalf("segment %d lost its discontinuity: %v", k, marks)
				}
			}
			late := newTimeline() // a node that learns of what is in the window only
			late.learn(uint32(sequence), noSegment)
			for i, k := range marks {
				late.learn(uint32(sequence)+uint32(i)+1, k)
			}
			if m, s := late.within(first, last); s != sequence || !slices.Equal(m, marks) {
				t.Fatalf("a node that joined late has %v, %d, want %v, %d", m, s, marks, sequence)
			}
			marksBefore, firstBefore, sequenceBefore = marks, first, sequence
		}
	})
}
