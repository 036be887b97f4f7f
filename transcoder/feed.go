package transcoder

import (
	"context"
	"errors"
	"time"

	"banyan/relay/frame"
	"banyan/relay/media"
)

// feed gives the process frames of the source until it has to end. Between the source's log and the
// pipe there is nothing: a process that is slow leaves its input in the log, where a reader that lags
// skips to a keyframe.
func (r *run) feed(ctx context.Context, f *frame.Frame, slot *slot) ending {
	for {
		if end := r.judge(f); end != endNone {
			r.pending = f
			return end
		}
		if r.usable(f) {
			if end := r.push(f); end != endNone {
				return end
			}
		}
		var end ending
		if f, end = r.wait(ctx, slot); end != endNone {
			return end
		}
	}
}

// judge tells whether f needs another process.
func (r *run) judge(f *frame.Frame) ending {
	ahead := f.Time().Sub(r.newest)
	if f.Discontinuity {
		if !f.Params.Equal(&r.plan.In) {
			r.leapt = ahead < -maxJoin
			return endChange
		}
		if ahead > maxJoin || ahead < -maxJoin {
			r.leapt = ahead < 0
			return endJump
		}
	}
	if ahead > maxGap || ahead < -maxGap {
		r.leapt = ahead < 0
		return endJump
	}
	if !f.Keyframe {
		return endNone
	}
	running := time.Since(r.started)
	if f.Time().Sub(media.Time(r.plan.Base)*media.Time(time.Second)) > maxAge && running > rateAfter {
		return endAge
	}
	if now := time.Now(); running > rateAfter && now.Sub(r.compared) > compareEvery {
		r.compared = now
		if r.outgrown() {
			return endRate
		}
	}
	return endNone
}

// outgrown tells whether the source has become so much richer that the output should be too: a cap
// that was taken from a still picture must not stay when it moves, nor one from a poor voice when there is music. Sound
// that is good enough stays as it is, as another process may be heard to begin.
func (r *run) outgrown() bool {
	source, out := sourceOf(r.plan.In, r.source), &r.plan.Out
	if r.target.Kind == media.Audio {
		want := audioParams(r.target, source)
		return out.Bitrate < plainSound*want.Channels && float64(want.Bitrate) > rateGrowth*float64(out.Bitrate)
	}
	want := videoParams(r.target, source)
	return float64(want.Bitrate) > rateGrowth*float64(out.Bitrate) || want.FPS > rateGrowth*out.FPS
}

// usable tells whether a decoder can make something of f. After a loss of video it takes a keyframe,
// for which the publisher is asked.
func (r *run) usable(f *frame.Frame) bool {
	if r.target.Kind == media.Audio {
		return true
	}
	if f.Lost || f.Discontinuity {
		r.damaged = true
	}
	if f.Keyframe {
		r.damaged = false
	}
	if r.damaged {
		r.drop(dropDamaged)
		r.source.RequestKeyframe()
	}
	return !r.damaged
}

// push writes f to the pipe, which may take a while.
func (r *run) push(f *frame.Frame) ending {
	r.newest = max(r.newest, f.Time())
	r.progress.fed(f.Time(), time.Now())
	err := r.in.write(f)
	r.progress.taken()
	var bad *badFrame
	switch {
	case errors.As(err, &bad):
		r.drop(dropUnusable)
		return endNone
	case err != nil:
		return endExit
	}
	r.account.update(func(w *Worker) { w.In++ })
	r.t.metrics.fed(r.target.Kind)
	return endNone
}

// wait returns the next frame, or why there will be none for this process. Where sound has stopped it is
// a frame of silence.
func (r *run) wait(ctx context.Context, slot *slot) (*frame.Frame, ending) {
	began := time.Now()
	for {
		select {
		case <-slot.taken:
			return nil, endShed
		default:
		}
		if f := r.reader.Next(); f != nil {
			if r.hear(f) {
				return f, endNone
			}
			continue
		}
		if r.reader.Cursor().Ended() {
			return nil, endSource
		}
		if f := r.listen(); f != nil {
			return f, endNone
		}
		if time.Since(began) > idleAfter && !r.stream.Live() {
			return nil, endIdle
		}
		if end := r.sleep(ctx, slot); end != endNone {
			return nil, end
		}
	}
}

// sleep waits until there may be something to do.
func (r *run) sleep(ctx context.Context, slot *slot) ending {
	limit := idleAfter
	if r.silent != nil {
		limit = listenEvery
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-r.reader.Ready():
	case <-slot.taken:
	case <-timer.C:
	case <-r.collected:
		return endExit
	case <-ctx.Done():
		return endExit
	}
	return endNone
}
