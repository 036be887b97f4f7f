package whep_test

import (
	"context"
	"testing"
	"time"

	"banyan/relay"
	"banyan/relay/frame"
	"banyan/relay/log"
	"banyan/relay/media"
)

// lateStarter supplies opus as a process does that starts: seconds of backlog as fast as it can, then sound in real time;
// and after a pause, in which it missed as much, once more.
type lateStarter struct {
	backlog time.Duration
	began   chan struct{} // gets one for each backlog that is written
}

func (l *lateStarter) Offers(*relay.Stream) []relay.Offer {
	return []relay.Offer{{Format: "opus", Kind: media.Audio, Params: media.Params{Codec: media.Opus, ClockRate: 48000, Channels: 2, SampleRate: 48000}}}
}

func (l *lateStarter) Supply(ctx context.Context, _ *relay.Stream, offer relay.Offer, w *log.Writer) error {
	writer, err := frame.NewWriter(w, offer.Params)
	if err != nil {
		return err
	}
	ticker := time.NewTicker(5 * time.Millisecond) // several at a time, as FFmpeg does
	defer ticker.Stop()
	const length = 20 * time.Millisecond
	at := time.Now().Add(-l.backlog).Truncate(length)
	for pauses := 0; ; {
		quick := time.Since(at) > 2*length
		for n := 0; n < 10 && time.Since(at) > length; n++ {
			if err := writer.Write(frame.Frame{Ticks: media.TicksOf(media.TimeOf(at), 48000), Units: [][]byte{silence}}); err != nil {
				return err
			}
			at = at.Add(length)
		}
		if quick && time.Since(at) < 2*length && pauses < 2 { // it is live now
			l.began <- struct{}{}
			if pauses++; pauses == 1 {
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(l.backlog):
				}
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// keepTime shoots so that the newest picture is always of now, however slow the machine: it says what is live.
func (c *camera) keepTime() (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(time.Second / (4 * fps))
		defer ticker.Stop()
		for {
			for c.ticks < media.TicksOf(media.TimeOf(time.Now()), media.VideoClockRate) {
				c.shoot(1)
			}
			select {
			case <-done:
				return
			case <-ticker.C:
			}
		}
	}()
	return func() { close(done); <-stopped }
}

// kept is the most sound that a player which plays each packet of 20 ms as soon as it can had to keep at a time.
func (p *player) kept() (packets int, most time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var level time.Duration
	times := p.arrived["audio"]
	for i, at := range times {
		if i > 0 {
			level = max(0, level-at.Sub(times[i-1]))
		}
		level += 20 * time.Millisecond
		most = max(most, level)
	}
	return len(times), most
}

// TestBacklogOfSoundIsNotSent: a player would keep all of it, and be late by as much for a minute.
func TestBacklogOfSoundIsNotSent(t *testing.T) {
	w := newWorld(t)
	maker := &lateStarter{backlog: 1500 * time.Millisecond, began: make(chan struct{}, 2)}
	w.hub.AddSupplier(maker)
	publication, err := w.hub.Publish("cup/aac", "test")
	if err != nil {
		t.Fatal(err)
	}
	source, err := publication.Source(media.Video)
	if err != nil {
		t.Fatal(err)
	}
	c := &camera{
		t: w, publication: publication, source: source, pictures: pictures(w, "baseline", "320x180"),
		video: newWriter(w, source, media.Params{Codec: media.H264, ClockRate: media.VideoClockRate}, publication),
		ticks: media.TicksOf(media.TimeOf(time.Now()), media.VideoClockRate),
	}
	c.shoot(1)
	defer c.keepTime()()

	p := newPlayer(w)
	p.watch("/whep/cup/aac")
	for range 2 {
		<-maker.began
		before := len(p.got("audio"))
		w.eventually("sound that is live", func() bool { return len(p.got("audio")) > before+20 })
	}
	packets, most := p.kept()
	const bound = 600 * time.Millisecond // of the backlog's 1500
	if most > bound {
		t.Errorf("of %d packets of sound, the player had to keep %v at a time, want at most %v", packets, most, bound)
	}
}
