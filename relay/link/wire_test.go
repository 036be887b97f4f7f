package link

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math"
	"reflect"
	"testing"

	"banyan/relay/media"
)

func TestFramesComeBack(t *testing.T) {
	check := func(name string, got any, err error, want any) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s came back as %+v, %v; want %+v", name, got, err, want)
		}
	}
	h := hello{1, 3, "edge-1.eu"}
	gotH, err := decodeHello(h.append(nil))
	check("HELLO", gotH, err, h)
	s := subscribe{9, videoID, 1 << 61, []string{"a", "b"}, true, 1_800_000_000e9}
	gotS, err := decodeSubscribe(s.append(nil))
	check("SUBSCRIBE", gotS, err, s)
	a := accepted{9, 1 << 60, []string{"a"}}
	gotA, err := decodeAccepted(a.append(nil))
	check("ACCEPTED", gotA, err, a)
	v := verdict{9, 6, "over", 17}
	gotV, err := decodeEnd(v.append(nil))
	check("END", gotV, err, v)
	p := pathChange{9, []string{"a", "b", "c"}}
	gotP, err := decodePath(p.append(nil))
	check("PATH", gotP, err, p)
}

func TestGroupComesBack(t *testing.T) {
	want := header{sub: 3, number: 1 << 40, first: 1 << 61, ticks: -5, sent: 77, params: media.Params{
		Epoch: math.MaxUint32, Codec: media.AAC, ClockRate: 48000, Width: 1, Height: 2, FPS: 59.94, Reordered: true,
		Channels: 2, SampleRate: 44100, Sets: [][]byte{{1}, {2, 3}}, Aligned: true, Bitrate: 128_000,
		Break: media.Break{Number: math.MaxUint32, At: -5},
	}}
	packets := []record{
		{packet: media.Packet{Offset: 1 << 61, Ticks: -5, Flags: 7, Payload: []byte("a")}, age: -1, sent: 77},
		{packet: media.Packet{Offset: 1<<61 + 9, Ticks: -1000, Payload: []byte{}}, age: 0, sent: 78},
		{packet: media.Packet{Offset: 1<<61 + 10, Ticks: 1 << 40, Payload: make([]byte, maxPayload)}, age: 1 << 40, sent: 1 << 50},
	}
	r := bufio.NewReader(bytes.NewReader(groupBytes(want, packets...)[1:]))
	got, err := readHeader(r)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("the header came back as %+v, %v; want %+v", got, err, want)
	}
	state := newGroupState(&got)
	var scratch []byte
	for i, p := range packets {
		rec, err := state.readRecord(r, &scratch)
		if err != nil || !reflect.DeepEqual(rec, p) {
			t.Fatalf("packet %d came back as %.100v, %v; want %.100v", i, rec, err, p)
		}
	}
	if _, err := state.readRecord(r, &scratch); err != io.EOF {
		t.Errorf("behind the last packet: %v, want io.EOF", err)
	}
}

// FuzzControl reads frames as both sides do.
func FuzzControl(f *testing.F) {
	for kind, body := range map[byte][]byte{
		frameHello:     hello{1, 1, "edge"}.append(nil),
		frameSubscribe: subscribe{1, videoID, birth, []string{"a"}, true, 3e9}.append(nil),
		frameAccepted:  accepted{1, birth, []string{"a"}}.append(nil),
		frameRefused:   verdict{1, 2, "full", 0}.append(nil),
		frameEnd:       verdict{1, 6, "over", 4}.append(nil),
		framePath:      pathChange{1, []string{"a"}}.append(nil),
		frameHeartbeat: nil,
		frameKeyframe:  appendNumber(1),
	} {
		f.Add(appendFrame(nil, kind, body))
	}
	f.Add([]byte{frameSubscribe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		var scratch []byte
		for {
			kind, body, err := readFrame(r, &scratch)
			if err != nil {
				return
			}
			if len(body) > maxFrame {
				t.Fatalf("a body of %d bytes", len(body))
			}
			switch kind {
			case frameSubscribe:
				if s, err := decodeSubscribe(body); err == nil {
					again, err := decodeSubscribe(s.append(nil))
					if err != nil || !reflect.DeepEqual(s, again) || s.from < 0 || len(s.below) > maxNodes {
						t.Fatalf("%+v came back as %+v, %v", s, again, err)
					}
				}
			case frameAccepted, framePath:
				_, _ = decodeAccepted(body)
				_, _ = decodePath(body)
			case frameHello:
				_, _ = decodeHello(body)
			case frameRefused, frameEnd:
				if v, err := decodeEnd(body); err == nil && len(v.text) > maxText {
					t.Fatalf("a text of %d bytes", len(v.text))
				}
				_, _ = decodeRefused(body)
			}
		}
	})
}

// FuzzGroup reads a group as a child does.
func FuzzGroup(f *testing.F) {
	f.Add(groupBytes(goodHeader(0, birth), packetAt(birth), packetAt(birth+3))[1:])
	f.Add(append(groupBytes(goodHeader(0, birth))[1:], 0, 0, 1, 0, 0, 0xff, 0xff, 0xff, 0x7f))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		h, err := readHeader(r)
		if err != nil {
			return
		}
		if h.params.ClockRate <= 0 || h.params.Epoch == 0 || h.first < 0 {
			t.Fatalf("accepted %+v", h)
		}
		state := newGroupState(&h)
		var scratch []byte
		for last := h.first - 1; ; {
			rec, err := state.readRecord(r, &scratch)
			if err != nil {
				if !errors.Is(err, errMalformed) && err != io.EOF && err != io.ErrUnexpectedEOF {
					t.Fatal(err)
				}
				return
			}
			p := rec.packet
			p.Params = &h.params
			if p.Offset <= last || p.Offset > maxOffset || rec.sent < 0 || rec.age < -1 {
				t.Fatalf("accepted %+v after %d", rec, last)
			}
			last = p.Offset
			if at := p.Time(); media.TicksOf(at, h.params.ClockRate) != p.Ticks {
				t.Fatalf("ticks %d at %d Hz overflow", p.Ticks, h.params.ClockRate)
			}
		}
	})
}

// TestLengthsCostNothing: of what a peer only tells of there is no memory.
func TestLengthsCostNothing(t *testing.T) {
	sent := bytes.Repeat([]byte("banyan"), 5000)
	for _, n := range []int{0, 1, 2047, 2048, 2049, 9000, len(sent)} {
		var scratch []byte
		for range 2 {
			if got, err := readBytes(bytes.NewReader(sent), n, &scratch); err != nil || !bytes.Equal(got, sent[:n]) {
				t.Fatalf("%d bytes: %v", n, err)
			}
		}
	}
	for _, came := range []int{0, 100, 5000} {
		var scratch []byte
		if _, err := readBytes(bytes.NewReader(sent[:came]), maxPayload, &scratch); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes of %d: %v, want an end that was not expected", came, maxPayload, err)
		}
		if most := max(2048, 4*came); cap(scratch) > most {
			t.Errorf("%d bytes of %d made us keep room for %d", came, maxPayload, cap(scratch))
		}
	}
}
