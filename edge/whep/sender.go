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

// sender sends the viewer one kind: it reads a format's log, and changes over to another's, and fills the one RTP track.
type sender struct {
	// What each turn looks at lies together.
	feed     *feed
	track    track // nil until connected
	switcher rtc.Switcher
	params   *media.Params // of the last packet
	kind     media.Kind
	payload  uint8 // the payload type for params
	playable bool  // params can be sent
	began    bool
	bursting bool  // the last packet was part of a burst
	failed   bool  // the last packet could not be written
	tally    tally // since it was last added to the accounts
	pace     pace  // of sound

	codecs  []sdp.Codec         // that were negotiated, or while not connected, may be
	format  media.Format        // what current reads, or next will
	current *relay.Subscription // what is read; nil before the first keyframe
	next    *relay.Subscription // what to change over to; nil when nothing is pending

	repairs rtc.Repairs // accounted for
	failing time.Time   // since when nothing could be written, where the last packet could not

	pending time.Time // since when next is; zero where nothing is
	settled bool      // an old keyframe will do, as no new one came
	fall    bool      // the change that is pending, or the last one, is to what a thin network carries
}

func newSender(f *feed, kind media.Kind, codecs []sdp.Codec) *sender {
	return &sender{feed: f, kind: kind, codecs: codecs}
}

// aim makes format the one that is read, from its next keyframe on, or where nothing is read now, from its last.
func (s *sender) aim(stream *relay.Stream, format media.Format) {
	if format == s.format && !s.lost() {
		return
	}
	if s.current != nil && s.next != nil && !s.ended(s.current) && s.current.Log().ID().Format == format {
		s.next.Close() // the change was called off before it took place
		s.next, s.format, s.pending, s.fall = nil, format, time.Time{}, false
		s.switcher.Cancel()
		return
	}
	sub, err := stream.Subscribe(format, s.kind)
	if err != nil {
		return // it went in this moment; the stream changes again
	}
	if s.next != nil {
		s.next.Close()
	}
	s.next, s.format, s.feed.aimed = sub, format, true
	s.pending, s.settled = time.Now(), false
	if s.track != nil {
		s.start()
	}
}

// connect begins to send on track.
func (s *sender) connect(track track) {
	s.track = track
	if s.next != nil {
		s.start()
	}
}

// newEnough is how old a keyframe may be for a viewer that falls to begin with it: the next one may be as far away, and what
// has come since is sent in about that time.
const newEnough = time.Second

// fallPatience is how long a viewer goes without pictures that falls to a format which does not come.
const fallPatience = 2 * time.Second

// start points the switcher at what was subscribed to.
func (s *sender) start() {
	c := s.cursor(s.next.Log())
	c.MaxLag = s.feed.session.server.config.MaxLag
	s.switcher.Switch(c)
	if s.fall {
		s.switcher.Drop()
	}
}

// cursor begins at the last keyframe where nothing is playing that could go on until the next one, and where that
// keyframe is not too old.
func (s *sender) cursor(track *log.Log) *log.Cursor {
	if s.kind == media.Audio { // every packet is a keyframe; the past is of no use
		return track.Cursor(log.Live())
	}
	c := track.Cursor(log.LastKeyframe())
	key := track.Get(c.Offset())
	age := time.Duration(0)
	if key != nil {
		age = track.NewestTime().Sub(key.Time())
	}
	old := age > longestBurst
	if s.fall && key != nil && age < newEnough {
		return c
	}
	if s.playing() || old && !s.settled {
		c = track.Cursor(log.Live()) // before asking, so that the keyframe cannot slip by
		s.feed.requestKeyframe(track, time.Now())
	}
	return c
}

// hurry sees to a change that waits for a keyframe: it asks for one, and after a while begins with an old one if
// the viewer would see nothing otherwise.
func (s *sender) hurry(now time.Time) {
	if s.kind != media.Video || s.next == nil || s.track == nil {
		return
	}
	if !s.settled && !s.playing() && now.Sub(s.pending) > keyframePatience {
		s.settled = true
		s.start()
		return
	}
	if s.fall && now.Sub(s.pending) > fallPatience {
		s.switcher.Keep()
	}
	s.feed.requestKeyframe(s.next.Log(), now)
}

// playing tells whether something that the peer can decode is being read.
func (s *sender) playing() bool { return s.current != nil && s.playable && !s.ended(s.current) }

// lost tells whether what is aimed at has ended, or has turned into something that cannot be sent.
func (s *sender) lost() bool {
	if s.next != nil {
		return s.ended(s.next)
	}
	return s.current == nil || s.ended(s.current)
}

