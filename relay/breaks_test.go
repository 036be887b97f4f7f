package relay

import (
	"testing"
	"time"

	"banyan/relay/log"
	"banyan/relay/media"
)

// second is the media time n seconds into a test, on the grid of segments.
func second(n float64) media.Time {
	return media.Time(1_800_000_000*int64(time.Second)) + media.Time(n*float64(time.Second))
}

// bornAt is what a stream that is published first at second(0) counts from.
const bornAt = (1_800_000_000 - 1_767_225_600) / 600

// publisher writes the beginnings of epochs.
type publisher struct {
	t testing.TB
	*Publication
}

func publish(t testing.TB, h *Hub) publisher {
	t.Helper()
	p, err := h.Publish("cup/cam1", "test")
	if err != nil {
		t.Fatal(err)
	}
	return publisher{t, p}
}

// begin writes the first packet of an epoch and gives the break that it carries.
func (p publisher) begin(kind media.Kind, params media.Params, at media.Time) media.Break {
	p.t.Helper()
	w, err := p.Source(kind)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := w.Begin(params); err != nil {
		p.t.Fatal(err)
	}
	packet := media.Packet{Offset: w.Next(), Ticks: media.TicksOf(at, params.ClockRate), Flags: media.Keyframe | media.FrameEnd}
	if err := w.Write(packet); err != nil {
		p.t.Fatal(err)
	}
	carried := w.Log().Get(packet.Offset).Params
	if newest := w.Log().Params(); newest.Break != carried.Break {
		p.t.Errorf("the log tells of break %+v, its packet of %+v", newest.Break, carried.Break)
	}
	return carried.Break
}

func sized(width int) media.Params {
	p := video
	p.Width = width
	return p
}

func TestBreaksOfAStream(t *testing.T) {
	sound := media.Params{Codec: media.Opus, ClockRate: 48000, Channels: 2, SampleRate: 48000}
	mono := sound
	mono.Channels = 1
	h := newTestHub(t, Config{})
	p := publish(t, h)
	for i, c := range []struct {
		what   string
		kind   media.Kind
		params media.Params
		at     media.Time
		want   media.Break
	}{
		{"the first picture", media.Video, sized(320), second(0.5), media.Break{Number: bornAt}},
		{"the first sound", media.Audio, sound, second(0.6), media.Break{Number: bornAt}},
		{"the same again, after a leap of time", media.Video, sized(320), second(7), media.Break{Number: bornAt}},
		{"another size", media.Video, sized(640), second(8.5), media.Break{Number: bornAt + 1, At: second(10)}},
		{"another sound that shows with it", media.Audio, mono, second(9.1), media.Break{Number: bornAt + 1, At: second(10)}},
		{"one that shows before it, and comes late", media.Audio, sound, second(7.9), media.Break{Number: bornAt + 1, At: second(10)}},
		{"one at a segment's beginning", media.Video, sized(320), second(12.04), media.Break{Number: bornAt + 2, At: second(12)}},
		{"one after the clock was set back", media.Video, sized(640), second(-600), media.Break{Number: bornAt + 3, At: second(-600)}},
	} {
		if i == 4 { // a publisher that returns counts on
			p.Close()
			p = publish(t, h)
		}
		if got := p.begin(c.kind, c.params, c.at); got != c.want {
			t.Errorf("%s: break %+v, want %+v", c.what, got, c.want)
		}
	}
}

// A publisher that comes to another node counts on; on a node that knows nothing it counts from above.
func TestBreaksAreCarriedOn(t *testing.T) {
	far := sized(320)
	far.Break = media.Break{Number: 77, At: second(2)}
	h := newTestHub(t, Config{})
	a, err := h.Adopt("cup/cam1", "node far", time.Now(), []Elsewhere{{media.Source, media.Video, &far}, {media.Source, media.Audio, nil}})
	if err != nil {
		t.Fatal(err)
	}
	if got := publish(t, h).begin(media.Video, sized(320), second(5)); got != far.Break {
		t.Errorf("who goes on with the same: break %+v, want %+v", got, far.Break)
	}
	newer := sized(640)
	newer.Break = media.Break{Number: 78, At: second(8)}
	a.Update([]Elsewhere{{media.Source, media.Video, &newer}})
	if got, want := publish(t, h).begin(media.Video, sized(320), second(9)), (media.Break{Number: 79, At: second(10)}); got != want {
		t.Errorf("who brings another size than there was elsewhere: break %+v, want %+v", got, want)
	}
	if got := publish(t, newTestHub(t, Config{})).begin(media.Video, sized(320), 5); got.Number != 1 {
		t.Errorf("where media time makes no sense: break %+v, want a number nevertheless", got)
	}
	if got := publish(t, newTestHub(t, Config{})).begin(media.Video, sized(320), second(30)); got != (media.Break{Number: bornAt}) {
		t.Errorf("after a new start of the birthplace: break %+v, want a number above all before, and no break", got)
	}
}

// What is made of a track says itself which break it is of.
func TestSuppliedTracksKeepTheirBreak(t *testing.T) {
	w := log.New(media.TrackID{Stream: "cup/cam1", Format: "360p", Kind: media.Video}, 0, log.Config{}).Writer()
	params := sized(320)
	params.Break = media.Break{Number: 7, At: second(4)}
	if err := w.Begin(params); err != nil {
		t.Fatal(err)
	}
	params.Break = media.Break{}
	for range 2 {
		if err := w.Begin(params); err != nil {
			t.Fatal(err)
		}
		if got := w.Log().Params().Break; got.Number != 7 {
			t.Errorf("break %+v, want that of the epoch before where none is told", got)
		}
	}
}
