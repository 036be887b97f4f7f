package hls

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"banyan/relay"
	"banyan/relay/frame"
	"banyan/relay/log"
	"banyan/relay/media"
)

// newQuietStage is a server without a network, for time that is fake: what a part waits for is the media and nothing else.
func newQuietStage(t *testing.T, ctx context.Context, running *sync.WaitGroup, window, linger time.Duration) *stage {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	hub := relay.New(relay.Config{Logger: quiet, Linger: time.Hour})
	server, err := New(Config{Hub: hub, Logger: quiet, Linger: linger, Window: window})
	if err != nil {
		t.Fatal(err)
	}
	running.Go(func() { _ = server.Run(ctx) })
	return &stage{t: t, hub: hub, server: server}
}

// broadcast writes the frames of a track when their media time has come, and late after that, until ctx ends. Frame n has
// the ticks n·step.
func broadcast(ctx context.Context, w *frame.Writer, rate int, step int64, late time.Duration, units func(n int64) [][]byte) error {
	for n := ceilTicks(media.TimeOf(time.Now()), rate, step); ; n++ {
		at := media.TimeAt(n*step, rate).Wall().Add(late)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Until(at)):
		}
		if err := w.Write(frame.Frame{Ticks: n * step, Units: units(n)}); err != nil {
			return err
		}
	}
}

// air broadcasts what the studio has, with pictures that last some ticks each and a keyframe every two seconds.
func (s *studio) air(ctx context.Context, step int64) {
	var both sync.WaitGroup
	if s.video != nil {
		perGroup := 2 * media.VideoClockRate / step
		both.Go(func() {
			_ = broadcast(ctx, s.video, media.VideoClockRate, step, 10*time.Millisecond, func(n int64) [][]byte { return s.clip.pictures[n%perGroup%gop] })
		})
	}
	if s.audio != nil {
		both.Go(func() {
			_ = broadcast(ctx, s.audio, soundRate, media.AACFrame, 30*time.Millisecond, func(n int64) [][]byte {
				return [][]byte{s.clip.sounds[n%int64(len(s.clip.sounds))]}
			})
		})
	}
	both.Wait()
}

// rungs offers formats of a clip that come later than the source, each by its own time.
type rungs struct {
	clip *clip
	late map[media.Format]time.Duration
}

func (r rungs) params() media.Params {
	return media.Params{Codec: media.H264, ClockRate: media.VideoClockRate, Width: 320, Height: 180, FPS: clipRate, Aligned: true}
}

func (r rungs) Offers(*relay.Stream) (offers []relay.Offer) {
	for format := range r.late {
		offers = append(offers, relay.Offer{Format: format, Kind: media.Video, Params: r.params()})
	}
	slices.SortFunc(offers, func(a, b relay.Offer) int { return strings.Compare(string(a.Format), string(b.Format)) })
	return offers
}

func (r rungs) Supply(ctx context.Context, _ *relay.Stream, offer relay.Offer, w *log.Writer) error {
	out, err := frame.NewWriter(w, r.params())
	if err != nil {
		return err
	}
	return broadcast(ctx, out, media.VideoClockRate, clipTicks, r.late[offer.Format], func(n int64) [][]byte { return r.clip.pictures[n%gop] })
}

// place is that of a part.
type place struct {
	msn   int64
	index int
}

// arrivals notes when each part of a rendition is shown first, until ctx ends.
func arrivals(ctx context.Context, p *packager) (when map[place]time.Time, order []place, target time.Duration) {
	when = map[place]time.Time{}
	for {
		now := p.state.Load()
		if now.ready() {
			msn, index := now.position()
			if at := (place{msn, index}); when[at].IsZero() {
				when[at] = time.Now()
				order = append(order, at)
			}
			target = now.target
		}
		select {
		case <-now.changed:
		case <-ctx.Done():
			return when, order, target
		}
	}
}

