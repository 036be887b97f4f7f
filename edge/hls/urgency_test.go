package hls

import (
	"net/http"
	"strings"
	"testing"

	"banyan/relay/frame"
	"banyan/relay/media"
)

// H34: playlists before media, sound before pictures, and no picture of a higher bit rate above one of a lower.
func TestUrgency(t *testing.T) {
	s, studio := live(t, 5.5, nil)
	for _, c := range []struct {
		format media.Format
		size   string
		rate   int // bits per second
	}{{"h", "320x180", 9_000_000}, {"tiny", "160x90", 1_000}, {"m", "320x180", 4_000_000}, {"huge", "320x180", 20_000_000}, {"l", "160x90", 2_000_000}} {
		track, err := studio.publication.Track(c.format, media.Video)
		if err != nil {
			t.Fatal(err)
		}
		clip := record(t, c.size)
		w, err := frame.NewWriter(track, media.Params{Codec: media.H264, ClockRate: media.VideoClockRate, Aligned: true, Bitrate: c.rate})
		if err != nil {
			t.Fatal(err)
		}
		for n := ceilTicks(second(0), media.VideoClockRate, clipTicks); n*clipTicks < media.TicksOf(second(5.5), media.VideoClockRate); n++ {
			if err := w.Write(frame.Frame{Ticks: n * clipTicks, Units: clip.pictures[n%gop]}); err != nil {
				t.Fatal(err)
			}
		}
	}
	priorityOf := func(path string) string { return s.want(http.StatusOK, path).header.Get("Priority") }
	if got := priorityOf("cup/cam1/index.m3u8"); got != "u=1" {
		t.Errorf("the multivariant playlist has %q, want u=1", got)
	}
	// The clips have some hundred kbit/s; a track that is meant to have more counts as what it is meant to have.
	renditions := []string{"tiny-video", "source-video", "l-video", "m-video", "h-video", "huge-video"}
	for _, rendition := range renditions {
		s.listing("cup/cam1/"+rendition+"/", at(1)+".mp4")
	}
	s.server.rank(streamAt(t, s))
	want := map[string]string{"aac-audio": "u=2", "l-video": "u=5", "m-video": "u=6", "h-video": "u=6", "huge-video": "u=6"}
	for rendition, want := range want {
		for _, file := range []string{at(1) + ".mp4", at(1) + ".3.mp4"} {
			if got := priorityOf("cup/cam1/" + rendition + "/" + file); got != want {
				t.Errorf("%s of %s has %q, want %q", file, rendition, got, want)
			}
		}
		playlist := s.want(http.StatusOK, "cup/cam1/"+rendition+"/"+indexFile)
		if got := playlist.header.Get("Priority"); got != "u=1" {
			t.Errorf("the playlist of %s has %q, want u=1", rendition, got)
		}
		if maps := tagged(playlist.body, "#EXT-X-MAP"); len(maps) == 1 {
			init := strings.Trim(strings.TrimPrefix(maps[0], "#EXT-X-MAP:URI="), `"`)
			if got := priorityOf("cup/cam1/" + rendition + "/" + init); got != want {
				t.Errorf("the init section of %s has %q, want %q", rendition, got, want)
			}
		}
	}
	two := []string{priorityOf("cup/cam1/tiny-video/" + at(1) + ".mp4"), priorityOf("cup/cam1/source-video/" + at(1) + ".mp4")}
	if two[0] != "u=3" || two[1] != "u=4" {
		t.Errorf("the lowest two have %v, want u=3, u=4", two)
	}
	p := s.server.newPackager("cup/cam1", renditionID{"new", media.Video})
	if got := p.urgency(); got != urgencyLeast {
		t.Errorf("a picture without a place has urgency %d, want %d", got, urgencyLeast)
	}
}
