package whep_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"

	"banyan/relay"
	"banyan/relay/frame"
	"banyan/relay/log"
	"banyan/relay/media"
)

// ladder supplies 180-line formats that are made of a camera's own pictures, and opus.
type ladder struct {
	formats []media.Format
	started chan media.Format
	t       testing.TB
	fail    atomic.Bool // ends supplies at once
}

func (l *ladder) Offers(s *relay.Stream) []relay.Offer {
	var offers []relay.Offer
	for i, f := range l.formats {
		offers = append(offers, relay.Offer{
			Format: f, Kind: media.Video,
			Params: media.Params{Codec: media.H264, ClockRate: media.VideoClockRate, Height: 720 - i},
		})
	}
	return offers
}

// Supply writes a second of pictures, a keyframe first, and then frames in real time, in step with the wall clock.
func (l *ladder) Supply(ctx context.Context, s *relay.Stream, offer relay.Offer, w *log.Writer) error {
	writer, err := frame.NewWriter(w, offer.Params)
	if err != nil {
		return err
	}
	list := pictures(l.t, "baseline", "160x90")
	ticks := (time.Now().Unix() - 1) * media.VideoClockRate
	ticker := time.NewTicker(time.Second / (2 * fps))
	defer ticker.Stop()
	l.started <- offer.Format
	for n := 0; ; n++ {
		if err := writer.Write(frame.Frame{Ticks: ticks, Arrived: media.TimeOf(time.Now()), Units: list[n%len(list)]}); err != nil {
			return err
		}
		ticks += frameLen
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if l.fail.Load() {
				return errors.New("the encoder has died")
			}
		}
	}
}

func newLadder(t testing.TB, formats ...media.Format) *ladder {
	return &ladder{formats: formats, started: make(chan media.Format, 100), t: t}
}

// sizes tells the picture sizes that the sets in the units say, in order, each once.
func sizes(t testing.TB, units [][]byte) (list []string) {
	t.Helper()
	for _, unit := range units {
		for _, part := range bytes.Split(unit, []byte{0, 0, 0, 1})[1:] {
			if part[0]&0x1f != 7 {
				continue
			}
			var sps h264.SPS
			if err := sps.Unmarshal(part); err != nil {
				t.Fatal(err)
			}
			size := fmt.Sprintf("%dx%d", sps.Width(), sps.Height())
			if len(list) == 0 || list[len(list)-1] != size {
				list = append(list, size)
			}
		}
	}
	return list
}

func (p *player) sizes() []string {
	units, _ := frames(p.w, p.got("video"))
	return sizes(p.w, units)
}

func TestFormats(t *testing.T) {
	w := newWorld(t)
	rungs := newLadder(t, "720p", "360p")
	w.hub.AddSupplier(rungs)
	c := w.newCamera("cup/cam1", "baseline")
	c.shoot(3)
	defer c.roll(2)()

	p := newPlayer(w)
	p.watch("/whep/cup/cam1?format=720p")
	w.eventually("the pinned format", func() bool { return slices.Equal(p.sizes(), []string{"160x90"}) })
	if got := <-rungs.started; got != "720p" || len(rungs.started) > 0 {
		t.Errorf("%s was started, want 720p alone", got)
	}

	layer := p.location + "/layer"
	if r, body := w.do("POST", layer, "application/json", `{"format":"source"}`); r.StatusCode != http.StatusNoContent {
		t.Fatalf("change to source: %s %s", r.Status, body)
	}
	w.eventually("the source", func() bool { return slices.Equal(p.sizes(), []string{"160x90", "320x180"}) })
	if r, _ := w.do("POST", layer, "application/json", `{"encodingId":"360p"}`); r.StatusCode != http.StatusNoContent {
		t.Fatalf("change to 360p: %s", r.Status)
	}
	w.eventually("360p", func() bool { return slices.Equal(p.sizes(), []string{"160x90", "320x180", "160x90"}) })
	if r, _ := w.do("POST", layer, "application/json", `{"format":"auto"}`); r.StatusCode != http.StatusNoContent {
		t.Fatalf("change to auto: %s", r.Status)
	}
	w.eventually("the source, which fits", func() bool {
		return slices.Equal(p.sizes(), []string{"160x90", "320x180", "160x90", "320x180"})
	})
	units, _ := frames(t, p.got("video")) // checks that sequence numbers and timestamps go on
	wantDecodable(t, units)

	for _, c := range []struct {
		why, contentType, body string
		want                   int
	}{
		{"unknown format", "application/json", `{"format":"4k"}`, 422},
		{"bad format", "application/json", `{"format":"../x"}`, 400},
		{"no format", "application/json", `{}`, 400},
		{"no JSON", "application/json", `format=720p`, 400},
		{"two that differ", "application/json", `{"format":"720p","encodingId":"360p"}`, 400},
		{"a number", "application/json", `{"format":720}`, 400},
		{"wrong type", "text/plain", `{"format":"720p"}`, 415},
		{"too large", "application/json", `{"format":"` + strings.Repeat("x", 10000) + `"}`, 413},
	} {
		if r, body := w.do("POST", layer, c.contentType, c.body); r.StatusCode != c.want {
			t.Errorf("layer, %s: %s %s, want %d", c.why, r.Status, body, c.want)
		}
	}
}

