package rtsp

import (
	"context"
	"encoding/base64"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/bluenviron/gortsplib/v4/pkg/sdp"

	"banyan/relay/frame"
	"banyan/relay/frame/settest"
	"banyan/relay/log"
	"banyan/relay/media"
)

// reread is the SDP of one track, parsed again by the library, and the value of one of its parameters.
func reread(t *testing.T, p *media.Params, parameter string) (f format.Format, value string) {
	t.Helper()
	m, _, err := describe(p)
	if err != nil {
		t.Fatal(err)
	}
	m.Control = "trackID=0"
	text, err := (&description.Session{Medias: []*description.Media{m}}).Marshal(false)
	if err != nil {
		t.Fatal(err)
	}
	var parsed sdp.SessionDescription
	var session description.Session
	if err := parsed.Unmarshal(text); err != nil {
		t.Fatal(err)
	}
	if err := session.Unmarshal(&parsed); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	_, value, _ = strings.Cut(string(text), parameter+"=")
	return session.Medias[0].Formats[0], value[:strings.IndexAny(value+";", "; \r")]
}

func TestDescriptionHasAllSets(t *testing.T) {
	sps := []byte{0x67, 0x42, 0xc0, 0x0b, 0xda, 0x0a, 0x19, 0x10}
	pps := []byte{0x68, 0xce, 0x3c, 0x80}
	otherSPS, otherPPS := settest.Renumber(media.H264, sps, 1, 1), settest.Renumber(media.H264, pps, 1, 1)
	for _, c := range []struct{ sets, want [][]byte }{
		{nil, nil},
		{[][]byte{sps}, nil},
		{[][]byte{sps, pps}, [][]byte{sps, pps}},
		{[][]byte{otherSPS, sps, otherPPS, pps}, [][]byte{otherSPS, otherPPS, sps, pps}},
	} {
		p := &media.Params{Codec: media.H264, ClockRate: media.VideoClockRate, Sets: c.sets}
		f, value := reread(t, p, "sprop-parameter-sets")
		var want []string
		for _, set := range c.want {
			want = append(want, base64.StdEncoding.EncodeToString(set))
		}
		if value != strings.Join(want, ",") {
			t.Errorf("sets %x are described as %s, want %s", c.sets, value, want)
		}
		if h, ok := f.(*format.H264); !ok || c.want != nil && (!slices.Equal(h.SPS, c.want[0]) || !slices.Equal(h.PPS, c.want[1])) {
			t.Errorf("the library reads %+v", f)
		}
	}
}

// A stream with two PPS, of which every other picture refers to the second, is decoded without a complaint.
func TestPlaySeveralSets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		codec   media.Codec
		encoder []string
	}{
		{media.H264, x264("-bf", "0")},
		{media.H265, []string{"-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "bframes=0:keyint=15:log-level=none:pools=1"}},
	} {
		n := newNode(t, nil)
		push(t, n.url("plain"), "tcp", picture, c.encoder)
		plain := frame.NewReader(n.track("plain", media.Video).Cursor(log.LastKeyframe()))
		n.republish(t, plain, "cam", c.codec)
		if sets := n.track("cam", media.Video).Params().Sets; len(frame.SetsOf(&media.Params{Codec: c.codec, Sets: sets}).PPS) != 2 {
			t.Fatalf("the stream has the sets %x, want two PPS among them", sets)
		}
		player := exec.Command("ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-xerror", "-rtsp_transport", "tcp",
			"-i", n.url("cam"), "-t", "2", "-f", "null", "-")
		if out, err := player.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "" {
			t.Errorf("ffmpeg: %v\n%s", err, out)
		}
	}
}

// republish copies a track into another stream until the test ends, with a second PPS that every other picture refers to.
func (n *node) republish(t *testing.T, from *frame.Reader, name media.Name, codec media.Codec) {
	t.Helper()
	publication, err := n.hub.Publish(name, "test")
	if err != nil {
		t.Fatal(err)
	}
	to, err := publication.Source(media.Video)
	if err != nil {
		t.Fatal(err)
	}
	w, err := frame.NewWriter(to, media.Params{Codec: codec, ClockRate: media.VideoClockRate})
	if err != nil {
		t.Fatal(err)
	}
	w.OnParams = func(media.Params) { publication.Announce() }
	run(t, func(ctx context.Context) error {
		defer publication.Close()
		for i := 0; ; i++ {
			f, err := from.Read(ctx)
			if err != nil {
				return nil // the test has ended
			}
			second := settest.RenumberAll(codec, f.Units, 0, settest.Second)
			out := *f
			switch {
			case f.Keyframe:
				sets := frame.SetsOf(&media.Params{Codec: codec, Sets: second})
				out.Units = slices.Insert(slices.Clone(f.Units), len(f.Params.Sets), sets.PPS...)
			case i%2 == 1:
				out.Units = second
			}
			if err := w.Write(out); err != nil {
				return err
			}
		}
	})
}
