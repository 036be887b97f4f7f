package whep

import (
	"errors"
	"slices"
	"time"

	"banyan/relay"
	"banyan/relay/log"
	"banyan/relay/media"
	"banyan/relay/rtc/engine"
	"banyan/relay/rtc/engine/congestion"
)

// errEnded is why a feed ends that did nothing wrong.
var errEnded = errors.New("the session has ended")

const (
	reportInterval = time.Second            // between sender reports
	lookInterval   = 250 * time.Millisecond // between looks at what no channel tells: logs that went quiet, formats that failed
	turn           = 64                     // packets of one kind before the other kind has its turn

	// A burst is sent in turns with a pause between, 100 Mbit/s at most: all at once it would overflow the buffers
	// on its way.
	burstPause = 5 * time.Millisecond
	// A burst never stands for more than longestBurst. A publisher that sends keyframes more seldom, as browsers do,
	// is asked for one, and given keyframePatience to send it.
	longestBurst     = 5 * time.Second
	keyframePatience = time.Second
	// A viewer to whom nothing can be written for writePatience is cut: no route, no buffers. Who takes packets and
	// reads nothing is cut by package rtc.
	writePatience = 10 * time.Second
)

// feed moves packets from the tracks' logs to a viewer. It is owned by one goroutine at a time: its own, which runs it,
// or one of the engine's, for which it is an engine.Feed.
type feed struct {
	senders []*sender // at most one per kind, video first
	changed <-chan struct{}
	now     time.Time // when this turn began: clocks are not read per packet
	metrics *metrics

	reported time.Time // when the last sender reports were sent
	fresh    bool      // a sender began since
	aimed    bool      // a sender was aimed at another log since the last turn began
	next     engine.Next

	session *session
	stream  *relay.Stream // of the session's name; another one after the hub forgot the first

	fit fit
}

func newFeed(v *session) *feed {
	return &feed{session: v, stream: v.stream, metrics: v.server.metrics}
}

// run feeds until the session ends.
func (f *feed) run() error {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	f.begin()
	for {
		busy, err := f.drain(time.Now(), engine.All)
		if err != nil {
			return err
		}
		now := time.Now()
		f.Sent(now) // a plain connection writes at once
		f.report(now)
		if err := f.wait(busy, ticker.C); err != nil {
			return err
		}
	}
}

// begin connects the feed. It comes before everything else.
func (f *feed) begin() {
	f.connect()
	f.retarget()
}

// connect gives each sender its track. An answer to our own offer may have refused some, or some of their codecs.
func (f *feed) connect() {
	if c, ok := f.session.connection.(native); ok && c.Estimated() {
		f.fit.line = c
	}
	f.senders = slices.DeleteFunc(f.senders, func(s *sender) bool {
		track := f.session.Track(s.kind)
		if track == nil {
			s.letGo()
			return true
		}
		s.codecs = track.Codecs()
		s.connect(track)
		return false
	})
}

// drain sends a turn of every sender that is due, at now, and tells whether there is more.
func (f *feed) drain(now time.Time, due engine.Due) (busy bool, err error) {
	f.now = now
	for i := len(f.senders) - 1; i >= 0; i-- { // audio first: it is small, and its loss is heard
		if !concerns(due, i) {
			continue
		}
		s := f.senders[i]
		if s.kind == media.Video {
			f.fit.begin(f)
		}
		more, err := s.drain()
		if err != nil {
			return false, err
		}
		busy = busy || more
		f.next.Logs[2*i], f.next.Logs[2*i+1] = s.switcher.Current(), s.switcher.Pending()
	}
	return busy, nil
}

// concerns tells whether sender i has something to do.
func concerns(due engine.Due, i int) bool { return due.Has(2*i) || due.Has(2*i+1) }

