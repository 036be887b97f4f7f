package transcoder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"banyan/relay/frame"
	"banyan/relay/log"
	"banyan/relay/media"
)

// ending is why a run ended, as it stands in metrics and logs.
type ending string

// The endings.
const (
	endNone   ending = ""
	endChange ending = "parameters" // the source's parameters changed
	endJump   ending = "time-jump"  // the source's time leapt
	endIdle   ending = "idle"       // nothing comes and the publisher is gone
	endAge    ending = "age"        // the transport stream's clock would wrap
	endRate   ending = "bitrate"    // the source became much richer than it was
	endShed   ending = "shed"       // its slot went to a format that is worth more
	endSource ending = "source"     // the source's log has ended
	endExit   ending = "exit"       // the process ended by itself
	endHang   ending = "hang"       // the process was fed and showed nothing
	endFailed ending = "failed"     // it could not be started
)

// endings lists all of them.
var endings = []ending{endChange, endJump, endIdle, endAge, endRate, endShed, endSource, endExit, endHang, endFailed}

func (e ending) crash() bool { return e == endExit || e == endHang || e == endFailed }

// drains tells whether what the process still holds is worth waiting for.
func (e ending) drains() bool { return !e.crash() && e != endShed }

const (
	idleAfter    = 5 * time.Second  // of nothing to feed, a process whose publisher is gone is ended
	drainLimit   = 3 * time.Second  // for a process to put out what it holds
	maxGap       = 30 * time.Second // of media time that is filled with repeated frames or silence
	maxJoin      = time.Second      // the same, between two epochs
	maxAge       = 12 * time.Hour   // the transport stream's clock wraps after 26 hours
	rateAfter    = 10 * time.Second // of running, the bit rate may be reconsidered
	rateGrowth   = 1.5              // by how much it must have grown
	compareEvery = time.Second      // that is looked at; each frame of sound is a keyframe
	newEpoch     = time.Second      // a gap in the output from this on is marked as a discontinuity
)

// run is the life of one process. The goroutine of Supply feeds it, a collector reads what it makes,
// a watchdog ends it when it hangs.
type run struct {
	*job
	plan     plan
	proc     *process
	progress progress
	started  time.Time

	// Owned by the feeder.
	in       input
	newest   media.Time // of what was fed
	damaged  bool       // drop until the next keyframe
	compared time.Time  // when the bit rate was compared to the source's
	fill     filler     // audio
	shown    *log.Log   // audio: the picture beside it, as last looked up; nil for none

	silent      []byte // a frame of silence for the process; nil for video, and where none is known
	silentTicks int64  // its length

	hung      atomic.Bool
	collected chan struct{} // closed when the collector has ended and err is set
	err       error         // why it did; io.EOF where the output just ended
}

// runProcess starts a process, serves it until it ends or has to, and says why.
func (j *job) runProcess(ctx context.Context, first *frame.Frame, slot *slot) (ending, error) {
	leapt, silent := j.leapt, j.silentStart
	j.leapt, j.silentStart = false, false
	if leapt {
		j.last, j.start = noTicks, first.Time()
	}
	p, err := j.prepare(first)
	if err != nil {
		return endFailed, err
	}
	proc, err := startProcess(j.t.config.FFmpeg, args(p), limitsFor(j.t.config, p.Encoder))
	if err != nil {
		return endFailed, err
	}
	if leapt {
		j.writer.Discontinuity()
	}
	in, err := newInput(proc.stdin, p.In, p.Base)
	if err != nil {
		proc.kill()
		_ = proc.wait()
		return endFailed, err
	}
	r := &run{job: j, plan: p, proc: proc, in: in, started: time.Now(), newest: first.Time(), collected: make(chan struct{})}
	if j.target.Kind == media.Audio {
		r.silent, r.silentTicks = frame.Silence(p.In)
		r.begin(first, silent)
	}
	r.progress = progress{patience: j.t.config.Patience, grace: r.grace(first), hold: r.hold()}
	j.account.update(func(w *Worker) { w.PID, w.Params = proc.pid(), p.Out })
	j.account.enter(Running)
	return r.serve(ctx, first, slot)
}

// hold is how much media time the process may keep to itself.
func (r *run) hold() time.Duration {
	if r.target.Kind == media.Audio {
		return 4 * media.OpusFrame * time.Second / audioRate
	}
	return 4 * time.Second / time.Duration(r.plan.Out.FPS)
}