// H11: each new part is there within one part target of the one before. H38: all renditions have it within one part target of
// each other. H17: at any time each says of all the others how far they are.
func TestRenditionsKeepPace(t *testing.T) {
	c, small := record(t, "320x180"), record(t, "160x90")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		s := newQuietStage(t, ctx, &running, 0, time.Hour)
		s.hub.AddSupplier(rungs{small, map[media.Format]time.Duration{"90p": 60 * time.Millisecond, "180p": 130 * time.Millisecond}})
		studio := newStudio(t, s.hub, "cup/cam1", c, both)
		running.Go(func() { studio.air(ctx, clipTicks) })
		multivariant := s.direct("cup/cam1/index.m3u8")
		ids := []renditionID{{"source", media.Video}, {"180p", media.Video}, {"90p", media.Video}, {"aac", media.Audio}}
		for _, id := range ids {
			if !strings.Contains(multivariant, id.String()+"/index.m3u8") {
				t.Fatalf("%v is no rendition: %s", id, multivariant)
			}
		}
		time.Sleep(4 * time.Second) // all have begun, and parts of what was there before do not come at once any more

		all := make([]map[place]time.Time, len(ids))
		var watched sync.WaitGroup
		for i, id := range ids {
			watched.Go(func() {
				when, order, target := arrivals(ctx, s.server.running("cup/cam1", id))
				all[i] = when
				for j := 1; j < len(order); j++ {
					if wait := when[order[j]].Sub(when[order[j-1]]); j > 1 && wait > target+time.Microsecond {
						t.Errorf("H11: %v: part %v came %v after the one before, over the target of %v", id, order[j], wait, target)
					}
				}
				if len(order) < 140 {
					t.Errorf("%v: %d parts in half a minute", id, len(order))
				}
			})
		}
		for range 29 {
			time.Sleep(1037 * time.Millisecond) // another moment of each second
			synctest.Wait()
			checkReports(t, s, ids)
		}
		cancel()
		watched.Wait()
		checkPace(t, all, testGrid.part)
		running.Wait()
		s.hub.Close()
	})
}

