package ts

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os/exec"
	"testing"
	"testing/iotest"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mpegts"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mpegts/codecs"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stream is a transport stream of pictures of given sizes, a tenth of a second apart.
func stream(t testing.TB, sizes ...int) []byte {
	t.Helper()
	var out bytes.Buffer
	track := &mpegts.Track{Codec: &codecs.H264{}}
	w := mpegts.Writer{W: &out, Tracks: []*mpegts.Track{track}}
	err := w.Initialize()
	for i, size := range sizes {
		err = errors.Join(err, w.WriteH264(track, int64(i)*9000, int64(i)*9000, [][]byte{picture(i, size)}))
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func picture(i, size int) []byte {
	return append([]byte{0x65}, bytes.Repeat([]byte{byte(i + 1)}, size)...)
}

func all(r *Reader) (units []Unit, err error) {
	for {
		u, err := r.Read()
		if err != nil {
			return units, err
		}
		units = append(units, u)
	}
}

func TestUnitsComeBack(t *testing.T) {
	sizes := []int{1, 150, 170, 184, 185, 5000, 70_000, 200_000, 3} // above 64 KiB a PES packet does not tell its length
	b := stream(t, sizes...)
	for name, r := range map[string]io.Reader{"at once": bytes.NewReader(b), "byte by byte": iotest.OneByteReader(bytes.NewReader(b))} {
		reader := NewReader(r)
		units, err := all(reader)
		if !errors.Is(err, io.EOF) || len(units) != len(sizes) || reader.Type() != H264 {
			t.Fatalf("%s: %d units of type %#x, then %v; want %d of %#x and EOF", name, len(units), reader.Type(), err, len(sizes), H264)
		}
		for i, u := range units {
			var got h264.AnnexB
			if err := got.Unmarshal(u.Payload); err != nil || !bytes.Equal(got[len(got)-1], picture(i, sizes[i])) {
				t.Errorf("%s: unit %d came back with %d bytes, %v", name, i, len(u.Payload), err)
			}
			if want := int64(i) * 9000; (u.PTS-units[0].PTS)&(1<<33-1) != want {
				t.Errorf("%s: unit %d is %d ticks after the first, want %d", name, i, u.PTS-units[0].PTS, want)
			}
		}
	}
}

// tellLength has the only PES packet of a stream tell its length, as FFmpeg is asked to do.
func tellLength(b []byte) []byte {
	var pes []byte
	const tables = 2 * packetBytes
	for at := tables; at < len(b); at += packetBytes {
		pes = append(pes, payloadOf(b[at:at+packetBytes])...)
	}
	first := b[tables : tables+packetBytes]
	header := payloadOf(first)
	binary.BigEndian.PutUint16(header[4:], uint16(len(pes)-pesPrefix))
	return b
}

// A unit is there with its last byte, not with the next one.
func TestUnitsAreNotHeldBack(t *testing.T) {
	pipe, w := io.Pipe()
	defer pipe.Close()
	one := tellLength(stream(t, 5000))
	written := make(chan error, 1)
	go func() {
		_, err := w.Write(one)
		written <- err
	}()
	if u, err := NewReader(pipe).Read(); err != nil || len(u.Payload) < 5000 {
		t.Errorf("%d bytes, %v; want a unit of 5000", len(u.Payload), err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

// What FFmpeg writes by itself has tables of its own kind.
func TestFFmpegIsRead(t *testing.T) {
	for _, c := range []struct {
		kind Type
		args []string
	}{
		{H264, []string{"-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=2", "-c:v", "libx264", "-pix_fmt", "yuv420p"}},
		{H265, []string{"-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=2", "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none"}},
		{AAC, []string{"-f", "lavfi", "-i", "sine=duration=2:sample_rate=48000", "-c:a", "aac"}},
		{Private, []string{"-f", "lavfi", "-i", "sine=duration=2:sample_rate=48000", "-c:a", "libopus"}},
	} {
		args := append([]string{"-v", "error"}, c.args...)
		out, err := exec.Command("ffmpeg", append(args, "-omit_video_pes_length", "0", "-pes_payload_size", "0", "-f", "mpegts", "-")...).Output()
		if err != nil {
			t.Fatal(err)
		}
		r := NewReader(bytes.NewReader(out))
		units, err := all(r)
		if !errors.Is(err, io.EOF) || r.Type() != c.kind || len(units) < 50 {
			t.Errorf("%d units of type %#x, then %v; want 50 at least of %#x, and EOF", len(units), r.Type(), err, c.kind)
		}
	}
}

func TestBadStreams(t *testing.T) {
	whole := stream(t, 1000)
	change := func(at int, to byte) []byte {
		b := bytes.Clone(whole)
		b[at] = to
		return b
	}
	// The writer puts the PAT first, the PMT second, then the picture.
	const pat, pmt, pes = 0, packetBytes, 2 * packetBytes
	for name, c := range map[string]struct {
		stream []byte
		want   error
	}{
		"nothing":                       {nil, io.EOF},
		"text":                          {bytes.Repeat([]byte("no such filter\n"), 20), ErrFormat},
		"a packet that is cut":          {whole[:100], io.EOF},
		"a unit that is cut":            {whole[:len(whole)-packetBytes], io.EOF},
		"no beginning of a packet":      {change(pes, 0), ErrFormat},
		"another table for the PAT":     {change(pat+5, 9), ErrFormat},
		"a PAT that points beyond":      {change(pat+4, 250), ErrFormat},
		"a PAT longer than its packet":  {change(pat+7, 0xff), ErrFormat},
		"a PAT without a programme":     {change(pat+7, 9), ErrFormat},
		"a PMT shorter than its header": {change(pmt+7, 5), ErrFormat},
		"a PMT without streams":         {change(pmt+7, 13), ErrFormat},
		"an adaptation beyond":          {change(pmt+4, 0xff), ErrFormat},
	} {
		if _, err := all(NewReader(bytes.NewReader(c.stream))); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	broken := errors.New("broken pipe")
	if _, err := all(NewReader(iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("a pipe that breaks: %v", err)
	}
	for name, pes := range map[string][]byte{
		"no start code":      {0, 1, 1, 0xe0, 0, 0, 0x80, 0x80, 5, 0, 0, 0, 0, 0},
		"too short":          {0, 0, 1, 0xe0, 0, 0, 0x80},
		"no time":            {0, 0, 1, 0xe0, 0, 0, 0x80, 0, 5, 0, 0, 0, 0, 0},
		"header too short":   {0, 0, 1, 0xe0, 0, 0, 0x80, 0x80, 4, 0, 0, 0, 0, 0},
		"header beyond ends": {0, 0, 1, 0xe0, 0, 0, 0x80, 0x80, 6, 0, 0, 0, 0, 0},
	} {
		if _, err := parseUnit(pes); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v, want ErrFormat", name, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(stream(f, 10, 500, 70_000))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		units, err := all(NewReader(bytes.NewReader(b)))
		if err == nil {
			t.Fatal("it ended without an error")
		}
		bytes := 0
		for _, u := range units {
			bytes += len(u.Payload)
			if u.PTS < 0 || u.PTS >= 1<<33 {
				t.Fatalf("a time of %d", u.PTS)
			}
		}
		if bytes > len(b) {
			t.Fatalf("%d bytes came out of %d", bytes, len(b))
		}
	})
}

// BenchmarkReader reads pictures as large as those of 1080p at 4.5 Mbit/s.
func BenchmarkReader(b *testing.B) {
	sizes := make([]int, 30)
	for i := range sizes {
		sizes[i] = 19_000
	}
	s := stream(b, sizes...)
	b.SetBytes(int64(len(s)))
	b.ReportAllocs()
	for b.Loop() {
		if units, _ := all(NewReader(bytes.NewReader(s))); len(units) != len(sizes) {
			b.Fatal(len(units))
		}
	}
}
