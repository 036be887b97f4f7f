package whep

import (
	"errors"
	"slices"
	"time"

	"banyan/relay"
	"banyan/relay/log"
	"banyan/relay/media"
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

// feed moves packets from the tracks' logs to a viewer. It is owned by one goroutine.
type feed struct {
	session *session
	stream  *relay.Stream // of the session's name; another one after the hub forgot the first
	senders []*sender     // at most one per kind, video first
	changed <-chan struct{}

	reported time.Time // when the last sender reports were sent
}

func newFeed(v *session) *feed { return &feed{session: v, stream: v.stream} }

// run feeds until the session ends.
func (f *feed) run() error {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	f.connect()
	f.retarget()
	for {
		busy, err := f.drain()
		if err != nil {
			return err
		}
		f.report(time.Now())
		if err := f.wait(busy, ticker.C); err != nil {
			return err
		}
	}
}

// connect gives each sender its track. An answer to our own offer may have refused some, or some of their codecs.
func (f *feed) connect() {
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

// drain sends a turn of every sender and tells whether there is more.
func (f *feed) drain() (busy bool, err error) {
	for i := len(f.senders) - 1; i >= 0; i-- { // audio first: it is small, and its loss is heard
		more, err := f.senders[i].drain()
		if err != nil {
			return false, err
		}
		busy = busy || more
	}
	return busy, nil
}

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
	for _, s := range f.senders {
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
	begins := false
	for _, s := range f.senders {
		begins = begins || s.fresh
		s.fresh = false
	}
	if !begins && now.Sub(f.reported) < reportInterval {
		return
	}
	f.reported = now
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
