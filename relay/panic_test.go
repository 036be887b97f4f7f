package relay

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"banyan/relay/log"
	"banyan/relay/media"
)

// brittle is a supplier that breaks.
type brittle struct{ started chan struct{} }

func (brittle) Offers(*Stream) []Offer {
	return []Offer{{Format: "720p", Kind: media.Video, Params: video}}
}

func (b brittle) Supply(context.Context, *Stream, Offer, *log.Writer) error {
	b.started <- struct{}{}
	panic("a byte that nobody thought of")
}

// TestSupplierPanics: it costs its track, which ends after a while, and nothing else.
func TestSupplierPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, Config{})
		b := brittle{started: make(chan struct{}, 100)}
		h.AddSupplier(b)
		_, w := camera(t, h, "cup/cam1")
		sub := subscribe(t, h, "cup/cam1", "720p")
		begun := time.Now()
		_, _, err := sub.Log().Cursor(log.Live()).Read(t.Context())
		if err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("the track's reader got %v, want the end of the track", err)
		}
		if passed := time.Since(begun); passed != panicPause {
			t.Errorf("the track ended after %v, want %v", passed, panicPause)
		}
		if h.Panics() != 1 || len(b.started) != 1 {
			t.Errorf("it broke %d times and was started %d times, want once", h.Panics(), len(b.started))
		}
		sub.Close()
		write(t, w) // the source goes on
		again := subscribe(t, h, "cup/cam1", "720p")
		synctest.Wait()
		if h.Panics() != 2 {
			t.Error("it cannot be tried again")
		}
		again.Close()
		h.Close()
	})
}