// astray tells whether the plan may need to be made anew.
func (s *sender) astray() bool { return s.lost() || s.next == nil && !s.playable }

func (s *sender) ended(sub *relay.Subscription) bool { return sub.Log().Closed() }

// drain sends what is there, at most a turn, and tells whether there may be more.
func (s *sender) drain() (more bool, err error) {
	if s.track == nil {
		return false, nil
	}
	for range turn {
		if !s.feed.fit.open(s.kind) {
			return s.waiting(), nil
		}
		p, lost, switched := s.switcher.Next()
		if p == nil {
			return false, nil
		}
		if switched {
			s.changeOver()
		}
		if p.Params != s.params && !s.learn(p.Params) || !s.playable {
			continue
		}
		if s.backlogged(p, switched) {
			s.tally.skipped += lost + 1
			continue
		}
		if err := s.send(p, lost, switched); err != nil {
			return false, err
		}
	}
	return true, nil
}

// waiting tells whether there is something to send, when the network takes more.
func (s *sender) waiting() bool {
	l := s.switcher.Current()
	return l != nil && !s.switcher.Dropped() && s.switcher.Offset() < l.Head() || s.switcher.Pending() != nil
}

// repaired is how many packets were sent again.
func (s *sender) repaired() uint64 { return s.track.Repairs().Sent }

// changeOver notes that the switcher reads the next log from now on.
func (s *sender) changeOver() {
	if s.current != nil {
		s.current.Close()
		s.feed.metrics.switches.Inc()
	}
	s.current, s.next, s.pending = s.next, nil, time.Time{}
	s.track.From(s.current.Log())
	if s.fall {
		s.track.Abandon()
		s.fall = false
	}
}

// account counts what was repaired since it was last called.
func (s *sender) account() {
	if s.track == nil {
		return
	}
	m, now, was := s.feed.metrics, s.track.Repairs(), s.repairs
	s.repairs = now
	m.repaired.Add(float64(now.Sent - was.Sent))
	m.overShare.Add(float64(now.Refused - was.Refused))
	m.irreparable.Add(float64(now.Missing - was.Missing))
}

// learn looks at new parameters. Where they cannot be sent, another format may do.
func (s *sender) learn(p *media.Params) bool {
	payload, err := s.track.PayloadType(p)
	s.params, s.payload, s.playable = p, payload, err == nil
	if !s.playable && s.next == nil {
		s.feed.retarget()
	}
	return s.playable
}

// packetOverhead is what is sent with a payload: headers of RTP, SRTP, UDP and IP.
const packetOverhead = 64

// send sends p.
func (s *sender) send(p *media.Packet, lost int64, switched bool) error {
	s.join(p, lost, switched)
	if err := s.track.Send(p, lost, s.payload); err != nil {
		return s.drop(err)
	}
	s.failed = false
	s.bursting = s.track.Bursting(p.Ticks)
	if !s.bursting {
		s.tally.wait(p.Arrived)
	}
	s.feed.fit.sent(s.kind, len(p.Payload)+packetOverhead)
	s.tally.packets++
	s.tally.bytes += len(p.Payload)
	s.tally.skipped += lost
	return nil
}

// drop counts a packet that could not be written, and fails when that has gone on for too long.
func (s *sender) drop(err error) error {
	s.feed.metrics.dropped.Inc()
	now := s.feed.now
	if !s.failed {
		s.failed, s.failing = true, now
	}
	if now.Sub(s.failing) > writePatience {
		return fmt.Errorf("nothing could be written for %v: %w", writePatience, err)
	}
	return nil
}

// backlog is how far behind live a viewer must be after a change or a skip for the rest to be sent as a burst. A
// viewer that has just come runs through whatever there is.
const backlog = 500 * time.Millisecond

// join begins a burst where p is far behind live because it was chosen so.
func (s *sender) join(p *media.Packet, lost int64, switched bool) {
	if s.began && !switched && lost == 0 || !p.Has(media.Keyframe) {
		return
	}
	newest := s.switcher.Current().NewestTime()
	if !s.began && s.kind == media.Video || newest.Sub(p.Time()) > backlog {
		s.track.Join(p.Ticks, media.TicksOf(newest, p.Params.ClockRate))
	}
	s.feed.fresh = s.feed.fresh || !s.began
	s.began = true
}

// letGo gives back the sender's subscriptions.
func (s *sender) letGo() {
	s.account()
	s.tally.addTo(s.feed.metrics, s.kind)
	for _, sub := range []*relay.Subscription{s.current, s.next} {
		if sub != nil {
			sub.Close()
		}
	}
}
