package engine

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	pion "github.com/pion/sdp/v3"

	"banyan/relay/media"
	"banyan/relay/rtc"
	"banyan/relay/rtc/sdp"
)

var mLine = regexp.MustCompile(`(?m)^m=(\w+) (\d+) \S+ (.*?)\r?$`)

// mLines lists the m-lines of a description as "video 102 103; audio 111".
func mLines(text string) string {
	var list []string
	for _, m := range mLine.FindAllStringSubmatch(text, -1) {
		line := m[1] + " " + m[3]
		if m[2] == "0" {
			line = m[1] + " refused"
		}
		list = append(list, line)
	}
	return strings.Join(list, "; ")
}

// TestAnswersToBrowsers answers offers as browsers write them.
func TestAnswersToBrowsers(t *testing.T) {
	w := newWorld(t, Config{})
	h264 := media.Params{Codec: media.H264, ClockRate: 90000, Sets: [][]byte{{0x67, 66, 0xe0, 31}}}
	opus := media.Params{Codec: media.Opus, ClockRate: 48000}
	for _, c := range []struct {
		file   string
		edit   [2]string
		tracks []media.Params
		want   string
		has    []string
	}{
		{
			file: "chrome-play.sdp", tracks: []media.Params{h264, opus}, want: "video 103 104; audio 111",
			has: []string{"a=setup:passive", "a=ice-lite", "a=fmtp:104 apt=103", "a=rtcp-fb:103 nack pli", "a=rtpmap:111 opus/48000/2", "a=rtcp-mux-only"},
		},
		{file: "chrome-play.sdp", tracks: []media.Params{h264}, want: "video 103 104; audio refused", has: []string{"a=group:BUNDLE 0\r\n"}},
		{file: "chrome-play.sdp", edit: [2]string{"actpass", "passive"}, tracks: []media.Params{h264, opus}, want: "video 103 104; audio 111", has: []string{"a=setup:active"}},
		{file: "firefox-play.sdp", tracks: []media.Params{h264, opus}, want: "audio 109; video 126 127"},
		{file: "safari-play.sdp", tracks: []media.Params{h264, opus}, want: "video 96 97; audio 111"},
	} {
		text, err := os.ReadFile(filepath.Join("..", "sdp", "testdata", c.file))
		if err != nil {
			t.Fatal(err)
		}
		offer, err := sdp.ParseOffer(strings.ReplaceAll(string(text), c.edit[0]+"\r", c.edit[1]+"\r"), sdp.Play)
		if c.edit[0] == "" {
			offer, err = sdp.ParseOffer(string(text), sdp.Play)
		}
		if err != nil {
			t.Fatal(err)
		}
		config := rtc.ViewerConfig{PeerConfig: rtc.PeerConfig{ID: "test", Offer: offer}}
		for i := range c.tracks {
			for _, codec := range offer.Of(c.tracks[i].Codec.Kind()).Codecs {
				if codec.Takes(&c.tracks[i]) {
					config.Codecs = append(config.Codecs, codec)
					break
				}
			}
		}
		v, err := w.engine.NewViewer(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		answer := v.Answer()
		if got := mLines(answer); got != c.want {
			t.Errorf("%s is answered with %s, want %s", c.file, got, c.want)
		}
		for _, part := range c.has {
			if !strings.Contains(answer, part) {
				t.Errorf("the answer to %s lacks %q:\n%s", c.file, part, answer)
			}
		}
		checkAnswer(t, answer)
		v.Close()
	}
}

// checkAnswer checks what all answers have in common.
func checkAnswer(t *testing.T, answer string) {
	t.Helper()
	var d pion.SessionDescription
	if err := d.UnmarshalString(answer); err != nil {
		t.Fatalf("the answer cannot be read: %v\n%s", err, answer)
	}
	for _, m := range d.MediaDescriptions {
		if m.MediaName.Port.Value == 0 {
			continue
		}
		var candidates, sources []string
		for _, a := range m.Attributes {
			switch a.Key {
			case "candidate":
				candidates = append(candidates, strings.Fields(a.Value)[2])
			case "ssrc":
				sources = append(sources, strings.Fields(a.Value)[0])
			}
		}
		if got := strings.Join(candidates, " "); got != "udp tcp" {
			t.Errorf("the candidates are by %q", got)
		}
		group, ok := m.Attribute("ssrc-group")
		if ok && "FID "+strings.Join(sources, " ") != group || len(sources) == 0 {
			t.Errorf("the sources are %q, and grouped as %q: browsers take the first for the media", sources, group)
		}
	}
}
