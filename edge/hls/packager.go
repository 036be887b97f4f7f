package hls

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"banyan/relay"
	"banyan/relay/frame"
	"banyan/relay/log"
	"banyan/relay/media"
)

// packager makes one rendition of one stream: it reads the frames of a track, builds each part once,
// and publishes a new state of the playlist after each batch. Whoever waits for something waits for
// states; there is no list of waiters.
type packager struct {
	hub      *relay.Hub
	stream   media.Name
	id       renditionID
	timeline *timeline
	metrics  *metrics
	logger   *slog.Logger
	grid     grid
	bounds   windowConfig
	reports  func(*state) []report // how far the renditions of the stream are
	zipper   *zipper

	cancel context.CancelCauseFunc
	used   time.Time // when it was last asked for, or started; guarded by Server.mu
	state  atomic.Pointer[state]
	place  atomic.Int32 // among the pictures of the stream by bit rate; zero where not known

	mu     sync.RWMutex // guards window; written by run only
	window *window

	// Owned by run.
	cutter  *cutter
	last    *media.Params // of the newest part
	mapHint initID        // an init section that is ready, and that no part has yet
	shown   int64         // the newest segment with a part
	heard   media.Time    // how far the picture was when sound last came
	still   time.Duration // since then, or a little less
	live    bool          // history has been read
	warned  bool
	counted dropCounts // drops of cutter that are in the metrics
}

// run packages until ctx ends or the stream goes for good. It publishes a last state that says how it
// ended.
func (p *packager) run(ctx context.Context) {
	p.logger.Info("packaging started", "stream", p.stream, "rendition", p.id.String())
	err := p.follow(ctx)
	p.logger.Info("packaging stopped", "stream", p.stream, "rendition", p.id.String(), "cause", err)
	if errors.Is(err, relay.ErrNoStream) {
		p.finish()
	}
	p.publish(err)
}

// finish closes the last segment with what has come.
func (p *packager) finish() {
	for _, c := range p.cutter.flush(0, false) {
		p.add(&c)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.window.end()
}

// follow reads the track, and whatever log takes the place of its log.
func (p *packager) follow(ctx context.Context) error {
	const pause = 200 * time.Millisecond // between attempts at a format that failed
	for {
		err := p.read(ctx)
		begun := p.state.Load().ready()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, errMoved):
			continue
		case errors.Is(err, relay.ErrNoStream), errors.Is(err, relay.ErrNoTrack) && !begun:
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
		p.hush(pause)
	}
}

