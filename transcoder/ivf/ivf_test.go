package ivf

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var header = Header{Codec: [4]byte{'V', 'P', '8', '0'}, Width: 320, Height: 180, Rate: 90000, Scale: 1}

func file(t testing.TB, frames ...Frame) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, header)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		if err := w.Write(f); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	want := []Frame{{0, []byte{1, 2, 3}}, {-3000, nil}, {1 << 40, bytes.Repeat([]byte{7}, 300_000)}}
	r, err := NewReader(bytes.NewReader(file(t, want...)))
	if err != nil {
		t.Fatal(err)
	}
	if r.Header() != header {
		t.Errorf("header came back as %+v, want %+v", r.Header(), header)
	}
	for i, w := range want {
		got, err := r.Read()
		if err != nil || got.Time != w.Time || !bytes.Equal(got.Payload, w.Payload) {
			t.Errorf("frame %d came back with time %d, %d bytes, %v; want time %d, %d bytes", i, got.Time, len(got.Payload), err, w.Time, len(w.Payload))
		}
	}
	if _, err := r.Read(); err != io.EOF {
		t.Errorf("after the last frame: %v, want io.EOF", err)
	}
}

func TestBadInput(t *testing.T) {
	good := file(t, Frame{5, []byte{1, 2, 3, 4}})
	change := func(at int, with ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[at:], with)
		return b
	}
	for _, c := range []struct {
		name string
		in   []byte
		want error
	}{
		{"empty", nil, io.EOF},
		{"half a header", good[:20], io.ErrUnexpectedEOF},
		{"wrong magic", change(0, 'X'), ErrFormat},
		{"wrong version", change(4, 1), ErrFormat},
		{"short header length", change(6, 31), ErrFormat},
		{"zero rate", change(16, 0, 0, 0, 0), ErrFormat},
		{"zero scale", change(20, 0), ErrFormat},
		{"huge rate", change(16, 0xff, 0xff, 0xff, 0xff), ErrFormat},
		{"half a frame header", good[:40], io.ErrUnexpectedEOF},
		{"half a frame", good[:46], io.ErrUnexpectedEOF},
		{"frame of 4 GiB", change(32, 0xff, 0xff, 0xff, 0xff), ErrFormat},
		{"frame of 16 MiB that is not there", change(32, 0, 0, 0, 1), io.ErrUnexpectedEOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := NewReader(bytes.NewReader(c.in))
			if err == nil {
				_, err = r.Read()
			}
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestWriterRefusesHugeFrame(t *testing.T) {
	w, err := NewWriter(io.Discard, header)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(Frame{Payload: make([]byte, MaxFrame+1)}); err == nil {
		t.Error("a frame above the limit was written")
	}
}

func FuzzReader(f *testing.F) {
	good := file(f, Frame{5, []byte{1, 2, 3, 4}}, Frame{6, nil})
	f.Add(good)
	f.Add(good[:40])
	f.Add([]byte("DKIF"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		total := 0
		for {
			frame, err := r.Read()
			if err != nil {
				return
			}
			total += frameBytes + len(frame.Payload)
			if total > len(b) {
				t.Fatalf("%d bytes read out of %d", total, len(b))
			}
		}
	})
}
