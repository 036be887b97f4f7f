package hls

import (
	"net/http"
	"strings"
	"testing"
)

// partTags are those of the segments from k on that a playlist lists, as they stand there.
func partTags(text, k string) (tags []string) {
	for _, line := range tagged(text, "#EXT-X-PART:") {
		if _, name, _ := strings.Cut(line, `URI="`); name >= k {
			tags = append(tags, line)
		}
	}
	return tags
}

// Nodes that began to read at different times list the same parts of the segment that they began in, and of all later
// ones, and each has what another lists: players move between them, and caches ask any (H18).
func TestNodesAgreeOnParts(t *testing.T) {
	birthplace, studio := live(t, 9.1, nil)
	birthplace.want(http.StatusOK, "cup/cam1/index.m3u8")
	nodes := []*stage{birthplace}
	join := func() {
		node := edge(t, birthplace)
		for _, rendition := range []string{video, sound} { // else the next segment, which is milliseconds away, may be its first
			node.listing(rendition, at(4)+".0.mp4")
		}
		nodes = append(nodes, node)
	}
	join()
	studio.play(second(9.1), second(9.71))
	join()
	studio.play(second(9.71), second(13.7))
	for _, rendition := range []string{video, sound} {
		var listed [][]string
		for _, node := range nodes {
			text := node.listing(rendition, at(6)+".7.mp4")
			listed = append(listed, partTags(text, at(4)))
		}
		for i, tags := range listed {
			if len(tags) != 10+10+8 || strings.Contains(strings.Join(tags, ""), "GAP") {
				t.Errorf("%s: node %d lists %d parts, want 28 and no gaps:\n%s", rendition, i, len(tags), strings.Join(tags, "\n"))
			}
			if got, want := strings.Join(tags, "\n"), strings.Join(listed[0], "\n"); got != want {
				t.Errorf("%s: node %d lists\n%s\nand the birthplace\n%s", rendition, i, got, want)
			}
			for _, tag := range tags {
				_, name, _ := strings.Cut(tag, `URI="`)
				name, _, _ = strings.Cut(name, `"`)
				for _, node := range nodes {
					node.want(http.StatusOK, rendition+name)
				}
			}
		}
	}
}

// A node that gets its media a little later than another has what the other lists already, when it is asked for it:
// players move from one to the other, and caches ask any.
func TestMediaThatAnotherNodeListsIsWaitedFor(t *testing.T) {
	s, studio := live(t, 9.61, nil) // up to part 7 of segment 4
	for _, rendition := range []string{video, sound} {
		s.want(200, rendition+"index.m3u8")
		s.listing(rendition, at(4)+".7.mp4")
	}
	var waiting []<-chan reply
	for _, rendition := range []string{video, sound} {
		for _, file := range []string{at(4) + ".8.mp4", at(4) + ".9.mp4", at(4) + ".mp4", at(5) + ".0.mp4", at(5) + ".1.mp4"} {
			waiting = append(waiting, s.block(t.Context(), rendition+file))
		}
		for _, file := range []string{at(5) + ".3.mp4", at(5) + ".mp4", at(6) + ".0.mp4", at(3) + ".10.mp4"} {
			s.want(404, rendition+file)
		}
	}
	s.waiters(len(waiting))
	studio.play(second(9.61), second(10.5))
	for _, answer := range waiting {
		if r := <-answer; r.status != 200 || r.body == "" {
			t.Errorf("status %d: %.200s", r.status, r.body)
		}
	}
}

// A player that goes on from another node is answered with what it lacks, one that begins when there is enough to.
func TestWhoGoesOnWaitsForNoMoreThanItLacks(t *testing.T) {
	birthplace, studio := live(t, 10.21, nil) // up to part 0 of segment 5
	for _, rendition := range []string{video, sound} {
		birthplace.want(200, rendition+"index.m3u8")
	}
	node := edge(t, birthplace)
	begins := node.block(t.Context(), video+"index.m3u8")
	node.waiters(1)
	text := node.want(200, video+"index.m3u8?_HLS_msn="+at(5)+"&_HLS_part=0&_HLS_skip=YES").body
	if !strings.Contains(text, at(5)+".0.mp4") {
		t.Errorf("the part that was asked for is missing:\n%s", text)
	}
	studio.play(second(10.21), second(10.95))
	if r := <-begins; r.status != 200 {
		t.Errorf("status %d: %.200s", r.status, r.body)
	}
}
