package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"banyan/relay/log"
	"banyan/relay/media"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var video = media.Params{Codec: media.H264, ClockRate: media.VideoClockRate, Width: 1280, Height: 720}

func newTestHub(t *testing.T, config Config) *Hub {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	h := New(config)
	t.Cleanup(h.Close)
	return h
}

// camera publishes a video track under name and writes one keyframe.
func camera(t *testing.T, h *Hub, name media.Name) (*Publication, *log.Writer) {
	t.Helper()
	p, err := h.Publish(name, "test")
	if err != nil {
		t.Fatal(err)
	}
	w, err := p.Source(media.Video)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Begin(video); err != nil {
		t.Fatal(err)
	}
	p.Announce()
	write(t, w)
	return p, w
}

func write(t *testing.T, w *log.Writer) {
	t.Helper()
	if err := w.Write(media.Packet{Offset: w.Next(), Ticks: w.Next(), Flags: media.Keyframe | media.FrameEnd}); err != nil {
		t.Fatal(err)
	}
}

func subscribe(t *testing.T, h *Hub, name media.Name, format media.Format) *Subscription {
	t.Helper()
	s, err := h.Stream(name)
	if err != nil {
		t.Fatal(err)
	}
	sub, err := s.Subscribe(format, media.Video)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

func wantPacket(t *testing.T, why string, c *log.Cursor) {
	t.Helper()
	if p, _ := c.Next(); p == nil {
		t.Fatalf("no packet for the reader: %s", why)
	}
}

func TestReaderStaysWhenThePublisherReturns(t *testing.T) {
	h := newTestHub(t, Config{})
	p, _ := camera(t, h, "cup/cam1")
	sub := subscribe(t, h, "cup/cam1", media.Source)
	defer sub.Close()
	c := sub.Log().Cursor(log.LastKeyframe())
	wantPacket(t, "the first publisher's", c)
	p.Close()
	if sub.Log().Closed() {
		t.Fatal("the log was closed with its publisher")
	}
	camera(t, h, "cup/cam1")
	wantPacket(t, "the second publisher's, in the same log", c)
}

func TestSecondPublisherReplacesTheFirst(t *testing.T) {
	h := newTestHub(t, Config{})
	first, w := camera(t, h, "cup/cam1")
	second, _ := camera(t, h, "cup/cam1")
	<-first.Ended()
	if first.Cause() != ErrTakenOver || second.Cause() != nil {
		t.Errorf("the causes are %v and %v, want ErrTakenOver and none", first.Cause(), second.Cause())
	}
	if err := w.Write(media.Packet{Offset: w.Next()}); !errors.Is(err, log.ErrReplaced) {
		t.Errorf("the replaced publisher writes: %v, want ErrReplaced", err)
	}
	if _, err := first.Source(media.Audio); !errors.Is(err, log.ErrReplaced) {
		t.Errorf("the replaced publisher adds a track: %v, want ErrReplaced", err)
	}
	first.Close()
	if s, _ := h.Stream("cup/cam1"); !s.Live() {
		t.Error("closing the replaced publication ended the new one")
	}
	second.Close()
}

func TestStaleTrackIsNotLive(t *testing.T) {
	h := newTestHub(t, Config{})
	p, _ := camera(t, h, "cup/cam1")
	if _, err := p.Source(media.Audio); err != nil {
		t.Fatal(err)
	}
	camera(t, h, "cup/cam1") // comes back without sound
	s, _ := h.Stream("cup/cam1")
	for _, track := range s.Published() {
		if want := track.ID.Kind == media.Video; track.Live != want {
			t.Errorf("%v: live is %v, want %v", track.ID, track.Live, want)
		}
	}
}

func TestForgottenAfterLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, Config{Linger: time.Minute})
		p, _ := camera(t, h, "cup/cam1")
		sub := subscribe(t, h, "cup/cam1", media.Source)
		s, _ := h.Stream("cup/cam1")
		p.Close()
		time.Sleep(time.Hour)
		if s.Closed() {
			t.Fatal("forgotten while somebody reads it")
		}
		sub.Close()
		time.Sleep(time.Minute - time.Millisecond)
		if s.Closed() {
			t.Fatal("forgotten before the linger was over")
		}
		time.Sleep(2 * time.Millisecond)
		if !s.Closed() || !sub.Log().Closed() {
			t.Fatal("still there after the linger")
		}
		if _, err := h.Stream("cup/cam1"); !errors.Is(err, ErrNoStream) {
			t.Errorf("looking it up: %v, want ErrNoStream", err)
		}
		if _, err := s.Subscribe(media.Source, media.Video); !errors.Is(err, ErrNoStream) {
			t.Errorf("subscribing to it: %v, want ErrNoStream", err)
		}
	})
}

func TestReturningPublisherStopsTheLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, Config{Linger: time.Minute})
		p, _ := camera(t, h, "cup/cam1")
		p.Close()
		time.Sleep(50 * time.Second)
		camera(t, h, "cup/cam1")
		time.Sleep(time.Hour)
		if _, err := h.Stream("cup/cam1"); err != nil {
			t.Errorf("a live stream was forgotten: %v", err)
		}
	})
}

func TestBounds(t *testing.T) {
	h := newTestHub(t, Config{MaxStreams: 2})
	for i := range 2 {
		camera(t, h, media.Name(fmt.Sprintf("cam%d", i)))
	}
	if _, err := h.Publish("cam2", "test"); !errors.Is(err, ErrFull) {
		t.Errorf("one stream too many: %v, want ErrFull", err)
	}
	camera(t, h, "cam1") // a name that is there is no new stream
	h.Close()
	if _, err := h.Publish("cam1", "test"); !errors.Is(err, ErrClosed) {
		t.Errorf("publish to a closed hub: %v, want ErrClosed", err)
	}
}

// copier supplies one format with a packet a second, and tells of its life.
type copier struct {
	always bool
	starts chan context.Context
}

const small media.Format = "360p"

func (c copier) Offers(s *Stream) []Offer {
	if len(s.Published()) == 0 {
		return nil
	}
	return []Offer{{Format: small, Kind: media.Video, Params: video, Always: c.always, Linger: 20 * time.Second}}
}

func (c copier) Supply(ctx context.Context, _ *Stream, offer Offer, w *log.Writer) error {
	c.starts <- ctx
	if err := w.Begin(offer.Params); err != nil {
		return err
	}
	for {
		if err := w.Write(media.Packet{Offset: w.Next(), Flags: media.Keyframe}); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

func TestFormatRunsWhileItIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, Config{})
		c := copier{starts: make(chan context.Context, 10)}
		h.AddSupplier(c)
		camera(t, h, "cup/cam1")
		s, _ := h.Stream("cup/cam1")
		if tracks := s.Tracks(); len(tracks) != 2 || tracks[1].ID.Format != small || tracks[1].Log != nil {
			t.Fatalf("tracks %+v, want the source and the format on offer", tracks)
		}
		synctest.Wait()
		if len(c.starts) != 0 {
			t.Fatal("supplied before anybody read it")
		}
		first, second := subscribe(t, h, "cup/cam1", small), subscribe(t, h, "cup/cam1", small)
		ctx := <-c.starts
		if len(c.starts) != 0 || first.Log() != second.Log() {
			t.Fatal("two readers got two supplies")
		}
		first.Close()
		first.Close() // a second call does nothing
		time.Sleep(time.Hour)
		if ctx.Err() != nil {
			t.Fatal("stopped while it was read")
		}
		second.Close()
		time.Sleep(19 * time.Second)
		third := subscribe(t, h, "cup/cam1", small)
		time.Sleep(time.Hour)
		if ctx.Err() != nil {
			t.Fatal("a reader within the linger did not keep it")
		}
		third.Close()
		time.Sleep(21 * time.Second)
		synctest.Wait()
		if ctx.Err() == nil || !third.Log().Closed() {
			t.Fatal("still supplied after the linger")
		}
		subscribe(t, h, "cup/cam1", small).Close()
		if fresh := <-c.starts; fresh == ctx {
			t.Fatal("not started again")
		}
	})
}

func TestAlwaysRunsWhileTheStreamIsLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, Config{})
		c := copier{always: true, starts: make(chan context.Context, 10)}
		h.AddSupplier(c)
		p, _ := camera(t, h, "cup/cam1")
		ctx := <-c.starts
		time.Sleep(time.Hour)
		if ctx.Err() != nil {
			t.Fatal("stopped while the stream was live")
		}
		p.Close()
		time.Sleep(21 * time.Second)
		synctest.Wait()
		if ctx.Err() == nil {
			t.Fatal("still running after publisher and linger were gone")
		}
	})
}

// moody offers a format always, never, or for who reads it.
type moody struct {
	copier
	offers *atomic.Pointer[[]Offer]
}

func (m moody) Offers(*Stream) []Offer { return *m.offers.Load() }

