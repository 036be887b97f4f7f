package hls

import (
	"time"

	"banyan/relay/frame"
	"banyan/relay/media"
)

// A publisher's sound may end while its picture goes on: the microphone is taken away, or the publisher
// returns without one. Players that have begun with sound wait for it for ever, and cannot be told that it
// is no more, as they read the multivariant playlist once. So a rendition of sound goes on with silence for
// as long as there is a picture, whatever its track comes from; the transcoder does the same for the sound
// that it makes, but nobody does for a publisher's own. Where picture and sound stop together nothing is
// filled in. Players that come later are not told of the sound (renditions.go).

const (
	// Silence keeps so far behind the picture: what a sound may be late by and not be lost.
	hushBehind = 300 * time.Millisecond
	// listenEvery is how often that is looked after while no sound comes.
	listenEvery = 100 * time.Millisecond
)

// listen rings when it is to be looked whether sound has ended; never for video. That is when the wall clock shows whole
// multiples of a while, so that all renditions, and the watchdogs of the transcoder, wake the node at once.
func (p *packager) listen() <-chan time.Time {
	if p.id.kind != media.Audio {
		return nil
	}
	return time.After(listenEvery - time.Duration(time.Now().UnixNano())%listenEvery)
}

// hush puts silence beside the picture if that has moved on without sound. more is how long nothing has come
// since it was asked last. A picture that comes in a heap, as where a node begins to carry a stream, is no reason.
func (p *packager) hush(more time.Duration) {
	if p.still += more; p.id.kind != media.Audio || p.still < silence {
		return
	}
	since, until := p.timeline.pictures()
	news := false
	for _, c := range p.cutter.fill(max(since, p.heard), until) {
		news = p.add(&c) || news
	}
	if news {
		p.publish(nil)
	}
}

// fill makes the parts of silence for sound that has not come since the picture was at since, and that is at
// until now. It begins where the sound ended or, if the picture broke off as well, with the picture's segment.
func (c *cutter) fill(since, until media.Time) (done []cut) {
	if c.quiet == nil || c.msn == noSegment || until.Sub(since) < silence {
		return nil
	}
	from := media.TicksOf(c.grid.start(c.grid.at(since.Add(c.grid.part/2))), c.plan.rate)
	if media.DurationOf(from-c.ended, c.plan.rate) < silence {
		from = c.ended
	}
	end := media.TicksOf(until.Add(-hushBehind), c.plan.rate)
	length := c.quietTicks
	for at := from; at+length <= end; at += length {
		done = append(done, c.place(&frame.Frame{Ticks: at, Params: c.params, Keyframe: true, Units: [][]byte{c.quiet}})...)
	}
	return done
}
