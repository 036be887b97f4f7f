package log_test

import (
	"slices"
	"testing"

	"banyan/relay/log"
	"banyan/relay/media"
)

// TestListen tells of each new packet and of the end, until it is stopped, and of nothing that fills a hole.
func TestListen(t *testing.T) {
	l := log.New(media.TrackID{}, 100, log.Config{})
	w := l.Writer()
	if err := w.Begin(media.Params{Codec: media.H264, ClockRate: media.VideoClockRate}); err != nil {
		t.Fatal(err)
	}
	var all, some []bool
	l.Listen(func(frameEnd bool) { all = append(all, frameEnd) })
	stop := l.Listen(func(frameEnd bool) { some = append(some, frameEnd) })
	write := func(offset int64, flags media.Flags) {
		t.Helper()
		if err := w.Write(media.Packet{Offset: offset, Ticks: offset, Flags: flags, Payload: []byte{1}}); err != nil {
			t.Fatal(err)
		}
	}
	write(100, media.Keyframe)
	write(102, media.FrameEnd)
	write(101, 0) // late
	stop()
	write(103, 0)
	l.Close()
	if want := []bool{false, true, false, true}; !slices.Equal(all, want) {
		t.Errorf("told %v, want %v", all, want)
	}
	if want := []bool{false, true}; !slices.Equal(some, want) {
		t.Errorf("before it was stopped, told %v, want %v", some, want)
	}
}
