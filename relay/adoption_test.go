package relay

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"banyan/relay/log"
	"banyan/relay/media"
)

// replicator offers the source of an adopted stream, and gives one keyframe of it at the birthplace's offset.
type replicator struct{ offset int64 }

func (r replicator) Offers(s *Stream) []Offer {
	if s.Local() || !s.Live() {
		return nil
	}
	return []Offer{{Format: media.Source, Kind: media.Video, Params: video, Linger: time.Second, Replica: true}}
}

func (r replicator) Supply(ctx context.Context, _ *Stream, _ Offer, w *log.Writer) error {
	params := video
	params.Epoch = 7
	err := errors.Join(w.StartAt(r.offset), w.Begin(params),
		w.Write(media.Packet{Offset: r.offset, Ticks: 1, Flags: media.Keyframe | media.FrameEnd}))
	if err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func adopt(t *testing.T, h *Hub) *Adoption {
	t.Helper()
	a, err := h.Adopt("cup/cam1", "node far", time.Now(), []Elsewhere{{media.Source, media.Video, &video}})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAdoptedStreamIsReplicatedOnDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, Config{Linger: time.Minute})
		h.AddSupplier(replicator{offset: 1e15})
		a := adopt(t, h)
		s, err := h.Stream("cup/cam1")
		if err != nil {
			t.Fatal(err)
		}
		if list := s.Published(); len(list) != 1 || list[0].Log != nil || !list[0].Live || !s.Live() || s.Local() {
			t.Errorf("before anybody reads: live %v, local %v, tracks %+v", s.Live(), s.Local(), list)
		}
		if origin, _, ok := s.Publisher(); origin != "node far" || !ok {
			t.Errorf("publisher %q, %v", origin, ok)
		}
		sub := subscribe(t, h, "cup/cam1", media.Source)
		c := sub.Log().Cursor(log.LastKeyframe())
		synctest.Wait()
		p, lost := c.Next()
		if p == nil || p.Offset != 1e15 || p.Params.Epoch != 7 || lost != 0 {
			t.Errorf("packet %+v after %d lost ones, want the birthplace's offset and epoch, and none", p, lost)
		}
		if list := s.Published(); len(list) != 1 || list[0].Log != sub.Log() || list[0].Readers != 1 {
			t.Errorf("while somebody reads: %+v", list)
		}
		a.Close()
		a.Close()
		if s.Live() || sub.Log().Closed() {
			t.Error("a reader of a stream that ended elsewhere must stay, and the stream not be live")
		}
		sub.Close()
		time.Sleep(2 * time.Minute)
		if _, err := h.Stream("cup/cam1"); !errors.Is(err, ErrNoStream) {
			t.Errorf("a stream that nobody needs: %v, want ErrNoStream", err)
		}
	})
}

func TestPublisherMovesBetweenNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, Config{})
		h.AddSupplier(replicator{offset: 5})
		local, _ := camera(t, h, "cup/cam1")
		mine := subscribe(t, h, "cup/cam1", media.Source)
		defer mine.Close()
		a := adopt(t, h)
		s := mine.stream
		if !s.Local() || mine.Log().Closed() || s.Published()[0].Log != mine.Log() {
			t.Error("a publisher on this node goes first")
		}
		local.Close()
		if _, _, err := mine.Log().Cursor(log.Offset(mine.Log().Head())).Read(t.Context()); !errors.Is(err, io.EOF) {
			t.Errorf("the log of the publisher that left for another node: %v, want its end", err)
		}
		far := subscribe(t, h, "cup/cam1", media.Source)
		synctest.Wait()
		wantPacket(t, "the replica's", far.Log().Cursor(log.LastKeyframe()))
		_, w := camera(t, h, "cup/cam1") // and back
		if !far.Log().Closed() || w.Log().Closed() {
			t.Error("the replica must end when the publisher is back on this node")
		}
		far.Close()
		a.Close()
		if !s.Live() || !s.Local() {
			t.Error("the end elsewhere concerns no publisher on this node")
		}
	})
}

func TestAdoptionIsBounded(t *testing.T) {
	h := newTestHub(t, Config{MaxStreams: 1})
	adopt(t, h)
	if _, err := h.Adopt("cup/cam2", "node far", time.Now(), nil); !errors.Is(err, ErrFull) {
		t.Errorf("a stream too many: %v, want ErrFull", err)
	}
	h.Close()
	if _, err := h.Adopt("cup/cam3", "node far", time.Now(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed hub: %v, want ErrClosed", err)
	}
}

// A publisher elsewhere becomes known bit by bit: what it sends, and what other nodes make of that.
func TestSettleWaitsForWordFromElsewhere(t *testing.T) {
	const patience = 2 * time.Second
	picture, pending := Elsewhere{media.Source, media.Video, &video}, Elsewhere{Format: media.Source, Kind: media.Audio}
	sound := pending
	sound.Params = &media.Params{Codec: media.AAC, ClockRate: 48000}
	for _, c := range []struct {
		name  string
		clock time.Duration // by which the birthplace's is ahead
		news  map[time.Duration][]Elsewhere
		want  time.Duration
	}{
		{"nothing else comes", 0, nil, calm},
		{"a format comes", 0, map[time.Duration][]Elsewhere{200 * time.Millisecond: {picture}}, 200*time.Millisecond + calm},
		{"sound is claimed and comes", 0, map[time.Duration][]Elsewhere{
			100 * time.Millisecond: {picture, pending}, time.Second: {picture, sound}}, time.Second + calm},
		{"sound is claimed and never comes", 0, map[time.Duration][]Elsewhere{100 * time.Millisecond: {picture, pending}}, patience},
		{"the clock is an hour ahead", time.Hour, map[time.Duration][]Elsewhere{100 * time.Millisecond: {picture, pending}}, patience},
		{"the clock is an hour behind", -time.Hour, map[time.Duration][]Elsewhere{100 * time.Millisecond: {picture, pending}}, patience},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newTestHub(t, Config{})
				a, err := h.Adopt("cup/cam1", "node far", time.Now().Add(c.clock), []Elsewhere{picture})
				if err != nil {
					t.Fatal(err)
				}
				for after, tracks := range c.news {
					time.AfterFunc(after, func() { a.Update(tracks) })
				}
				s, _ := h.Stream("cup/cam1")
				start := time.Now()
				s.Settle(t.Context(), patience)
				if waited := time.Since(start); waited != c.want {
					t.Errorf("waited %v, want %v", waited, c.want)
				}
			})
		})
	}
}
