package whep

import (
	"fmt"
	"time"

	"banyan/relay"
	"banyan/relay/log"
	"banyan/relay/media"
	"banyan/relay/rtc"
	"banyan/relay/rtc/sdp"
)

// lane is what a feed does for one kind.
type lane struct {
	feed   *feed
	kind   media.Kind
	codecs []sdp.Codec // that were negotiated, or while not connected, may be
	track  *rtc.Track  // nil until connected

	switcher rtc.Switcher
	format   media.Format        // what current reads, or next will
	current  *relay.Subscription // what is read; nil before the first keyframe
	next     *relay.Subscription // what to change over to; nil when nothing is pending

	params   *media.Params // of the last packet
	payload  uint8         // the payload type for params
	playable bool          // params can be sent
	began    bool
	fresh    bool // began since the last report
	bursting bool // the last packet was part of a burst

	repairs rtc.Repairs // accounted for

	failing time.Time // since when nothing could be written; zero while all is well

	pending time.Time // since when next is; zero where nothing is
	settled bool      // an old keyframe will do, as no new one came
}

func newLane(f *feed, kind media.Kind, codecs []sdp.Codec) *lane {
	return &lane{feed: f, kind: kind, codecs: codecs}
}

// aim makes format the one that is read, from its next keyframe on, or where nothing is read now, from its last.
func (l *lane) aim(stream *relay.Stream, format media.Format) {
	if format == l.format && !l.lost() {
		return
	}
	if l.current != nil && l.next != nil && !l.ended(l.current) && l.current.Log().ID().Format == format {
		l.next.Close() // the change was called off before it took place
		l.next, l.format, l.pending = nil, format, time.Time{}
		l.switcher.Cancel()
		return
	}
	sub, err := stream.Subscribe(format, l.kind)
	if err != nil {
		return // it went in this moment; the stream changes again
	}
	if l.next != nil {
		l.next.Close()
	}
	l.next, l.format = sub, format
	l.pending, l.settled = time.Now(), false
	if l.track != nil {
		l.start()
	}
}

// connect begins to send on track.
func (l *lane) connect(track *rtc.Track) {
	l.track = track
	if l.next != nil {
		l.start()
	}
}

// start points the switcher at what was subscribed to.
func (l *lane) start() {
	c := l.cursor(l.next.Log())
	c.MaxLag = l.feed.session.server.config.MaxLag
	l.switcher.Switch(c)
}

// cursor begins at the last keyframe where nothing is playing that could go on until the next one, and where that
// keyframe is not too old.
func (l *lane) cursor(track *log.Log) *log.Cursor {
	if l.kind == media.Audio { // every packet is a keyframe; the past is of no use
		return track.Cursor(log.Live())
	}
	c := track.Cursor(log.LastKeyframe())
	key := track.Get(c.Offset())
	old := key != nil && track.NewestTime().Sub(key.Time()) > longestBurst
	if l.playing() || old && !l.settled {
		c = track.Cursor(log.Live()) // before asking, so that the keyframe cannot slip by
		l.feed.wish(track, time.Now())
	}
	return c
}

// hurry sees to a change that waits for a keyframe: it asks for one, and after a while begins with an old one if
// the viewer would see nothing otherwise.
func (l *lane) hurry(now time.Time) {
	if l.kind != media.Video || l.next == nil || l.track == nil {
		return
	}
	if !l.settled && !l.playing() && now.Sub(l.pending) > keyframePatience {
		l.settled = true
		l.start()
		return
	}
	l.feed.wish(l.next.Log(), now)
}

// playing tells whether something that the peer can decode is being read.
func (l *lane) playing() bool { return l.current != nil && l.playable && !l.ended(l.current) }

// lost tells whether what is aimed at has ended, or has turned into something that cannot be sent.
func (l *lane) lost() bool {
	if l.next != nil {
		return l.ended(l.next)
	}
	return l.current == nil || l.ended(l.current)
}

