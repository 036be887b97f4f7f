package transcoder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"

	"banyan/relay"
	"banyan/relay/frame"
	"banyan/relay/log"
	"banyan/relay/media"
)

// job makes one format of one stream, one process after the other. But for the account it is owned by
// the goroutine of Supply; of the fields, a run's collector has writer, last and floor to itself while
// the run lasts.
type job struct {
	t      *Transcoder
	stream *relay.Stream
	target Target
	out    *log.Writer
	logger *slog.Logger

	source  *log.Log
	reader  *frame.Reader // nil where the next run has to look for its place
	pending *frame.Frame  // read, but not fed: it needs another run
	start   media.Time    // where a first run begins

	writer      *frame.Writer
	params      media.Params // that writer was made for
	of          media.Params // the source's at that time
	last        int64        // newest ticks written, or noTicks
	floor       int64        // audio: ticks before are there to warm the decoder up
	silentStart bool         // the frame to begin with is silence that we made
	leapt       bool         // time went back: what was written before says nothing about what comes

	breaker breaker
	account account
}

// noTicks stands for "nothing yet".
const noTicks = -1 << 62

// maxLag is how far a process may fall behind the source before it skips to the newest keyframe.
const maxLag = 6 * time.Second

func newJob(t *Transcoder, s *relay.Stream, target Target, w *log.Writer) *job {
	id := media.TrackID{Stream: s.Name(), Format: target.Format, Kind: target.Kind}
	j := &job{t: t, stream: s, target: target, out: w, last: noTicks, logger: t.config.Logger.With("track", id.String())}
	j.account.worker = Worker{Track: id, State: Waiting, Since: time.Now(), Encoder: t.encoders[target.Codec].name}
	return j
}

// run makes the format: wait until it may start, find a frame to start with, run a process, look why
// it ended, again.
func (j *job) run(ctx context.Context) error {
	sub, err := j.stream.SubscribeAfter(media.Source, j.target.Kind, j.lacked())
	if err != nil {
		return err
	}
	defer sub.Close()
	j.source = sub.Log()
	j.account.read(j.source)
	for {
		if err := j.pause(ctx); err != nil {
			return err
		}
		first, err := j.first(ctx)
		if err != nil {
			return err
		}
		if err := j.attempt(ctx, first); err != nil {
			return err
		}
	}
}

// pause waits out the breaker.
func (j *job) pause(ctx context.Context) error {
	wait := j.breaker.wait(time.Now())
	if wait == 0 {
		return ctx.Err()
	}
	state := Backoff
	if j.breaker.open {
		state = Open
	}
	j.account.enter(state)
	return sleep(ctx, wait)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// first waits for a frame that a decoder can start with.
func (j *job) first(ctx context.Context) (*frame.Frame, error) {
	if j.reader == nil {
		j.seek()
	}
	for {
		f := j.pending
		j.pending = nil
		if f == nil {
			var err error
			if f, err = j.await(ctx); err != nil {
				return nil, err
			}
		}
		if j.stopped(f) {
			continue
		}
		if tooLarge(f.Params) {
			j.drop(dropTooLarge)
			continue
		}
		if j.target.Kind == media.Audio || f.Keyframe {
			j.begin(f)
			return f, nil
		}
		j.drop(dropAwaitKeyframe)
	}
}

// begin forgets a start that has nothing to do with where the source is, whose log was empty when it was sought.
func (j *job) begin(f *frame.Frame) {
	if away := j.start.Sub(f.Time()); away > maxLag {
		j.start = f.Time()
	}
}

// await reads the next frame. While none comes it asks the publisher for a keyframe now and then, as
// one that sends them rarely may not know that somebody waits; where sound has stopped it returns silence.
func (j *job) await(ctx context.Context) (*frame.Frame, error) {
	askEvery := time.Second
	if j.target.Kind == media.Audio {
		askEvery = quietAfter
	}
	if f := j.reader.Next(); f != nil {
		return f, nil
	}
	j.account.enter(Waiting)
	j.source.RequestKeyframe()
	for {
		patience, cancel := context.WithTimeout(ctx, askEvery)
		f, err := j.reader.Read(patience)
		cancel()
		switch {
		case err == nil:
			return f, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("the source of %q is gone: %w", j.stream.Name(), err)
		}
		if f := j.quiet(); f != nil {
			return f, nil
		}
		j.source.RequestKeyframe()
	}
}

// lacked is from where on the source is needed: a worker before this one made the format up to there.
func (j *job) lacked() media.Time {
	after := j.out.Log().Wanted()
	if after > 0 && j.target.Kind == media.Audio {
		after = max(1, after.Add(-warmUp))
	}
	return after
}

// seek places the reader so that a new run continues where output ended, here or on the worker before, or, where there
// was none or it is too long ago, has the segment complete that is being sent now.
func (j *job) seek() {
	newest := j.present()
	from := newest.Floor(j.t.config.Segment)
	next, ok := j.next()
	if !ok {
		next, ok = j.out.Log().Wanted().Add(time.Millisecond), j.out.Log().Wanted() > 0 // shorter than any frame
	}
	if ok && (newest == 0 || newest.Sub(next) < maxLag && next <= newest) { // zero: the source is still to come here
		from = next
	}
	j.start, j.pending = from, nil
	if j.target.Kind == media.Audio {
		from = from.Add(-warmUp)
	}
	cursor := j.source.Cursor(log.KeyframeBefore(from))
	cursor.MaxLag = maxLag
	j.reader = frame.NewReader(cursor)
}

// next is the time after the newest frame written.
func (j *job) next() (media.Time, bool) {
	if j.last == noTicks {
		return 0, false
	}
	return media.TimeAt(j.last+j.step(), j.params.ClockRate), true
}

// step is the length of a frame of output in ticks.
func (j *job) step() int64 {
	switch j.target.Codec {
	case media.Opus:
		return media.OpusFrame
	case media.AAC:
		return media.AACFrame
	}
	return media.VideoClockRate / int64(max(1, j.params.FPS))
}

// attempt runs a process that starts with first. An error means that the job cannot go on.
func (j *job) attempt(ctx context.Context, first *frame.Frame) error {
	asked := time.Now()
	slot, err := j.queue(ctx, *first.Params)
	if err != nil {
		return err
	}
	defer j.t.slots.release(slot)
	const stale = time.Second
	if time.Since(asked) > stale {
		j.reader = nil
		if first, err = j.first(ctx); err != nil {
			return err
		}
	}
	started := time.Now()
	end, err := j.runProcess(ctx, first, slot)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, log.ErrReplaced) {
		return err
	}
	j.settle(end, err, started)
	return nil
}

