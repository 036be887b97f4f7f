package hls

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"banyan/relay"
	"banyan/relay/media"
)

// fickle offers formats until its source is another.
type fickle struct {
	rungs
	over atomic.Bool
}

func (f *fickle) Offers(s *relay.Stream) []relay.Offer {
	if f.over.Load() {
		return nil
	}
	return f.rungs.Offers(s)
}

// A format of a publisher who has left is kept for those who play it, not for those who come, nor for those who play another.
func TestWhatLeftIsRetired(t *testing.T) {
	const linger, old = 10 * time.Second, "cup/cam1/90p-video/"
	c, small := record(t, "320x180"), record(t, "160x90")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		s := newQuietStage(t, ctx, &running, 0, linger)
		supplier := &fickle{rungs: rungs{small, map[media.Format]time.Duration{"90p": 0}}}
		s.hub.AddSupplier(supplier)
		studio := newStudio(t, s.hub, "cup/cam1", c, both)
		running.Go(func() { studio.air(ctx, clipTicks) })
		stream, err := s.hub.Stream("cup/cam1")
		if err != nil {
			t.Fatal(err)
		}
		source, id := renditionID{media.Source, media.Video}, renditionID{"90p", media.Video}
		s.direct("cup/cam1/index.m3u8")
		time.Sleep(4 * time.Second)
		if !strings.Contains(s.direct("cup/cam1/index.m3u8"), "90p-video") {
			t.Fatal("a format on offer is not listed")
		}
		s.direct(old + indexFile)
		player := s.server.running("cup/cam1", id)

		supplier.over.Store(true)
		if strings.Contains(s.direct("cup/cam1/index.m3u8"), "90p-video") {
			t.Error("newcomers are told of a format that nobody offers any more")
		}
		for range 30 { // who plays it plays on
			before := player.state.Load()
			s.direct(old + indexFile)
			time.Sleep(time.Second)
			if player.state.Load() == before {
				t.Fatal("it does not go on")
			}
		}
		if s.server.running("cup/cam1", id) != player || player.state.Load().err != nil {
			t.Error("it was let go while somebody played it")
		}
		for range 15 { // others play on
			text := s.direct(video + indexFile)
			if reports := tagged(text, "#EXT-X-RENDITION-REPORT"); strings.Contains(strings.Join(reports, ""), "90p") {
				t.Errorf("those who play another are told of it: %q", reports)
			}
			time.Sleep(time.Second)
		}
		if s.server.running("cup/cam1", id) != nil || stream.Readers("90p", media.Video) != 0 {
			t.Error("it goes on though nobody plays it")
		}
		if s.server.running("cup/cam1", source) == nil {
			t.Error("what the publisher sends was let go as well")
		}
		cancel()
		running.Wait()
		s.hub.Close()
	})
}