// checkReports looks whether each rendition says of each other exactly how far it is.
func checkReports(t *testing.T, s *stage, ids []renditionID) {
	t.Helper()
	for _, id := range ids {
		got := tagged(s.direct("cup/cam1/"+id.String()+"/"+indexFile), "#EXT-X-RENDITION-REPORT")
		var want []string
		for _, other := range ids {
			if other != id {
				msn, part := s.server.running("cup/cam1", other).state.Load().position()
				want = append(want, fmt.Sprintf(`#EXT-X-RENDITION-REPORT:URI="../%s/index.m3u8",LAST-MSN=%d,LAST-PART=%d`, other, msn, part))
			}
		}
		slices.Sort(got)
		if slices.Sort(want); !slices.Equal(got, want) {
			t.Errorf("H17: %v reports\n%s\nwant\n%s", id, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// checkPace looks whether parts come to all renditions within most of each other.
func checkPace(t *testing.T, all []map[place]time.Time, most time.Duration) {
	t.Helper()
	compared := 0
	for at, first := range all[0] {
		last, everywhere := first, true
		for _, when := range all[1:] {
			w, ok := when[at]
			everywhere = everywhere && ok
			if ok && w.Before(first) {
				first = w
			}
			if ok && w.After(last) {
				last = w
			}
		}
		if !everywhere {
			continue
		}
		if compared++; last.Sub(first) > most {
			t.Errorf("H38: the renditions have part %v within %v of each other, want %v", at, last.Sub(first), most)
		}
	}
	if compared < 140 {
		t.Errorf("%d parts were compared", compared)
	}
}

// H9: EXT-X-TARGETDURATION never changes and no segment is longer, and H10: numbers only grow, whatever the publisher does.
func TestTargetDurationStays(t *testing.T) {
	large, small, other := record(t, "320x180"), record(t, "160x90"), recordAs(t, media.H265, "160x90")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		s := newQuietStage(t, ctx, &running, 16*time.Second, time.Hour)
		perform := func(c *clip, k kinds, step int64, length, pause time.Duration) {
			studio := newStudio(t, s.hub, "cup/cam1", c, k)
			act, end := context.WithTimeout(ctx, length)
			defer end()
			studio.air(act, step)
			studio.publication.Close()
			time.Sleep(pause)
		}
		watch := func(id renditionID, seen *int) {
			target, sequence, breaks := "", int64(0), uint64(0)
			for p := s.server.running("cup/cam1", id); ; {
				now := p.state.Load()
				if now.ready() {
					text := string(now.text(0))
					tags := tagged(text, "#EXT-X-TARGETDURATION")
					if target == "" {
						target = tags[0]
					}
					if *seen++; len(tags) != 1 || tags[0] != target || target != "#EXT-X-TARGETDURATION:2" {
						t.Errorf("H9: %v: %q, was %q", id, tags, target)
					}
					for _, segment := range now.segments {
						if math.Round(segment.length.Seconds()) > 2 {
							t.Errorf("H9: %v: segment %d lasts %v, over the target duration", id, segment.msn, segment.length)
						}
					}
					if now.first() < sequence || now.sequence < breaks {
						t.Errorf("H10: %v: the playlist went back from %d, %d to %d, %d", id, sequence, breaks, now.first(), now.sequence)
					}
					sequence, breaks = now.first(), now.sequence
				}
				select {
				case <-now.changed:
				case <-ctx.Done():
					return
				}
			}
		}
		var seen [2]int
		running.Go(func() {
			time.Sleep(5 * time.Second)
			s.direct("cup/cam1/index.m3u8")
			running.Go(func() { watch(renditionID{"source", media.Video}, &seen[0]) })
			watch(renditionID{"aac", media.Audio}, &seen[1])
		})
		perform(large, both, clipTicks, 21*time.Second, 0)
		perform(small, both, clipTicks, 17300*time.Millisecond, 300*time.Millisecond) // another size
		perform(other, both, clipTicks, 18*time.Second, 7*time.Second)                // another codec; and away
		perform(large, both, 3600, 20*time.Second, 100*time.Millisecond)              // 25 frames a second
		perform(large, audioOnly, clipTicks, 9*time.Second, time.Second)
		perform(large, both, 2*clipTicks, 12100*time.Millisecond, 20*time.Second) // 15; and away for more than a playlist
		perform(large, videoOnly, 7500, 9*time.Second, 0)                         // 12
		cancel()
		running.Wait()
		s.hub.Close()
		for i, n := range seen {
			if n < 350 {
				t.Errorf("%d playlists of rendition %d were looked at", n, i)
			}
		}
	})
}

// H11 in media time, whatever the rate: where frames come when they are due, no part waits longer than the target.
func TestPartsComeInTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &media.Params{Epoch: 1, Codec: media.H264, ClockRate: 90000, Aligned: true}
		var step float64
		if rapid.Bool().Draw(t, "audio") {
			p.Codec, p.ClockRate = media.AAC, rapid.SampledFrom([]int{16000, 22050, 24000, 32000, 44100, 48000}).Draw(t, "rate")
			step = media.AACFrame
		} else {
			p.FPS = rapid.SampledFrom(rates[:]).Draw(t, "fps")
			step = 90000 / p.FPS
			_, broken := math.Modf(testGrid.segment.Seconds() * p.FPS)
			p.Aligned = broken == 0 // the transcoder makes whole frames a segment; of others it promises nothing
		}
		first := int64(rapid.Float64Range(0, 1<<32).Draw(t, "seconds") * float64(p.ClockRate) / step)
		c := newCutter(testGrid)
		last, shown, second := media.Time(0), 0, int64(0)
		for i := range 1500 {
			ticks := int64(float64(first+int64(i)) * step)
			at := media.TimeAt(ticks, p.ClockRate)
			key := p.Codec.Kind() == media.Audio || i == 0 || testGrid.at(at) != testGrid.at(media.TimeAt(int64(float64(first+int64(i)-1)*step), p.ClockRate))
			for _, part := range c.push(&frame.Frame{Ticks: ticks, Params: p, Keyframe: key}) {
				if shown == 0 {
					second = part.msn + 1
				}
				between := part.msn == second && part.index == 0 // the first segment begins anywhere, and may have a frame too many
				if wait := at.Sub(last); shown > 0 && !between && wait > c.plan.target+time.Millisecond/10 {
					t.Fatalf("a part came %v after the one before, over the target of %v", wait, c.plan.target)
				}
				last = at
				shown++
			}
		}
		if shown < 10 {
			t.Fatalf("%d parts", shown)
		}
	})
}
