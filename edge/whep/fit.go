package whep

import (
	"slices"
	"time"

	"banyan/relay"
	"banyan/relay/media"
	"banyan/relay/rtc/engine/congestion"
)

// line is what is known of a viewer's network, and what can be done to know more. Its methods belong to the feed.
type line interface {
	// Link is what the network carries; false where the viewer has not reported yet.
	Link(now time.Time) (congestion.Link, bool)
	// Expect says what will be sent, in bit/s.
	Expect(rate int)
	// Pad sends something that the viewer can do without, and returns its size; zero where there is nothing.
	Pad() (size int, err error)
}

// fit has a feed send what its viewer's network carries: at a pace, in a format. Sound is always sent.
//
// A viewer begins with the best format. At a network that carries less, what is left of that is dropped and a lower one
// begins, with its last keyframe where that is new enough. Up it goes where padding has shown that the better one
// fits, seamlessly, at a keyframe that both have. A viewer that chose a format keeps it, at a pace.
type fit struct {
	line line // nil where nobody reports: all is sent at once then

	began   time.Time // of the first turn
	link    congestion.Link
	paced   bool // the pacer counts
	chooser congestion.Chooser
	pacer   congestion.Pacer
	padding int // bit/s to fill up to

	format   media.Format // that was chosen; auto where nothing was yet
	rungs    []rung
	rates    []int     // of the rungs
	read     time.Time // when the rates were
	repaired uint64    // packets, paid for
}

// rung is a format that the viewer may get.
type rung struct {
	format media.Format
	rate   int // bit/s on the way, with sound and headers
}

const (
	// joinRate is what a network is taken to carry at least, for the first burst's pace, before the viewer has reported:
	// slow enough for the buffers of a thin line, fast enough for a picture at once.
	joinRate = 4_000_000
	// reportPatience is how long the first report is waited for. Who sends none is not held back.
	reportPatience = 2 * time.Second
	// ratesInterval is the time between looks at how fast formats are.
	ratesInterval = time.Second
	// worthwhile is the share of the best format's rate that a lower one may have, or it is none.
	worthwhile = 0.9
	// onTheWay is what is sent for a byte of payload: headers of RTP, SRTP, UDP and IP to a packet of 1,100 bytes.
	onTheWay = 1.06
	// soundRate is counted where the rate of sound is not known, and packetSize for a packet that was sent again.
	soundRate  = 64_000
	packetSize = 1200
)

// begin prepares a turn of the feed.
func (t *fit) begin(f *feed) {
	if t.line == nil {
		return
	}
	if t.began.IsZero() {
		t.began = f.now
	}
	link, known := t.line.Link(f.now)
	t.link = link
	t.paced = known || f.now.Sub(t.began) < reportPatience
	if !known {
		t.link = congestion.Link{Rate: joinRate}
	}
	if s := f.picture(); s != nil {
		t.adapt(f, s, known)
		if n := len(t.rates); n > 0 && !known {
			t.link.Rate = max(t.link.Rate, t.rates[n-1])
		}
		if sent := s.repaired(); sent > t.repaired {
			t.pacer.Audio(int(sent-t.repaired) * packetSize)
			t.repaired = sent
		}
	}
	t.pacer.Turn(t.link, t.padding, f.now)
}

// adapt chooses a format.
func (t *fit) adapt(f *feed, s *sender, known bool) {
	t.padding = 0
	if *f.session.wanted.Load() != auto {
		t.format = auto
		return
	}
	if f.now.Sub(t.read) >= ratesInterval {
		t.readRates(f, s)
	}
	current := slices.IndexFunc(t.rungs, func(r rung) bool { return r.format == s.format })
	if current < 0 {
		return
	}
	if !known {
		t.line.Expect(t.rates[len(t.rates)-1])
		return
	}
	var chosen int
	if chosen, t.padding = t.chooser.Choose(t.rates, current, t.link, f.now); chosen == current {
		return
	}
	t.format = t.rungs[chosen].format
	s.fall = chosen < current
	s.aim(f.stream, t.format)
}

// readRates lists the formats that are not above the best one, by rising rate.
func (t *fit) readRates(f *feed, s *sender) {
	t.read = f.now
	t.rungs, t.rates = t.rungs[:0], t.rates[:0]
	tracks := tracksOf(f.stream)
	best, err := choose(tracks, s.kind, s.codecs, auto)
	if err != nil {
		return
	}
	sound := soundRate
	for _, other := range f.senders {
		if other.kind == media.Audio && other.current != nil {
			if rate := other.current.Log().Stats().Bitrate; rate > 0 {
				sound = int(rate * 2) // small packets are half headers
			}
		}
	}
	most := 0
	for _, track := range tracks {
		rate := videoRate(track)
		if track.ID.Kind != s.kind || rate == 0 || playable(track, s.codecs) != nil || rank(track, s.codecs) < good && track.ID.Format != best {
			continue
		}
		if track.ID.Format == best {
			most = rate
		}
		t.rungs = append(t.rungs, rung{track.ID.Format, rate})
	}
	t.rungs = slices.DeleteFunc(t.rungs, func(r rung) bool {
		return r.format != best && float64(r.rate) > worthwhile*float64(most)
	})
	slices.SortFunc(t.rungs, func(a, b rung) int { return a.rate - b.rate })
	for i := range t.rungs {
		t.rungs[i].rate = int(onTheWay*float64(t.rungs[i].rate)) + sound
		t.rates = append(t.rates, t.rungs[i].rate)
	}
}

// videoRate is how fast a track is, as measured, or as its encoder was told; zero where it is not known.
func videoRate(t relay.Track) int {
	if t.Log != nil {
		if rate := int(t.Log.Stats().Bitrate); rate > 0 {
			return rate
		}
	}
	if t.Params == nil {
		return 0
	}
	return t.Params.Bitrate
}

// open tells whether a packet of a kind may be sent now.
func (t *fit) open(kind media.Kind) bool {
	return t.line == nil || !t.paced || kind == media.Audio || t.pacer.Open()
}

// sent pays for a packet.
func (t *fit) sent(kind media.Kind, bytes int) {
	switch {
	case t.line == nil:
	case kind == media.Audio:
		t.pacer.Audio(bytes)
	default:
		t.pacer.Video(bytes)
	}
}

// pad fills a turn up, and tells whether there is more to come.
func (t *fit) pad() (more bool, err error) {
	if t.line == nil || t.padding == 0 {
		return false, nil
	}
	for t.pacer.Padding() {
		n, err := t.line.Pad()
		if err != nil || n == 0 {
			return false, err
		}
		t.pacer.Padded(n)
	}
	return true, nil
}

// picture is the sender of video; nil where there is none.
func (f *feed) picture() *sender {
	for _, s := range f.senders {
		if s.kind == media.Video && s.track != nil {
			return s
		}
	}
	return nil
}

// aimed is what to aim at for a viewer that wants a format: where it leaves the choice to us, what its network carries.
func (t *fit) aimed(kind media.Kind, wanted media.Format) media.Format {
	if wanted == auto && kind == media.Video {
		return t.format
	}
	return wanted
}
