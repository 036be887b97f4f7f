package log

import (
	"errors"
	"testing"
)

// A replica learns where its log begins from its first packet; who was waiting has missed nothing.
func TestStartAt(t *testing.T) {
	for name, start := range map[string]Start{"live": Live(), "keyframe": LastKeyframe(), "time": KeyframeBefore(0), "offset": Offset(17)} {
		l := New(videoID, 0, Config{})
		c := l.Cursor(start)
		w := l.Writer()
		if err := w.Begin(videoParams); err != nil {
			t.Fatal(err)
		}
		first := birth
		if err := w.StartAt(first); err != nil {
			t.Fatal(err)
		}
		if p, _ := c.Next(); p != nil {
			t.Errorf("%s: a packet of an empty log: %+v", name, p)
		}
		if err := w.Write(packet(0)); err != nil {
			t.Fatal(err)
		}
		if p, lost := c.Next(); p == nil || p.Offset != first || lost != 0 {
			t.Errorf("%s: %+v after %d lost ones, want the first packet and none", name, p, lost)
		}
		if s := l.Stats(); s.Holes != 0 || s.Skips != [skipReasons]uint64{} || l.Tail() != first {
			t.Errorf("%s: %d holes, skips %v, tail %d", name, s.Holes, s.Skips, l.Tail())
		}
		if err := w.StartAt(first + 5); !errors.Is(err, ErrBegun) {
			t.Errorf("%s: a log that has begun: %v, want ErrBegun", name, err)
		}
		l.Writer()
		if err := w.StartAt(1); !errors.Is(err, ErrReplaced) {
			t.Errorf("%s: a writer that was replaced: %v, want ErrReplaced", name, err)
		}
	}
}
