package hls

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"banyan/relay"
	"banyan/relay/frame"
	"banyan/relay/log"
	"banyan/relay/media"
)

// onDemand offers a format that writes clips as soon as it is asked for.
type onDemand struct {
	t     *testing.T
	clip  *clip
	from  media.Time
	mute  bool // gives nothing
	asked chan struct{}
	hold  chan struct{} // if not nil, nothing is written before it is closed
}

func (d *onDemand) Offers(*relay.Stream) []relay.Offer {
	return []relay.Offer{{Format: "180p", Kind: media.Video, Params: media.Params{Codec: media.H264, ClockRate: media.VideoClockRate,
		Width: 320, Height: 180, FPS: 30, Aligned: true, Bitrate: 400_000}}}
}

func (d *onDemand) Supply(ctx context.Context, _ *relay.Stream, _ relay.Offer, w *log.Writer) error {
	d.asked <- struct{}{}
	if d.hold != nil {
		<-d.hold
	}
	if !d.mute {
		video, err := frame.NewWriter(w, media.Params{Codec: media.H264, ClockRate: media.VideoClockRate, Aligned: true})
		if err != nil {
			return err
		}
		s := studio{t: d.t, clip: d.clip, video: video}
		if err := s.write(d.from, d.from.Add(3500*time.Millisecond)); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}

func TestFormatStartsOnDemand(t *testing.T) {
	s := newStage(t, func(c *Config) { c.Settle = time.Millisecond }) // no source will tell what it is
	d := &onDemand{t: t, clip: record(t, "320x180"), from: second(0), asked: make(chan struct{}, 1), hold: make(chan struct{})}
	release := sync.OnceFunc(func() { close(d.hold) }) // it tells nothing of itself before
	t.Cleanup(release)
	s.hub.AddSupplier(d)
	if _, err := s.hub.Publish("cup/cam1", "test"); err != nil {
		t.Fatal(err)
	}
	m := s.want(200, "cup/cam1/index.m3u8").body
	if !strings.Contains(m, `CODECS="avc1.42c015"`) || !strings.Contains(m, "RESOLUTION=320x180") || !strings.Contains(m, "BANDWIDTH=500000,AVERAGE-BANDWIDTH=400000") {
		t.Errorf("a format on offer is not described as expected: %s", m)
	}
	release()
	<-d.asked // players may go to any variant at any time, so all of them start
	if r := s.want(200, "cup/cam1/180p-video/index.m3u8"); !strings.Contains(r.body, at(0)+".0.mp4") {
		t.Errorf("the first playlist: %s", r.body)
	}
	if m := s.want(200, "cup/cam1/index.m3u8").body; !strings.Contains(m, `CODECS="avc1.64000d"`) {
		t.Errorf("the running format: %s", m)
	}
}

func TestFormatThatGivesNothing(t *testing.T) {
	s := newStage(t, func(c *Config) { c.Start = 200 * time.Millisecond })
	s.hub.AddSupplier(&onDemand{t: t, mute: true, asked: make(chan struct{}, 1)})
	if _, err := s.hub.Publish("cup/cam1", "test"); err != nil {
		t.Fatal(err)
	}
	if r := s.want(503, "cup/cam1/180p-video/index.m3u8"); r.header.Get("Retry-After") == "" {
		t.Errorf("headers %v", r.header)
	}
}

// A ladder stays as a whole while any of its renditions is asked for. One that nobody asks for any more is
// let go, and can be had again.
func TestLadderLingers(t *testing.T) {
	const linger = time.Hour
	var told journal
	s, studio := live(t, 8.5, func(c *Config) { c.Linger, c.Logger = linger, slog.New(slog.NewTextHandler(&told, nil)) })
	s.hub.AddSupplier(&onDemand{t: t, clip: record(t, "320x180"), from: second(0), asked: make(chan struct{}, 9)})
	audio, rung := renditionID{"aac", media.Audio}, renditionID{"180p", media.Video}
	s.want(200, "cup/cam1/index.m3u8")
	others := []*packager{s.server.running("cup/cam1", audio), s.server.running("cup/cam1", rung)}
	for range 4 {
		s.server.unasked("cup/cam1", linger)
		s.want(200, video+"index.m3u8")
		s.server.sweep(time.Now().Add(linger / 2))
	}
	for i, id := range []renditionID{audio, rung} {
		if p := s.server.running("cup/cam1", id); p == nil || p != others[i] {
			t.Errorf("%v went while another rendition of its stream was asked for", id)
		}
	}
	s.want(200, "cup/cam1/180p-video/index.m3u8")
	studio.play(second(8.5), second(8.7)) // a new playlist, with new reports
	reports := tagged(s.listing(video, at(4)+".2.mp4"), "#EXT-X-RENDITION-REPORT")
	for _, want := range []string{`../180p-video/index.m3u8",LAST-MSN=` + at(1) + ",LAST-PART=6", `../aac-audio/index.m3u8",LAST-MSN=` + at(4)} {
		if !slices.ContainsFunc(reports, func(r string) bool { return strings.Contains(r, want) }) {
			t.Errorf("no report says %s: %v", want, reports)
		}
	}

	s.server.sweep(time.Now().Add(linger + time.Second))
	stream, _ := s.hub.Stream("cup/cam1")
	eventually(t, "all subscriptions are closed", func() bool {
		return !slices.ContainsFunc(stream.Tracks(), func(t relay.Track) bool { return t.Readers > 0 })
	})
	eventually(t, "the log says in words why packaging stopped", func() bool {
		return strings.Count(told.String(), `cause="nobody has asked for the stream lately"`) == 3
	})
	s.want(200, video+"index.m3u8")
	if s.server.running("cup/cam1", audio) == nil {
		t.Error("a request for one rendition starts it alone")
	}
}

// unasked makes a ladder one that was asked for so much earlier.
func (s *Server) unasked(stream media.Name, ago time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.ladders[stream]
	l.used = l.used.Add(-ago)
}

// What a stream gets later joins its ladder without being asked for.
func TestLadderIsCompleted(t *testing.T) {
	s, _ := live(t, 8.5, nil)
	s.want(200, "cup/cam1/index.m3u8")
	s.hub.AddSupplier(&onDemand{t: t, clip: record(t, "320x180"), from: second(0), asked: make(chan struct{}, 1)})
	s.server.sweep(time.Now())
	if s.server.running("cup/cam1", renditionID{"180p", media.Video}) == nil {
		t.Error("a format that is offered since was not started")
	}
}
