package transcoder

import (
	"slices"
	"testing"
	"time"

	"banyan/relay/frame"
	"banyan/relay/frame/settest"
	"banyan/relay/media"
)

// A source with two PPS, of which every other picture refers to the second: none is lost.
func TestSourceWithSeveralSets(t *testing.T) {
	for _, codec := range []media.Codec{media.H264, media.H265} {
		t.Run(string(codec), func(t *testing.T) {
			t.Parallel()
			fx := newFixture(t, Config{Ladders: onlySmall})
			source := video(t, codec, "160x90", "15", "5", "-bf", "0", "-g", "30").from(fx.epoch)
			var second [][]byte
			for i := range source.frames {
				f := &source.frames[i]
				renumbered := settest.RenumberAll(codec, f.Units, 0, settest.Second)
				if i == 0 {
					second = frame.SetsOf(&media.Params{Codec: codec, Sets: renumbered}).PPS
					f.Units = slices.Concat(f.Units[:len(f.Units)-1], second, f.Units[len(f.Units)-1:])
				} else if i%2 == 1 {
					f.Units = renumbered
				}
			}
			fx.play(8, source)
			fx.offered("48p")
			wantGrid(t, fx.watch("48p", media.Video).until(fx.epoch.Add(4*time.Second)), 2*time.Second)
			if w := fx.worker("48p", func(Worker) bool { return true }); w.Trouble != "" || w.Dropped > 0 {
				t.Errorf("the worker says %+v, want nothing dropped", w)
			}
		})
	}
}
