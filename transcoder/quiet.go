package transcoder

import (
	"time"

	"banyan/relay/frame"
	"banyan/relay/log"
	"banyan/relay/media"
)

// picture is the log of the picture that the publisher sends beside the sound; nil where it sends none.
func (j *job) picture() *log.Log {
	if !j.stream.Live() {
		return nil
	}
	for _, track := range j.stream.Published() {
		if track.ID.Format == media.Source && track.ID.Kind == media.Video && track.Live {
			return track.Log
		}
	}
	return nil
}

// newestOf is the newest time of a log; zero where there is none.
func newestOf(l *log.Log) media.Time {
	if l == nil {
		return 0
	}
	return l.NewestTime()
}

// present is the source's newest time: of sound that has stopped, as far as silence would have come.
func (j *job) present() media.Time {
	newest := j.source.NewestTime()
	if j.target.Kind != media.Audio {
		return newest
	}
	if p := j.source.Get(j.source.Head() - 1); p != nil && p.Arrived != 0 && media.TimeOf(time.Now()).Sub(p.Arrived) < quietAfter {
		return newest
	}
	return max(newest, newestOf(j.picture()).Add(-quietAfter))
}

// quiet is a frame of silence to begin a run with where the source's sound has stopped, or nil where it
// has not, or nothing can be made of it.
func (j *job) quiet() *frame.Frame {
	params, now := j.source.Params(), j.present()
	if j.target.Kind != media.Audio || params == nil || now.Sub(j.source.NewestTime()) < quietAfter {
		return nil
	}
	unit, _ := frame.Silence(*params)
	if unit == nil {
		return nil
	}
	from := now
	if next, ok := j.next(); ok && next <= now && now.Sub(next) < maxLag {
		from = next
	} else if j.start <= now && now.Sub(j.start) < maxLag {
		from = j.start
	}
	ticks := media.TicksOf(from.Add(-warmUp), params.ClockRate)
	j.silentStart = true
	return &frame.Frame{Ticks: ticks, Params: params, Keyframe: true, Units: [][]byte{unit}}
}

// stopped tells whether sound is from long before the start: from before it stopped.
func (j *job) stopped(f *frame.Frame) bool {
	return j.target.Kind == media.Audio && j.start.Sub(f.Time()) > time.Second
}

// hear tells whether a frame of the source is to be fed. Of picture all are, of sound those that silence
// has not taken the place of.
func (r *run) hear(f *frame.Frame) bool {
	if r.target.Kind != media.Audio {
		return true
	}
	if f.Discontinuity {
		r.fill = filler{} // another epoch may have another clock
	}
	r.fill.clock = f.Params.ClockRate
	shown := newestOf(r.shown)
	if shown != 0 && f.Arrived != 0 {
		shown = shown.Add(-media.TimeOf(time.Now()).Sub(f.Arrived)) // it is read late, after a start
	}
	if r.fill.sound(f.Ticks, f.Ticks+frame.SoundLength(f, r.silentTicks), shown) {
		return true
	}
	r.drop(dropFilled)
	return false
}

// begin notes the frame that the process starts with.
func (r *run) begin(f *frame.Frame, silent bool) {
	r.shown = r.picture()
	if !silent {
		r.hear(f)
		return
	}
	r.fill = filler{clock: f.Params.ClockRate, heard: f.Ticks, end: f.Ticks + r.silentTicks, shown: f.Time().Add(quietAfter)}
}

// listen returns a frame of silence where one is due, else nil.
func (r *run) listen() *frame.Frame {
	if r.silent == nil {
		return nil
	}
	r.shown = r.picture()
	ticks := r.fill.end
	if r.shown == nil || !r.fill.silence(r.silentTicks, newestOf(r.shown)) {
		return nil
	}
	r.t.metrics.silence.Inc()
	return &frame.Frame{Ticks: ticks, Params: &r.plan.In, Keyframe: true, Units: [][]byte{r.silent}}
}
