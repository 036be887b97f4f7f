package log

import (
	"errors"
	"testing"
	"time"

	"banyan/relay/media"
)

// TestPrepend gives a log that began at a keyframe what came before, of which it needs some.
func TestPrepend(t *testing.T) {
	whole, w := newTestLog(t, Config{})
	write(t, w, 0, 40)
	all := func(from, to int64) (packets []*media.Packet) {
		for n := from; n < to; n++ {
			packets = append(packets, whole.Get(birth+n))
		}
		return packets
	}
	late := New(videoID, 0, Config{})
	w = late.Writer()
	if err := w.Prepend(all(0, 5)); err != nil || late.Tail() != late.Head() {
		t.Errorf("an empty log: %v, from %d to %d", err, late.Tail(), late.Head())
	}
	begin := *whole.Params()
	if err := errors.Join(w.Begin(begin), w.StartAt(birth+30)); err != nil {
		t.Fatal(err)
	}
	write(t, w, 30, 35)
	live := late.Cursor(Offset(birth + 30))
	asleep := late.Cursor(Live())
	if err := w.Prepend(all(10, 33)); err != nil { // some of it is there
		t.Fatal(err)
	}
	write(t, w, 35, 40)

	frames, lost := drain(late.Cursor(Offset(birth + 10)))
	wantRange(t, "a reader from before the beginning", frames, 10, 40)
	if lost != 0 {
		t.Errorf("it lost %d", lost)
	}
	frames, lost = drain(live)
	wantRange(t, "a reader from the beginning", frames, 30, 40)
	if lost != 0 {
		t.Errorf("it lost %d", lost)
	}
	frames, _ = drain(asleep)
	wantRange(t, "a reader who waited", frames, 35, 40)
	for n := int64(10); n < 40; n++ {
		got, want := late.Get(birth+n), whole.Get(birth+n)
		if got == nil || got.Flags&^media.Discontinuity != want.Flags&^media.Discontinuity || string(got.Payload) != string(want.Payload) || got.Params.Epoch != begin.Epoch {
			t.Fatalf("packet %d is %+v, want %+v", n, got, want)
		}
		if n > 10 && got.Has(media.Discontinuity) {
			t.Errorf("packet %d is marked as a discontinuity", n)
		}
		if key, want := late.Cursor(KeyframeBefore(got.Time())).Offset(), whole.Cursor(KeyframeBefore(got.Time())).Offset(); want >= birth+10 && key != want {
			t.Errorf("the keyframe before packet %d is %d, want %d", n, key-birth, want-birth)
		}
	}
	if err := w.Prepend(all(10, 30)); err != nil || late.Tail() != birth+10 {
		t.Errorf("again: %v, from %d", err, late.Tail()-birth)
	}
	late.Writer()
	if err := w.Prepend(all(0, 10)); !errors.Is(err, ErrReplaced) {
		t.Errorf("a writer that was replaced: %v, want ErrReplaced", err)
	}
}

// TestPrependKeepsBounds offers more than a window takes, and what is of an epoch before.
func TestPrependKeepsBounds(t *testing.T) {
	const began, end = 2*firstSlots - 5, 2 * firstSlots
	whole, w := newTestLog(t, Config{Window: time.Hour})
	write(t, w, 0, 20)
	if err := w.Begin(videoParams); err != nil {
		t.Fatal(err)
	}
	write(t, w, 20, end)
	var packets []*media.Packet
	for n := range int64(began) {
		packets = append(packets, whole.Get(birth+n))
	}
	for name, c := range map[string]struct {
		config Config
		want   int64 // the oldest
	}{
		"another epoch": {Config{}, 20},
		"packets":       {Config{MaxPackets: firstSlots}, end - firstSlots},
		"bytes":         {Config{MaxBytes: 8 * (len(payload(0)) + packetOverhead)}, end - 8},
	} {
		c.config.Window = time.Hour
		l := New(videoID, 0, c.config)
		w := l.Writer()
		if err := errors.Join(w.Begin(*whole.Params()), w.StartAt(birth+began)); err != nil {
			t.Fatal(err)
		}
		write(t, w, began, end)
		if err := w.Prepend(packets); err != nil {
			t.Fatal(err)
		}
		if got := l.Tail() - birth; got != c.want {
			t.Errorf("%s: the window begins at %d, want %d", name, got, c.want)
		}
		frames, _ := drain(l.Cursor(Offset(l.Tail())))
		wantRange(t, name, frames, c.want, end)
	}
}
