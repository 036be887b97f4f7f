package main

import (
	"os/exec"
	"strings"
	"testing"

	"banyan/relay"
	"banyan/relay/media"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/av1"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
)

// parameterSets are what FFmpeg's encoder puts in front of a picture of the given pixel format.
func parameterSets(t *testing.T, codec media.Codec, pixels string) [][]byte {
	t.Helper()
	encoder := map[media.Codec][]string{
		media.H264: {"libx264", "-f", "h264"},
		media.H265: {"libx265", "-x265-params", "log-level=none:pools=1", "-f", "hevc"},
		media.AV1:  {"libaom-av1", "-cpu-used", "8", "-f", "obu"},
	}[codec]
	args := append([]string{"-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x64:rate=5", "-frames:v", "1", "-pix_fmt", pixels, "-c:v"}, encoder...)
	out, err := exec.Command("ffmpeg", append(args, "pipe:1")...).Output()
	if err != nil {
		t.Fatal(err)
	}
	if codec == media.AV1 {
		var units av1.Bitstream
		if err := units.Unmarshal(out); err != nil {
			t.Fatal(err)
		}
		return units
	}
	var units h264.AnnexB // H.265 is written the same way
	if err := units.Unmarshal(out); err != nil {
		t.Fatal(err)
	}
	return units
}

func TestWhatBrowsersDoNotDecodeIsNotOfferedByWebRTC(t *testing.T) {
	for _, c := range []struct {
		codec  media.Codec
		pixels string
		want   string // part of the reason; empty where some browser plays it
	}{
		{media.H264, "yuv420p", ""},
		{media.H264, "gray", ""},
		{media.H264, "yuv422p", "4:2:2 with 8 bits"},
		{media.H264, "yuv444p", "4:4:4 with 8 bits"},
		{media.H264, "yuv420p10le", "4:2:0 with 10 bits"},
		{media.H265, "yuv420p", ""},
		{media.H265, "yuv444p", "4:4:4 with 8 bits"},
		{media.H265, "yuv420p10le", "4:2:0 with 10 bits"},
		{media.AV1, "yuv420p", ""},
		{media.AV1, "yuv420p10le", ""}, // profile 0, too
		{media.AV1, "yuv444p", "4:4:4 with 8 bits"},
	} {
		track := relay.Track{Params: &media.Params{Codec: c.codec, Sets: parameterSets(t, c.codec, c.pixels)}}
		got := withoutWebRTC(track)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s of %s: got %q, want %q", c.codec, c.pixels, got, c.want)
		}
	}
	for reason, p := range map[string]media.Params{
		"B-frames": {Codec: media.H264, Reordered: true},
		"AAC":      {Codec: media.AAC},
	} {
		if got := withoutWebRTC(relay.Track{Params: &p}); !strings.Contains(got, reason) {
			t.Errorf("got %q, want it to speak of %s", got, reason)
		}
	}
	for _, p := range []media.Params{
		{Codec: media.VP8}, {Codec: media.H264}, {Codec: media.Opus}, // nothing speaks against it
		{Codec: media.H264, Sets: [][]byte{nil, {0x67}, {0x67, 0xff, 0xff, 0xff}}},
		{Codec: media.H265, Sets: [][]byte{{}, {0x42}, {0x42, 1, 1}}}, {Codec: media.AV1, Sets: [][]byte{{0x0a}}},
	} {
		if got := withoutWebRTC(relay.Track{Params: &p}); got != "" {
			t.Errorf("%+v: got %q, want nothing", p, got)
		}
	}
}