// astray tells whether the plan may need to be made anew.
func (l *lane) astray() bool { return l.lost() || l.next == nil && !l.playable }

func (l *lane) ended(s *relay.Subscription) bool { return s.Log().Closed() }

// drain sends what is there, at most a turn, and tells whether there may be more.
func (l *lane) drain() (more bool, err error) {
	if l.track == nil {
		return false, nil
	}
	for range turn {
		p, lost, switched := l.switcher.Next()
		if p == nil {
			return false, nil
		}
		if switched {
			l.changeOver()
		}
		if p.Params != l.params && !l.learn(p.Params) || !l.playable {
			continue
		}
		if err := l.send(p, lost, switched); err != nil {
			return false, err
		}
	}
	return true, nil
}

// changeOver notes that the switcher reads the next log from now on.
func (l *lane) changeOver() {
	if l.current != nil {
		l.current.Close()
		l.feed.session.server.metrics.switches.Inc()
	}
	l.current, l.next, l.pending = l.next, nil, time.Time{}
	l.track.From(l.current.Log())
}

// account counts what was repaired since it was last called.
func (l *lane) account() {
	if l.track == nil {
		return
	}
	m, now, was := l.feed.session.server.metrics, l.track.Repairs(), l.repairs
	l.repairs = now
	m.repaired.Add(float64(now.Sent - was.Sent))
	m.overShare.Add(float64(now.Refused - was.Refused))
	m.irreparable.Add(float64(now.Missing - was.Missing))
}

// learn looks at new parameters. Where they cannot be sent, another format may do.
func (l *lane) learn(p *media.Params) bool {
	payload, err := l.track.PayloadType(p)
	l.params, l.payload, l.playable = p, payload, err == nil
	if !l.playable && l.next == nil {
		l.feed.retarget()
	}
	return l.playable
}

// send sends p.
func (l *lane) send(p *media.Packet, lost int64, switched bool) error {
	m := l.feed.session.server.metrics
	l.join(p, lost, switched)
	if err := l.track.Send(p, lost, l.payload); err != nil {
		return l.drop(err)
	}
	l.failing = time.Time{}
	l.bursting = l.track.Bursting(p.Ticks)
	if !l.bursting && p.Arrived != 0 {
		m.delay.Observe(media.TimeOf(time.Now()).Sub(p.Arrived).Seconds())
	}
	m.packets[l.kind].Inc()
	m.bytes[l.kind].Add(float64(len(p.Payload)))
	m.skipped[l.kind].Add(float64(lost))
	return nil
}

// drop counts a packet that could not be written, and fails when that has gone on for too long.
func (l *lane) drop(err error) error {
	l.feed.session.server.metrics.dropped.Inc()
	now := time.Now()
	if l.failing.IsZero() {
		l.failing = now
	}
	if now.Sub(l.failing) > writePatience {
		return fmt.Errorf("nothing could be written for %v: %w", writePatience, err)
	}
	return nil
}

// backlog is how far behind live a viewer must be after a change or a skip for the rest to be sent as a burst. A
// viewer that has just come runs through whatever there is.
const backlog = 500 * time.Millisecond

// join begins a burst where p is far behind live because it was chosen so.
func (l *lane) join(p *media.Packet, lost int64, switched bool) {
	if l.began && !switched && lost == 0 || !p.Has(media.Keyframe) {
		return
	}
	newest := l.switcher.Current().NewestTime()
	if !l.began && l.kind == media.Video || newest.Sub(p.Time()) > backlog {
		l.track.Join(p.Ticks, media.TicksOf(newest, p.Params.ClockRate))
	}
	l.fresh = l.fresh || !l.began
	l.began = true
}

// letGo gives back the lane's subscriptions.
func (l *lane) letGo() {
	l.account()
	for _, s := range []*relay.Subscription{l.current, l.next} {
		if s != nil {
			s.Close()
		}
	}
}
