package transcoder

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mpegts"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mpegts/codecs"

	"banyan/relay/frame"
)

// transportOf is a transport stream of pictures of given sizes, a tenth of a second apart.
func transportOf(t testing.TB, sizes ...int) []byte {
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

func TestTransportComesBack(t *testing.T) {
	sizes := []int{1, 150, 170, 184, 185, 5000, 70_000, 200_000, 3} // above 64 KiB a PES packet does not tell its length
	b := transportOf(t, sizes...)
	for name, r := range map[string]io.Reader{"at once": bytes.NewReader(b), "byte by byte": iotest.OneByteReader(bytes.NewReader(b))} {
		reader, err := newTransport(r)
		if err != nil {
			t.Fatal(err)
		}
		first := int64(0)
		for i, size := range sizes {
			pts, payload, err := reader.read()
			if err != nil {
				t.Fatalf("%s: picture %d: %v", name, i, err)
			}
			var units h264.AnnexB
			if err := units.Unmarshal(payload); err != nil || !bytes.Equal(units[len(units)-1], picture(i, size)) {
				t.Errorf("%s: picture %d came back with %d bytes, %v", name, i, len(payload), err)
			}
			if i == 0 {
				first = pts
			}
			if want := int64(i) * 9000; (pts-first)&(1<<33-1) != want {
				t.Errorf("%s: picture %d is %d ticks after the first, want %d", name, i, pts-first, want)
			}
		}
		if _, _, err := reader.read(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v at the end, want EOF", name, err)
		}
	}
}

// A picture is there with its last byte, not with the next one, where its length is told, as FFmpeg is asked to do.
func TestTransportHoldsNothingBack(t *testing.T) {
	const tables, header = 2 * tsPacketBytes, 4
	one := transportOf(t, 5000)
	pes := 0
	for at := tables; at < len(one); at += tsPacketBytes {
		pes += tsPacketBytes - header
		const adaptation = 0x20
		if one[at+3]&adaptation != 0 {
			pes -= 1 + int(one[at+header])
		}
	}
	first := one[tables+header:]
	first = first[1+int(first[0]):] // the clock reference
	binary.BigEndian.PutUint16(first[pesFixed-2:], uint16(pes-pesFixed))

	pipe, w := io.Pipe()
	defer pipe.Close()
	written := make(chan error, 1)
	go func() {
		_, err := w.Write(one)
		written <- err
	}()
	reader, err := newTransport(pipe)
	if err != nil {
		t.Fatal(err)
	}
	if _, payload, err := reader.read(); err != nil || len(payload) < 5000 {
		t.Errorf("%d bytes, %v; want a picture of 5000", len(payload), err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

func TestBadTransport(t *testing.T) {
	good := transportOf(t, 5000, 5000)
	const tables = 2 * tsPacketBytes
	without := func(change func(b []byte)) []byte {
		b := bytes.Clone(good)
		change(b)
		return b
	}
	for what, b := range map[string][]byte{
		"it does not begin with a packet": append([]byte{1}, good...),
		"a packet in the middle is none":  without(func(b []byte) { b[tables+3*tsPacketBytes] = 0 }),
		"a frame without its start code":  without(func(b []byte) { copy(b[tables+4+1+int(b[tables+4]):], "no!") }),
		"a header longer than the frame":  without(func(b []byte) { b[tables+4+1+int(b[tables+4])+8] = 3 }),
	} {
		err := readOutput(bytes.NewReader(b), "h264", func(frame.Frame) error { return nil })
		if err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: %v, want an error", what, err)
		}
	}
	for what, b := range map[string][]byte{"nothing": nil, "only tables": good[:tables], "half a table": good[:100]} {
		if err := readOutput(bytes.NewReader(b), "h264", nil); !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v, want EOF", what, err)
		}
	}
	if err := readOutput(bytes.NewReader(good), "aac", nil); !errors.Is(err, errNoTrack) {
		t.Errorf("pictures where sound was asked for: %v, want errNoTrack", err)
	}
}