// read reads one track until it ends, or is no longer the one that the rendition is made of.
func (p *packager) read(ctx context.Context) error {
	stream, err := p.hub.Stream(p.stream)
	if err != nil {
		return err
	}
	changed := stream.Changed()
	p.heed(stream)
	format, ok := trackOf(stream, p.id)
	if !ok {
		return fmt.Errorf("rendition %q of stream %q: %w", p.id, p.stream, relay.ErrNoTrack)
	}
	subscription, err := stream.Subscribe(format, p.id.kind)
	if err != nil {
		return err
	}
	defer subscription.Close()
	source := subscription.Log()
	cursor := source.Cursor(log.KeyframeBefore(0)) // the oldest of the window: history makes the first playlist whole
	reader := frame.NewReader(cursor)
	listen := p.listen()
	for listened, look := false, false; ; {
		news, foreign := p.drain(reader, source)
		if news {
			p.publish(nil)
		}
		p.live = true
		if listened {
			p.hush(listenEvery)
			look = look || p.still >= silence
		}
		if (foreign || look) && p.moved(stream, format) {
			return errMoved
		}
		if cursor.Ended() {
			return nil
		}
		listened, look = false, false
		select {
		case <-reader.ReadyAt(p.cutter.due()):
		case <-listen:
			listen, listened = p.listen(), true
		case <-changed:
			changed, look = stream.Changed(), true
			p.heed(stream)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// errMoved ends the reading of a track that is not what the rendition is made of any more.
var errMoved = errors.New("the rendition is made of another track now")

// moved tells whether the rendition is made of another track by now.
func (p *packager) moved(stream *relay.Stream, from media.Format) bool {
	now, ok := trackOf(stream, p.id)
	return ok && now != from
}

// drain takes all frames that are there. It tells whether anything new is to be published, and whether there
// were frames of another codec, which are not of this rendition.
func (p *packager) drain(reader *frame.Reader, source *log.Log) (news, foreign bool) {
	for f := reader.Next(); f != nil; f = reader.Next() {
		if f.Discontinuity {
			p.learn(f.Params)
		}
		if p.id.kind == media.Audio {
			if f.Params.Codec != media.Codec(p.id.format) {
				foreign = true
				continue
			}
			_, p.heard = p.timeline.pictures()
			p.still = 0
		}
		p.orient(f, source)
		p.cutter.format = source.ID().Format
		for _, c := range p.cutter.push(f) {
			news = p.add(&c) || news
		}
	}
	for reason, n := range p.cutter.dropped {
		p.metrics.dropped.WithLabelValues(dropReason(reason).String()).Add(float64(n - p.counted[reason]))
	}
	p.counted = p.cutter.dropped
	return news, foreign
}

// heed learns of the breaks of the publisher's tracks, whether the rendition is made of them or not: the discontinuity is
// to stand before the same segment everywhere, so all must know before they show it.
func (p *packager) heed(stream *relay.Stream) {
	for _, t := range stream.Published() {
		if t.Params != nil {
			p.learn(t.Params)
		}
	}
}

func (p *packager) learn(params *media.Params) {
	k := int64(noSegment)
	if b := params.Break; b.At != 0 {
		k = p.grid.at(media.BreakAt(b.At, p.grid.segment))
	}
	p.timeline.learn(params.Break.Number, k)
}

// orient prepares for a frame that is the first, or the first of an epoch.
func (p *packager) orient(f *frame.Frame, source *log.Log) {
	switch newest := p.cutter.msn; {
	case newest == noSegment && p.cutter.after == noSegment:
		// Half a segment is of use only while there is no whole one.
		k := p.grid.at(f.Time())
		if late := f.Time().Sub(p.grid.start(k)); late > p.grid.part/2 && p.grid.at(source.NewestTime()) > k {
			p.cutter.after = k
		}
	case f.Discontinuity && newest != noSegment && p.grid.at(f.Time()) < newest-int64(p.bounds.listed):
		// Media time went back by more than a playlist: the clock of the track's birthplace was wrong, before
		// or now. Waiting for it to catch up could take hours, so numbers start over.
		p.logger.Warn("media time went back: numbering starts over", "stream", p.stream, "rendition", p.id.String())
		p.restart()
	}
	if !f.Discontinuity || p.last == nil || p.last.Equal(f.Params) {
		return
	}
	if id := (initID{source.ID().Format, f.Params.Epoch}); f.Keyframe && p.initFor(id, f) {
		p.mapHint = id
	}
}

func (p *packager) restart() {
	p.cutter, p.counted = newCutter(p.grid), dropCounts{}
	p.mu.Lock()
	p.window.reset()
	p.mu.Unlock()
}

// initFor makes sure that there is an init section of that name, for f and what follows.
func (p *packager) initFor(id initID, f *frame.Frame) bool {
	p.mu.RLock()
	known := p.window.init(id) != nil
	p.mu.RUnlock()
	if known {
		return true
	}
	section, err := initSection(f)
	if err != nil {
		p.warn(err)
		return false
	}
	p.mu.Lock()
	p.window.inits = append(p.window.inits, initEntry{id, section})
	p.mu.Unlock()
	return true
}

// add builds a part and puts it into the window.
func (p *packager) add(c *cut) bool {
	if !p.initFor(c.init, c.frames[0]) {
		return false
	}
	data, err := fragment(c, uint32(c.msn)*uint32(c.plan.parts)+uint32(c.index))
	if err != nil {
		p.warn(err)
		return false
	}
	if stream, err := p.hub.Stream(p.stream); err == nil && c.msn > p.shown {
		p.heed(stream)
	}
	p.shown = max(p.shown, c.msn)
	p.timeline.show(c.msn)
	p.mu.Lock()
	added := p.window.add(c, data)
	p.mu.Unlock()
	if !added {
		return false
	}
	p.last = c.params()
	if p.mapHint == c.init {
		p.mapHint = initID{}
	}
	if p.id.kind == media.Video {
		p.timeline.draw(c.span())
	}
	p.metrics.parts.Inc()
	if arrived := c.frames[len(c.frames)-1].Arrived; p.live && arrived != 0 {
		p.metrics.delay.Observe(time.Since(arrived.Wall()).Seconds())
	}
	return true
}

// warn logs what keeps frames out of parts, once for each packager.
func (p *packager) warn(err error) {
	p.metrics.unpackable.Inc()
	if !p.warned {
		p.warned = true
		p.logger.Warn("frames cannot be packaged", "stream", p.stream, "rendition", p.id.String(), "cause", err)
	}
}

// publish shows the window as it is. err is why nothing will follow, nil while something may.
func (p *packager) publish(err error) {
	p.mu.RLock()
	l := p.window.snapshot()
	p.mu.RUnlock()
	l.longest = p.timeline.longest(p.id, l.target)
	if err != nil {
		p.timeline.leave(p.id)
	}
	l.mapHint, l.ended = p.mapHint, errors.Is(err, relay.ErrNoStream)
	next := &state{listing: l, err: err, changed: make(chan struct{}), owner: p}
	if next.ready() {
		last, _ := l.position()
		next.marks, next.sequence = p.timeline.within(l.first(), last)
	}
	before := p.state.Swap(next)
	close(before.changed)
}

// file gives the bytes of an init section, a segment or a part, or nil where there is no such thing. A segment that is
// a gap has none: players that know no gaps take that for its end and go on, where an error would have GStreamer ask
// again, a hundred times a second, for as long as the gap is listed.
func (p *packager) file(r *resource) []byte {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if r.kind == initFile {
		return p.window.init(r.init)
	}
	s := p.window.find(r.msn)
	switch {
	case s == nil:
		return nil
	case r.kind == segmentFile && s.gap && s.data == nil:
		return []byte{}
	case r.kind == segmentFile:
		return s.data // of one that broke off what there is of it, for players that know no gaps
	case r.part < len(s.parts):
		return s.parts[r.part].data // nil for a gap
	}
	return nil
}

// bitrate is the peak and the mean of the retained segments, in bits per second; zero while unknown.
func (p *packager) bitrate() (peak, mean int) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var bytes int
	var length time.Duration
	for _, s := range p.window.segments {
		if s.data == nil || s.gap {
			continue
		}
		bytes += len(s.data)
		length += s.length
		peak = max(peak, int(float64(len(s.data)*8)/s.length.Seconds()))
	}
	if length > 0 {
		mean = int(float64(bytes*8) / length.Seconds())
	}
	return peak, mean
}