// grace is the time for the first output, longer where there is much to decode before the start.
func (r *run) grace(first *frame.Frame) time.Duration {
	return r.t.config.Grace + max(0, r.start.Sub(first.Time()))
}

func (r *run) serve(ctx context.Context, first *frame.Frame, slot *slot) (ending, error) {
	stop := context.AfterFunc(ctx, r.proc.kill)
	defer stop()
	go r.collect()
	watched := make(chan struct{})
	go r.watch(watched)

	end := r.feed(ctx, first, slot)
	r.proc.stdin.Close()
	if end.drains() && ctx.Err() == nil {
		late := time.AfterFunc(drainLimit, r.proc.kill)
		<-r.collected
		late.Stop()
	}
	r.proc.kill()
	<-r.collected
	exit := r.proc.wait()
	<-watched
	return r.verdict(end, exit)
}

// verdict tells why the run ended, from all that was seen of it.
func (r *run) verdict(end ending, exit error) (ending, error) {
	if errors.Is(r.err, log.ErrReplaced) {
		return end, r.err
	}
	if r.hung.Load() {
		return endHang, errors.New("it is fed and shows nothing")
	}
	if end != endExit {
		return end, nil
	}
	cause := r.err
	if cause == nil || errors.Is(cause, io.EOF) {
		cause = exit
	}
	if cause == nil {
		cause = errors.New("it ended by itself")
	}
	if said := r.proc.stderr.last(); said != "" {
		cause = fmt.Errorf("%w: %s", cause, said)
	}
	return endExit, cause
}

// collect writes what the process makes.
func (r *run) collect() {
	defer close(r.collected)
	r.err = readOutput(r.proc.stdout, r.target.Codec, r.emit)
	if !errors.Is(r.err, io.EOF) {
		r.proc.kill() // or it would wait for somebody to read
	}
}

// emit writes one frame of output, at its absolute time. Time never goes back and no frame comes
// twice, whatever process it is from.
func (r *run) emit(f frame.Frame) error {
	r.progress.made(time.Now())
	f.Ticks += r.plan.Base * int64(r.plan.Out.ClockRate)
	if r.target.Kind == media.Audio {
		f.Ticks = onGrid(r.target.Codec, f.Ticks)
		if f.Ticks < r.floor {
			return nil
		}
	}
	if f.Ticks <= r.last {
		r.drop(dropRepeated)
		return nil
	}
	if r.last != noTicks && media.DurationOf(f.Ticks-r.last, r.plan.Out.ClockRate) > newEpoch {
		r.writer.Discontinuity()
	}
	f.Arrived = media.TimeOf(time.Now())
	err := r.writer.Write(f)
	if errors.Is(err, log.ErrReplaced) {
		return err
	}
	if err != nil { // this frame alone
		r.drop(dropUnwritable)
		return nil //nolint:nilerr // it is counted, and the next one may do
	}
	r.last = f.Ticks
	r.account.made(media.TimeAt(f.Ticks, r.plan.Out.ClockRate))
	r.t.metrics.made(r.target.Kind)
	return nil
}

// watch ends a process that hangs, and passes on what it complains about, at most once a second. It looks when the
// wall clock shows whole multiples of a while, so that the watchdogs of all processes wake the node once and not each
// by itself.
func (r *run) watch(done chan<- struct{}) {
	defer close(done)
	const seldom, often, report = 100 * time.Millisecond, 50 * time.Millisecond, time.Second
	timer := time.NewTimer(seldom)
	defer timer.Stop()
	reported, before, told := time.Now(), verdictFine, false
	for {
		look := seldom
		select {
		case <-r.proc.exited:
			return
		case <-timer.C:
		}
		now := time.Now()
		if r.progress.owes(now) { // else nobody asks; it is a file to read for each process
			r.progress.worked(activityOf(r.proc.pid()), now)
			look = often
		}
		timer.Reset(look - time.Duration(now.UnixNano())%look)
		is := r.progress.verdict(now)
		switch {
		case is == verdictHung:
			r.hung.Store(true)
			r.proc.kill()
		case is == verdictSlow && before != verdictSlow:
			r.t.metrics.slow.Inc()
			if !told { // the counter tells the rest
				told = true
				r.logger.Warn("process is slow: it is fed and shows nothing, but uses the processor; this machine may have too much to do", "pid", r.proc.pid())
			}
		}
		before = is
		if now.Sub(reported) < report {
			continue
		}
		reported = now
		if said := r.proc.stderr.take(); said != "" {
			r.logger.Debug("FFmpeg says", "pid", r.proc.pid(), "line", said)
		}
	}
}