// settle draws the consequences of how a run ended.
func (j *job) settle(end ending, cause error, started time.Time) {
	j.t.metrics.restarts.WithLabelValues(string(end)).Inc()
	j.account.update(func(w *Worker) {
		w.PID = 0
		w.Restarts++
		w.Trouble = ""
		if end.crash() {
			w.Trouble = fmt.Sprintf("%s: %v", end, cause)
		}
	})
	if !end.crash() {
		if end == endShed {
			j.reader = nil
		}
		j.logger.Debug("format goes on with another process", "reason", end)
		return
	}
	j.reader, j.pending = nil, nil
	j.breaker.crashed(started, time.Now())
	wait := j.breaker.wait(time.Now()).Round(time.Millisecond)
	if j.breaker.open {
		j.logger.Warn("format is suspended after too many crashes", "reason", end, "cause", cause, "retry_in", wait)
		return
	}
	j.logger.Warn("process failed, starting another", "reason", end, "cause", cause, "retry_in", wait)
}

func (j *job) drop(reason string) {
	j.t.metrics.dropped.WithLabelValues(reason).Inc()
	j.account.update(func(w *Worker) { w.Dropped++ })
}

// prepare makes the plan of a run and the writer for its output.
func (j *job) prepare(first *frame.Frame) (plan, error) {
	p := j.plan(first)
	j.of = p.In
	if j.writer != nil && sameOutput(&j.params, &p.Out) {
		p.Out.Sets = j.params.Sets
		j.params = p.Out
		j.writer.Break(p.In.Break)
		return p, nil
	}
	if p.Out.Codec == media.AAC {
		config, err := mpeg4audio.AudioSpecificConfig{
			Type: mpeg4audio.ObjectTypeAACLC, SampleRate: audioRate, ChannelConfig: uint8(p.Out.Channels),
		}.Marshal()
		if err != nil {
			return p, fmt.Errorf("describe AAC: %w", err)
		}
		p.Out.Sets = [][]byte{config}
	}
	p.Out.Break = p.In.Break
	writer, err := frame.NewWriter(j.out, p.Out)
	if err != nil {
		return p, err
	}
	j.writer, j.params = writer, p.Out
	return p, nil
}

func sameOutput(a, b *media.Params) bool {
	return samePicture(a, b) && a.Channels == b.Channels
}

func (j *job) snapshot() Worker { return j.account.snapshot() }