// wait sleeps until there is something to do, or only looks whether there is while busy.
func (f *feed) wait(busy bool, tick <-chan time.Time) error {
	var ready [4]<-chan struct{} // current and next log of each sender
	for i, s := range f.senders {
		ready[2*i], ready[2*i+1] = s.switcher.Ready()
	}
	var now <-chan struct{}
	var later <-chan time.Time
	switch {
	case busy && f.bursting():
		later = time.After(burstPause)
	case busy:
		now = alwaysReady
	}
	if busy {
		ready = [4]<-chan struct{}{} // they say what is known already
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
	case <-f.session.KeyframeRequests():
		f.passOn(time.Now())
	case <-tick:
		f.look()
	case <-now:
	case <-later:
	}
	return nil
}

// Turn implements engine.Feed.
func (f *feed) Turn(now time.Time, due engine.Due) (engine.Next, error) {
	if heard(f.changed) {
		f.retarget()
		due = engine.All
	}
	if due == engine.All && heard(f.session.KeyframeRequests()) {
		f.passOn(now)
	}
	f.aimed = false
	busy, err := f.drain(now, due)
	if err != nil {
		return engine.Next{}, err
	}
	padding := false
	if !busy && concerns(due, 0) { // video comes first
		if padding, err = f.fit.pad(); err != nil {
			return engine.Next{}, err
		}
	}
	f.report(now)
	f.next.More, f.next.Pause = busy || padding || f.aimed, 0 // what a sender was aimed at is looked at soon
	switch {
	case !f.next.More:
	case padding || !f.fit.open(media.Video):
		f.next.Pause = congestion.PaceTurn
	case f.bursting():
		f.next.Pause = burstPause
	}
	return f.next, nil
}

// Sent implements engine.Feed.
func (f *feed) Sent(now time.Time) {
	at := media.TimeOf(now)
	for _, s := range f.senders {
		s.tally.sent(f.metrics, at)
	}
}

// heard tells whether there is something in a channel, and takes it out.
func heard(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// Look implements engine.Feed. It sees to what comes so seldom that to look for it each turn would cost more than all
// else but sending.
func (f *feed) Look(now time.Time) error {
	if heard(f.session.asked) {
		f.retarget()
	}
	f.look()
	return nil
}

// bursting tells whether a sender is in the midst of a burst.
func (f *feed) bursting() bool {
	return slices.ContainsFunc(f.senders, func(s *sender) bool { return s.bursting })
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
	for _, s := range f.senders {
		s.tally.addTo(f.session.server.metrics, s.kind)
		s.hurry(time.Now())
	}
	if slices.ContainsFunc(f.senders, (*sender).astray) {
		f.retarget()
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
	tracks := tracksOf(f.stream)
	wanted := *f.session.wanted.Load()
	f.fit.read = time.Time{}
	for _, s := range f.senders {
		wanted := f.fit.aimed(s.kind, wanted)
		format, err := choose(tracks, s.kind, s.codecs, wanted)
		if err != nil && wanted != auto {
			format, err = choose(tracks, s.kind, s.codecs, auto) // something is better than nothing
		}
		if err == nil {
			s.aim(f.stream, format)
		}
	}
}

// passOn passes on the viewer's request for a keyframe.
func (f *feed) passOn(now time.Time) {
	for _, s := range f.senders {
		if track := s.switcher.Current(); s.kind == media.Video && track != nil {
			f.requestKeyframe(track, now)
		}
	}
}

// requestKeyframe asks whoever writes track for a keyframe, unless somebody has just done so.
func (f *feed) requestKeyframe(track *log.Log, now time.Time) {
	server := f.session.server
	if !server.keyframes.allow(track, now) {
		server.metrics.merged.Inc()
		return
	}
	track.RequestKeyframe()
	server.metrics.forwarded.Inc()
}

// report sends sender reports: at once when a track begins, then every second. One that cannot be sent is no loss.
func (f *feed) report(now time.Time) {
	if !f.fresh && now.Sub(f.reported) < reportInterval {
		return
	}
	f.reported, f.fresh = now, false
	for _, s := range f.senders {
		s.account()
	}
	_ = f.session.Report(media.TimeOf(now))
}

// letGo gives back all subscriptions.
func (f *feed) letGo() {
	for _, s := range f.senders {
		s.letGo()
	}
}