// TestAlwaysEndsWithItsOffer: what is supplied for nobody ends when it is offered no more, and not where it is offered
// again in time.
func TestAlwaysEndsWithItsOffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, Config{})
		m := moody{copier{starts: make(chan context.Context, 10)}, new(atomic.Pointer[[]Offer])}
		offer := func(list ...Offer) { m.offers.Store(&list) }
		always := Offer{Format: small, Kind: media.Video, Params: video, Always: true, Linger: 20 * time.Second}
		offer(always)
		h.AddSupplier(m)
		camera(t, h, "cup/cam1")
		ctx := <-m.starts
		for range 3 { // others take the name over
			offer()
			camera(t, h, "cup/cam1")
			time.Sleep(15 * time.Second)
			offer(always)
			camera(t, h, "cup/cam1")
			time.Sleep(time.Hour)
			if ctx.Err() != nil {
				t.Fatal("stopped though it was on offer again")
			}
		}
		offer()
		camera(t, h, "cup/cam1")
		time.Sleep(21 * time.Second)
		synctest.Wait()
		if ctx.Err() == nil {
			t.Fatal("still running for nobody when it was offered no more")
		}
	})
}

func TestUnknownFormat(t *testing.T) {
	h := newTestHub(t, Config{})
	camera(t, h, "cup/cam1")
	s, _ := h.Stream("cup/cam1")
	if _, err := s.Subscribe("999p", media.Video); !errors.Is(err, ErrNoTrack) {
		t.Errorf("unknown format: %v, want ErrNoTrack", err)
	}
	if _, err := h.Stream("cup/cam2"); !errors.Is(err, ErrNoStream) {
		t.Errorf("unknown stream: %v, want ErrNoStream", err)
	}
}

func TestChangedTellsOfEveryStep(t *testing.T) {
	h := newTestHub(t, Config{})
	appeared := h.Changed()
	p, _ := camera(t, h, "cup/cam1")
	<-appeared
	s, _ := h.Stream("cup/cam1")
	for _, step := range []struct {
		what string
		do   func()
	}{
		{"a track", func() { _, _ = p.Source(media.Audio) }},
		{"new parameters", p.Announce},
		{"the publisher leaves", p.Close},
		{"a publisher comes", func() { camera(t, h, "cup/cam1") }},
		{"the hub closes", h.Close},
	} {
		changed := s.Changed()
		step.do()
		select {
		case <-changed:
		default:
			t.Errorf("not told of: %s", step.what)
		}
	}
}

func TestKick(t *testing.T) {
	var logged strings.Builder
	h := newTestHub(t, Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	p, _ := camera(t, h, "cup/cam1")
	s, _ := h.Stream("cup/cam1")
	if !s.Kick() || s.Live() || s.Kick() {
		t.Error("a kick must end the publication, once")
	}
	<-p.Ended()
	if p.Cause() != ErrKicked || strings.Count(logged.String(), ErrKicked.Error()) != 1 {
		t.Errorf("the cause is %v, want ErrKicked, also in the log:\n%s", p.Cause(), logged.String())
	}
	p.Close()
	camera(t, h, "cup/cam1")
	if !s.Live() {
		t.Error("the publisher could not come back")
	}
}

func TestSettleWaitsForAllTracks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, Config{})
		p, _ := camera(t, h, "cup/cam1")
		sound, err := p.Source(media.Audio)
		if err != nil {
			t.Fatal(err)
		}
		s, _ := h.Stream("cup/cam1")
		start := time.Now()
		time.AfterFunc(300*time.Millisecond, func() {
			_ = sound.Begin(media.Params{Codec: media.Opus, ClockRate: 48000})
			p.Announce()
		})
		s.Settle(t.Context(), 2*time.Second)
		if waited := time.Since(start); waited != 300*time.Millisecond {
			t.Errorf("waited %v for sound that came after 300 ms", waited)
		}
		camera(t, h, "cup/cam1")
		again, _ := h.Publish("cup/cam1", "test") // claims nothing
		start = time.Now()
		s.Settle(t.Context(), 2*time.Second)
		if waited := time.Since(start); waited != 2*time.Second {
			t.Errorf("waited %v for a publisher that sends nothing, want two seconds", waited)
		}
		start = time.Now()
		s.Settle(t.Context(), 2*time.Second)
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %v although the publisher has had its time", waited)
		}
		again.Close()
		s.Settle(t.Context(), 2*time.Second) // nobody to wait for
	})
}

func TestViewersAreCounted(t *testing.T) {
	h := newTestHub(t, Config{})
	camera(t, h, "cup/cam1")
	s, _ := h.Stream("cup/cam1")
	leave := s.Watch("whep")
	s.Watch("hls")
	if v := s.Viewers(); v["whep"] != 1 || v["hls"] != 1 {
		t.Errorf("viewers %v, want one of each", v)
	}
	leave()
	if v := s.Viewers(); v["whep"] != 0 {
		t.Errorf("viewers %v after one left", v)
	}
}
