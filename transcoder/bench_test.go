package transcoder

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"banyan/relay/frame"
	"banyan/relay/media"
)

// BenchmarkLag measures what a format adds to the delay: from a frame of the source written to its log
// until the frame that shows it is in the format's, at the source's own pace, once the process has
// settled. It reports the processor time of the process, too, in thousandths of a core.
func BenchmarkLag(b *testing.B) {
	for _, c := range []struct {
		name   string
		source func() clip
		format media.Format
	}{
		{"360p30-to-360p", func() clip { return video(b, media.H264, "640x360", "30", "8", benchSource...) }, "360p"},
		{"1080p30-to-360p", func() clip { return video(b, media.H264, "1920x1080", "30", "8", benchSource...) }, "360p"},
		{"vp8-to-360p", func() clip { return video(b, media.VP8, "640x360", "30", "8", "-g", "60") }, "360p"},
		{"aac-to-opus", func() clip { return tone(b, media.AAC, "8") }, "opus"},
		{"opus-to-aac", func() clip { return tone(b, media.Opus, "8") }, "aac"},
	} {
		b.Run(c.name, func(b *testing.B) {
			source := c.source()
			for b.Loop() {
				measureLag(b, source, c.format)
			}
		})
	}
}

// benchSource is like what a broadcaster sends: no B-frames, a keyframe every two seconds, off our grid.
var benchSource = []string{"-bf", "0", "-g", "45", "-b:v", "3M"}

// settled is how long a process has to start and to catch up before it counts.
const settled = 3 * time.Second

func measureLag(b *testing.B, source clip, format media.Format) {
	fx := newFixture(b, Config{Logger: slog.New(slog.DiscardHandler), Linger: time.Millisecond,
		Ladders: []Rule{{Match: "**", Formats: []string{"source", string(format)}}}})
	kind := source.params.Codec.Kind()
	sent := map[int64]time.Time{} // by tick of the format's grid
	c := source.from(fx.epoch)
	fx.sendFrame(c, 0)
	fx.offered(format)
	v := fx.watch(format, kind)
	began, pid, used := time.Now(), 0, int64(0)
	for i := 1; i < len(c.frames); i++ {
		due := began.Add(media.DurationOf(c.frames[i].Ticks-c.frames[0].Ticks, c.params.ClockRate))
		time.Sleep(time.Until(due))
		fx.sendFrame(c, i)
		sent[c.frames[i].Ticks] = time.Now()
		if pid == 0 && time.Since(began) > settled {
			pid = fx.worker(format, func(w Worker) bool { return w.PID != 0 }).PID
			used = activityOf(pid).used
		}
	}
	const ticksPerSecond = 100 // of activityOf, USER_HZ
	measured := (time.Since(began) - settled).Seconds()
	b.ReportMetric(float64(activityOf(pid).used-used)*1000/ticksPerSecond/measured, "millicores")

	lags := lagsOf(b, v, sent, c, fx.epoch.Add(settled))
	slices.Sort(lags)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(lags[len(lags)/2]), "p50-ms")
	b.ReportMetric(ms(lags[len(lags)*99/100]), "p99-ms")
	b.ReportMetric(0, "ns/op") // it lasts as long as the clip
	v.sub.Close()
	fx.publication.Close()
}

// BenchmarkStart measures how long a format that nobody watched takes to its first frame, and until it is
// not behind its source any more. The source is live at 1080p30 and a segment is almost over, all of
// which is made first.
func BenchmarkStart(b *testing.B) {
	for _, format := range []media.Format{"360p", "720p"} {
		b.Run(string(format), func(b *testing.B) {
			source := video(b, media.H264, "1920x1080", "30", "8", benchSource...)
			for b.Loop() {
				measureStart(b, source, format)
			}
		})
	}
}

func measureStart(b *testing.B, source clip, format media.Format) {
	const past, caughtUp = 3800 * time.Millisecond, 100 * time.Millisecond
	fx := newFixture(b, Config{Logger: slog.New(slog.DiscardHandler), Linger: time.Millisecond})
	c := source.from(fx.epoch)
	began := time.Now().Add(-past)
	due := func(f *frame.Frame) time.Time {
		return began.Add(media.DurationOf(f.Ticks-c.frames[0].Ticks, c.params.ClockRate))
	}
	next := 0
	for ; due(&c.frames[next]).Before(time.Now()); next++ {
		fx.sendFrame(c, next)
	}
	asked := time.Now()
	v := fx.watch(format, media.Video)
	var first, caught time.Duration
	for ; next < len(c.frames) && caught == 0; next++ {
		time.Sleep(time.Until(due(&c.frames[next])))
		fx.sendFrame(c, next)
		for f := v.frames.Next(); f != nil && caught == 0; f = v.frames.Next() {
			at := f.Arrived.Sub(media.TimeOf(asked))
			if first == 0 {
				first = at
			}
			if f.Arrived.Sub(media.TimeOf(due(f))) < caughtUp {
				caught = at
			}
		}
	}
	if caught == 0 {
		b.Fatalf("after %v the format is still behind", time.Since(asked))
	}
	b.ReportMetric(float64(first.Milliseconds()), "ms-to-first")
	b.ReportMetric(float64(caught.Milliseconds()), "ms-to-live")
	b.ReportMetric(0, "ns/op")
	v.sub.Close()
	fx.publication.Close()
}

// lagsOf drains a format and compares when frames came out with when the frames that they show went
// in: for video that of the same time, for audio the newest that they hold.
func lagsOf(b *testing.B, v *viewer, sent map[int64]time.Time, c clip, from media.Time) []time.Duration {
	b.Helper()
	var lags []time.Duration
	ctx, cancel := context.WithTimeout(b.Context(), 2*time.Second)
	defer cancel()
	for {
		f, err := v.frames.Read(ctx)
		if err != nil {
			break
		}
		if f.Time() < from {
			continue
		}
		if at, ok := sentAt(sent, c, f); ok {
			lags = append(lags, f.Arrived.Sub(media.TimeOf(at)))
		}
	}
	if len(lags) < 50 {
		b.Fatalf("%d frames came out to be measured", len(lags))
	}
	return lags
}

func sentAt(sent map[int64]time.Time, c clip, f *frame.Frame) (time.Time, bool) {
	if c.params.Codec.Kind() == media.Video {
		at, ok := sent[f.Ticks]
		return at, ok
	}
	length, _, _ := audioFrame(f.Params.Codec)
	end := f.Ticks + length
	i, found := slices.BinarySearchFunc(c.frames, end, func(in frame.Frame, end int64) int { return int(in.Ticks - end) })
	if !found {
		i--
	}
	if i < 0 {
		return time.Time{}, false
	}
	at, ok := sent[c.frames[i].Ticks]
	return at, ok
}
