package whep

import (
	"errors"
	"time"

	"banyan/relay"
	"banyan/relay/log"
	"banyan/relay/media"
	"banyan/relay/rtc"
	"banyan/relay/rtc/sdp"
)

// errEnded is why a feed ends that did nothing wrong.
var errEnded = errors.New("the session has ended")

const (
	reportInterval = time.Second            // between sender reports
	lookInterval   = 250 * time.Millisecond // between looks at what no channel tells: logs that went quiet, formats that failed
	turn           = 64                     // packets of one kind before the other kind has its turn
)

// feed moves packets from the tracks' logs to a viewer. It is owned by one goroutine.
type feed struct {
	session *session
	stream  *relay.Stream // of the session's name; another one after the hub forgot the first
	lanes   []*lane       // at most one per kind, video first
	changed <-chan struct{}

	reported time.Time // when the last sender reports were sent
}

func newFeed(v *session) *feed { return &feed{session: v, stream: v.stream} }

// run feeds until the session ends.
func (f *feed) run() error {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	for _, l := range f.lanes {
		l.connect(f.session.Track(l.kind))
	}
	f.retarget()
	for {
		busy, err := f.drain()
		if err != nil {
			return err
		}
		if err := f.report(time.Now()); err != nil {
			return err
		}
		if err := f.wait(busy, ticker.C); err != nil {
			return err
		}
	}
}

// drain sends a turn of every lane and tells whether there is more.
func (f *feed) drain() (busy bool, err error) {
	for i := len(f.lanes) - 1; i >= 0; i-- { // audio first: it is small, and its loss is heard
		more, err := f.lanes[i].drain()
		if err != nil {
			return false, err
		}
		busy = busy || more
	}
	return busy, nil
}

// wait sleeps until there is something to do, or only looks whether there is while busy.
func (f *feed) wait(busy bool, tick <-chan time.Time) error {
	var ready [4]<-chan struct{} // current and next log of each lane
	for i, l := range f.lanes {
		ready[2*i], ready[2*i+1] = l.switcher.Ready()
	}
	var now chan struct{}
	if busy {
		now = alwaysReady
	}
	select {
	case <-f.session.Ending():
		return errEnded
	default:
	}
	select {
	case <-f.session.Ending():
		return errEnded
	case <-ready[0]:
	case <-ready[1]:
	case <-ready[2]:
	case <-ready[3]:
	case <-f.changed:
		f.retarget()
	case <-f.session.asked:
		f.retarget()
	case <-f.session.KeyframeWanted():
		f.requestKeyframe(time.Now())
	case <-tick:
		f.look()
	case <-now:
	}
	return nil
}

var alwaysReady = func() chan struct{} { ch := make(chan struct{}); close(ch); return ch }()

// look finds out what no channel tells.
func (f *feed) look() {
	if f.stream.Closed() { // the hub forgot the stream; its name may have come back
		if stream, err := f.session.server.config.Hub.Stream(f.session.stream.Name()); err == nil {
			f.stream = stream
			f.retarget()
		}
		return
	}
	for _, l := range f.lanes {
		if l.astray() {
			f.retarget()
			return
		}
	}
}

// retarget makes the plan anew: it may have to change with the tracks of the stream, with their parameters, or with
// what the viewer wants.
func (f *feed) retarget() {
	f.changed = f.stream.Changed() // before looking, so that no change is missed
	if f.stream.Closed() {
		f.changed = nil // a stream that is gone never changes
		return
	}
	tracks := f.stream.Tracks()
	wanted := *f.session.wanted.Load()
	for _, l := range f.lanes {
		format, err := choose(tracks, l.kind, l.codecs, wanted)
		if err != nil && wanted != auto {
			format, err = choose(tracks, l.kind, l.codecs, auto) // something is better than nothing
		}
		if err == nil {
			l.aim(f.stream, format)
		}
	}
}

// requestKeyframe passes on the viewer's wish.
func (f *feed) requestKeyframe(now time.Time) {
	m := f.session.server.metrics
	for _, l := range f.lanes {
		track := l.switcher.Current()
		switch {
		case l.kind != media.Video || track == nil:
		case f.session.server.wishes.grant(track, now):
			track.RequestKeyframe()
			m.forwarded.Inc()
		default:
			m.merged.Inc()
		}
	}
}

// report sends sender reports: at once when a track begins, then every second.
func (f *feed) report(now time.Time) error {
	begins := false
	for _, l := range f.lanes {
		begins = begins || l.fresh
		l.fresh = false
	}
	if !begins && now.Sub(f.reported) < reportInterval {
		return nil
	}
	f.reported = now
	return f.session.Report(media.TimeOf(now))
}

// letGo gives back all subscriptions.
func (f *feed) letGo() {
	for _, l := range f.lanes {
		l.letGo()
	}
}

// lane is what a feed does for one kind.
type lane struct {
	feed   *feed
	kind   media.Kind
	codecs []sdp.Codec // that were negotiated
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
		l.next, l.format = nil, format
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
	start := log.LastKeyframe()
	if l.playing() || l.kind == media.Audio { // every packet of audio is a keyframe; its past is of no use
		start = log.Live()
	}
	c := l.next.Log().Cursor(start)
	c.MaxLag = l.feed.session.server.config.MaxLag
	l.switcher.Switch(c)
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
	l.current, l.next = l.next, nil
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
		return err
	}
	if !l.track.Bursting(p.Ticks) && p.Arrived != 0 {
		m.delay.Observe(media.TimeOf(time.Now()).Sub(p.Arrived).Seconds())
	}
	m.packets[l.kind].Inc()
	m.bytes[l.kind].Add(float64(len(p.Payload)))
	m.skipped[l.kind].Add(float64(lost))
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
	for _, s := range []*relay.Subscription{l.current, l.next} {
		if s != nil {
			s.Close()
		}
	}
}