// TestFormatThatDies: when a format ends, the viewer gets it again, or another one.
func TestFormatThatDies(t *testing.T) {
	w := newWorld(t)
	rungs := newLadder(t, "720p")
	w.hub.AddSupplier(rungs)
	c := w.newCamera("cup/cam1", "baseline")
	c.shoot(3)
	p := newPlayer(w)
	p.watch("/whep/cup/cam1?format=720p")
	w.eventually("the pinned format", func() bool { return len(p.sizes()) == 1 })
	<-rungs.started
	rungs.fail.Store(true)
	w.eventually("a second life", func() bool { return len(rungs.started) > 0 })
	rungs.fail.Store(false)
	n := len(p.got("video"))
	w.eventually("more of it", func() bool { return len(p.got("video")) > n+10 })
	_, _ = frames(t, p.got("video"))
}

// TestNoPublisherNoChange: a viewer of the source stays with it while its publisher is away, and while another one that
// takes the name over has not sent anything. Nothing is encoded for it.
func TestNoPublisherNoChange(t *testing.T) {
	w := newWorld(t)
	rungs := newLadder(t, "360p")
	w.hub.AddSupplier(rungs)
	c := w.newCamera("cup/cam1", "baseline")
	c.shoot(3)
	p := newPlayer(w)
	p.watch("/whep/cup/cam1")
	w.eventually("the source", func() bool { return slices.Equal(p.sizes(), []string{"320x180"}) })
	quiet := func(when string) {
		t.Helper()
		select {
		case format := <-rungs.started:
			t.Fatalf("%s was started %s", format, when)
		case <-time.After(300 * time.Millisecond): // a feed takes a millisecond to see it
		}
	}

	c.publication.Close()
	quiet("when the publisher left")
	if _, err := w.hub.Publish("cup/cam1", "test"); err != nil {
		t.Fatal(err)
	}
	quiet("when another one had come and sent nothing")
	defer w.newCamera("cup/cam1", "baseline").roll(1)() // and another one
	n := len(p.got("video"))
	w.eventually("the source again", func() bool { return len(p.got("video")) > n+10 })
	quiet("when the source was back")
	if got := p.sizes(); !slices.Equal(got, []string{"320x180"}) {
		t.Errorf("the viewer saw %v, want the source alone", got)
	}
}

// TestSourceBecomesUnplayable: the publisher returns with B-frames, then without.
func TestSourceBecomesUnplayable(t *testing.T) {
	w := newWorld(t)
	w.hub.AddSupplier(newLadder(t, "720p"))
	c := w.newCamera("cup/cam1", "baseline")
	c.shoot(3)
	p := newPlayer(w)
	p.watch("/whep/cup/cam1")
	w.eventually("the source", func() bool { return slices.Equal(p.sizes(), []string{"320x180"}) })
	params := c.video.Params()
	params.Reordered = true
	if err := c.source.Begin(params); err != nil {
		t.Fatal(err)
	}
	c.publication.Announce()
	w.eventually("the format made of it", func() bool { return slices.Equal(p.sizes(), []string{"320x180", "160x90"}) })
	params.Reordered = false
	if err := c.source.Begin(params); err != nil {
		t.Fatal(err)
	}
	c.publication.Announce()
	defer c.roll(2)()
	w.eventually("the source again", func() bool { return slices.Equal(p.sizes(), []string{"320x180", "160x90", "320x180"}) })
	units, _ := frames(t, p.got("video"))
	wantDecodable(t, units)
}

// TestRareKeyframes: a publisher that sends a keyframe only when asked, as browsers do, is asked. A viewer does not run
// through minutes, and gets the old keyframe all the same where no new one comes.
func TestRareKeyframes(t *testing.T) {
	for _, obeys := range []bool{true, false} {
		t.Run(fmt.Sprintf("obeys=%v", obeys), func(t *testing.T) {
			w := newWorld(t)
			c := w.newCamera("cup/cam1", "baseline")
			first := c.pictures
			c.shoot(1)
			c.pictures = first[1:2] // from now on no keyframe
			c.shoot(8 * fps)
			p := newPlayer(w)
			p.watch("/whep/cup/cam1")
			if obeys {
				select {
				case <-c.source.KeyframeRequests():
				case <-time.After(soon):
					t.Fatal("no keyframe was asked for")
				}
				c.pictures = first
				c.n = 0
			}
			c.shoot(1)
			want := 1 + 8*fps + 1
			if obeys {
				want = 1
			}
			// More are to come: a burst may lose its first or last packets to a busy machine. Slowly, as what is lost can be
			// had again only until so many have followed.
			more, next := 0, time.Now()
			w.eventually("the pictures", func() bool {
				if _, n := frames(t, p.got("video")); len(n) >= want {
					return true
				}
				if time.Now().After(next) {
					c.shoot(1)
					more, next = more+1, next.Add(100*time.Millisecond)
				}
				return false
			})
			if _, n := frames(t, p.got("video")); len(n) > want+more {
				t.Errorf("%d frames came, want %d and the %d that followed", len(n), want, more)
			}
		})
	}
}
