package transcoder

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/bluenviron/mediacommon/v2/pkg/formats/mpegts"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mpegts/codecs"

	"banyan/relay/frame"
	"banyan/relay/media"
	"banyan/transcoder/ivf"
)

// What goes into a container comes out with the same units and, to the tick, the same time.
func TestInputComesBack(t *testing.T) {
	const base = 1_700_000_000
	idr, slice := []byte{0x65, 1, 2, 3}, []byte{0x41, 4, 5, 6}
	for _, c := range []struct {
		params media.Params
		units  [][]byte
		want   [][]byte // if other
	}{
		{media.Params{Codec: media.H264, ClockRate: 90000}, [][]byte{{0x68, 0xce}, idr}, [][]byte{{0, 0, 0, 1, 0x68, 0xce, 0, 0, 0, 1, 0x65, 1, 2, 3}}},
		{media.Params{Codec: media.H264, ClockRate: 90000}, [][]byte{{}, slice, {}}, [][]byte{{0, 0, 0, 1, 0x41, 4, 5, 6}}},
		{media.Params{Codec: media.H265, ClockRate: 90000}, [][]byte{{0x26, 1, 2, 3}}, [][]byte{{0, 0, 0, 1, 0x26, 1, 2, 3}}},
		{media.Params{Codec: media.Opus, ClockRate: 48000, Channels: 2}, [][]byte{bytes.Repeat([]byte{0xfc}, 700)}, nil},
		{media.Params{Codec: media.AAC, ClockRate: 48000, Sets: [][]byte{{0x11, 0x90}}}, [][]byte{{1, 2, 3, 4}}, nil},
		{media.Params{Codec: media.VP8, ClockRate: 90000}, [][]byte{{1, 2, 3}}, nil},
		{media.Params{Codec: media.VP9, ClockRate: 90000}, [][]byte{{1, 2, 3}}, nil},
		{media.Params{Codec: media.AV1, ClockRate: 90000}, [][]byte{{0x0a >> 3 << 3, 1, 2}, {0x30, 1, 2, 3}}, [][]byte{{2 << 3}, {0x0a >> 3 << 3, 1, 2}, {0x30, 1, 2, 3}}},
	} {
		t.Run(string(c.params.Codec), func(t *testing.T) {
			var pipe bytes.Buffer
			in, err := newInput(&pipe, c.params, base)
			if err != nil {
				t.Fatal(err)
			}
			clock := int64(c.params.ClockRate)
			times := []int64{base*clock + clock, base*clock + 2*clock, base*clock + 12*3600*clock}
			for _, at := range times {
				if err := in.write(&frame.Frame{Ticks: at, Params: &c.params, Units: c.units}); err != nil {
					t.Fatal(err)
				}
			}
			want := c.units
			if c.want != nil {
				want = c.want
			}
			read := readTS
			if c.params.Codec.Kind() == media.Video {
				read = readIVF
			}
			i := 0
			err = read(&pipe, c.params.Codec, func(f frame.Frame) error {
				if i < len(times) && f.Ticks+base*clock != times[i] {
					t.Errorf("frame %d came back at %d, want %d", i, f.Ticks+base*clock, times[i])
				}
				if !equalUnits(f.Units, want) {
					t.Errorf("frame %d came back as %x, want %x", i, f.Units, want)
				}
				i++
				return nil
			})
			if !errors.Is(err, io.EOF) || i != len(times) {
				t.Errorf("%d frames came back, then %v; want %d and EOF", i, err, len(times))
			}
		})
	}
}

func equalUnits(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

func TestG711KeepsTime(t *testing.T) {
	p := media.Params{Codec: media.PCMU, ClockRate: 8000, Channels: 1}
	var pipe bytes.Buffer
	in, err := newInput(&pipe, p, 100)
	if err != nil {
		t.Fatal(err)
	}
	const packet = 160
	at := func(sample int64) *frame.Frame {
		return &frame.Frame{Ticks: 100*8000 + sample, Params: &p, Units: [][]byte{bytes.Repeat([]byte{0}, packet)}}
	}
	for _, step := range []struct {
		what string
		at   int64
		want int // samples written so far
	}{
		{"a late start is silence", 8000, 8000 + packet},
		{"the next packet", 8000 + packet, 8000 + 2*packet},
		{"jitter is passed over", 8000 + 2*packet + 100, 8000 + 3*packet},
		{"a gap is silence", 24000, 24000 + packet},
		{"what overlaps is dropped", 23900, 24000 + packet},
		{"so is all of it", 8000, 24000 + packet},
		{"and on", 24000 + packet, 24000 + 2*packet},
	} {
		if err := in.write(at(step.at)); err != nil {
			t.Fatal(err)
		}
		if got := pipe.Len() / 2; got != step.want {
			t.Errorf("%s: %d samples, want %d", step.what, got, step.want)
		}
	}
	if loudest := pipe.Bytes()[2*8000 : 2*8000+2]; loudest[0] != 0x84 || loudest[1] != 0x82 {
		t.Errorf("µ-law 0 came out as %x, want -32124 in little-endian", loudest)
	}
}

func TestInputErrors(t *testing.T) {
	for _, p := range []media.Params{
		{Codec: "flac", ClockRate: 48000},
		{Codec: media.AAC, ClockRate: 48000},
		{Codec: media.AAC, ClockRate: 48000, Sets: [][]byte{{}}},
		{Codec: media.AAC, ClockRate: 48000, Sets: [][]byte{{0xff, 0xff}}},
	} {
		if _, err := newInput(io.Discard, p, 0); err == nil {
			t.Errorf("%+v was accepted", p)
		}
	}
	p := media.Params{Codec: media.VP8, ClockRate: 90000}
	in, err := newInput(io.Discard, p, 0)
	if err != nil {
		t.Fatal(err)
	}
	var bad *badFrame
	if err := in.write(&frame.Frame{Params: &p, Units: [][]byte{make([]byte, ivf.MaxFrame+1)}}); !errors.As(err, &bad) {
		t.Errorf("a frame of 16 MiB: %v, want it refused alone", err)
	}
}

// The transport stream's reader gets what FFmpeg says, or what a process says that went wrong.
func FuzzReadOutput(f *testing.F) {
	for codec, p := range map[string]media.Params{
		"opus": {Codec: media.Opus, ClockRate: 48000, Channels: 2},
		"av1":  {Codec: media.AV1, ClockRate: 90000},
		"vp8":  {Codec: media.VP8, ClockRate: 90000},
		"aac":  {Codec: media.AAC, ClockRate: 48000, Sets: [][]byte{{0x11, 0x90}}},
	} {
		var pipe bytes.Buffer
		in, err := newInput(&pipe, p, 0)
		if err != nil {
			f.Fatal(err)
		}
		for i := range int64(3) {
			if err := in.write(&frame.Frame{Ticks: 90000 * (i + 1), Params: &p, Units: [][]byte{{0x60, 1, 2, 3}}}); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(codec, pipe.Bytes())
	}
	var pipe bytes.Buffer
	track := &mpegts.Track{Codec: &codecs.H264{}}
	ts := mpegts.Writer{W: &pipe, Tracks: []*mpegts.Track{track}}
	if err := errors.Join(ts.Initialize(), ts.WriteH264(track, 90000, 90000, [][]byte{{0x65, 1, 2, 3}})); err != nil {
		f.Fatal(err)
	}
	f.Add("h264", pipe.Bytes())
	f.Fuzz(func(t *testing.T, codec string, b []byte) {
		frames := 0
		err := readOutput(bytes.NewReader(b), media.Codec(codec), func(f frame.Frame) error {
			if frames++; frames > len(b) {
				t.Fatalf("%d frames of %d bytes", frames, len(b))
			}
			return nil
		})
		if err == nil {
			t.Fatal("the end was not reported")
		}
	})
}
