package rtsp

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"banyan/ingest"
	"banyan/relay"
	"banyan/relay/frame"
	"banyan/relay/log"
	"banyan/relay/media"
)

// peer is who sends RTP: a session of our server, or our client at a camera.
type peer interface {
	OnPacketRTP(*description.Media, format.Format, gortsplib.OnPacketRTPFunc)
	OnPacketRTCP(*description.Media, gortsplib.OnPacketRTCPFunc)
}

// publisher writes what a peer sends into the logs of a stream.
type publisher struct {
	publication *relay.Publication
	timeline    *ingest.Timeline
	logger      *slog.Logger
	fail        func(error) // ends the peer; may be called more than once, from any goroutine

	// paced lets a peer that sends faster than real time wait. It must not be set where tracks of
	// several peers share a goroutine, as over UDP.
	paced bool

	undecodable atomic.Uint64 // packets that made no frame
}

// maxAhead is how far a paced peer may run ahead of our clock, and maxPause how long it is held at
// once, well below any timeout.
const (
	maxAhead = 2 * time.Second
	maxPause = 500 * time.Millisecond
)

// listen makes the tracks of sources and takes what the peer sends.
func (p *publisher) listen(from peer, sources []*source) error {
	p.timeline = ingest.Resume(p.publication.Stream(), time.Now())
	for _, s := range sources {
		t, err := newTrack(p, s)
		if err != nil {
			return fmt.Errorf("publish %s: %w", s.params.Codec, err)
		}
		from.OnPacketRTP(s.media, s.format, func(packet *rtp.Packet) { t.guard(func() { t.take(packet, time.Now()) }) })
		from.OnPacketRTCP(s.media, func(packet rtcp.Packet) { t.guard(func() { t.report(packet, time.Now()) }) })
	}
	return nil
}

// track is one track of a publisher. Its packets come one after the other, its reports from another
// goroutine.
type track struct {
	publisher *publisher
	source    *source
	clock     *ingest.Clock
	writer    *frame.Writer
	leadIn    leadIn
	leapt     bool // the next frame begins an epoch

	begun bool   // next is valid
	next  uint16 // the sequence number to come
}

func newTrack(p *publisher, s *source) (*track, error) {
	out, err := p.publication.Source(s.params.Codec.Kind())
	if err != nil {
		return nil, err
	}
	writer, err := frame.NewWriter(out, s.params)
	if err != nil {
		return nil, err
	}
	logBegin := sync.OnceFunc(func() {
		p.logger.Info("track began", "kind", s.params.Codec.Kind(), "codec", s.params.Codec)
	})
	writer.OnParams = func(media.Params) {
		p.publication.Announce()
		logBegin()
	}
	return &track{publisher: p, source: s, clock: p.timeline.Clock(s.params.ClockRate), writer: writer}, nil
}

// guard ends the session, and no more than that, when a packet breaks us.
func (t *track) guard(work func()) {
	defer func() {
		if broken := recover(); broken != nil {
			t.publisher.logger.Error("a packet broke the session", "codec", t.source.params.Codec,
				"cause", broken, "stack", string(debug.Stack()))
			t.publisher.fail(fmt.Errorf("a packet of %s broke the session: %v", t.source.params.Codec, broken))
		}
	}()
	work()
}

// take holds the first packets for a moment, and passes the others on.
func (t *track) take(packet *rtp.Packet, now time.Time) {
	if t.leadIn.over {
		t.publish(packet, now, now)
		return
	}
	for i, held := range t.leadIn.add(arrival{packet, now}, t.source.params.ClockRate) {
		anchor := held.at
		if i == 0 {
			anchor = t.leadIn.anchor
		}
		t.publish(held.packet, held.at, anchor)
	}
}

// publish is the life of a packet: time, frame, log. It came now; for its time it counts as of at.
func (t *track) publish(packet *rtp.Packet, now, at time.Time) {
	ticks, jumped := t.clock.Ticks(packet.Timestamp, at)
	t.leapt = t.leapt || jumped
	if !t.follows(packet.SequenceNumber) {
		t.lose()
	}
	frames, err := t.source.decode(packet)
	if err != nil {
		t.publisher.undecodable.Add(1)
		t.lose()
		return
	}
	for _, f := range frames {
		if t.leapt {
			t.writer.Discontinuity()
			t.leapt = false
		}
		if !t.write(frame.Frame{Ticks: ticks + f.after, Arrived: media.TimeOf(now), Units: f.units}) {
			return
		}
	}
	if t.publisher.paced {
		t.pace(ticks)
	}
}

// follows tells whether a packet is the next in order. gortsplib has put packets back into order where the network
// mixes them up; what is missing now will not come.
func (t *track) follows(sequence uint16) bool {
	const repeats = 64 // packets back that a publisher over TCP may send again
	missing := sequence - t.next
	if t.begun && -missing <= repeats && missing != 0 {
		return true
	}
	follows := !t.begun || missing == 0
	t.begun, t.next = true, sequence+1
	return follows
}

// lose gives up the frame that is being put together, and tells all readers that something is missing.
func (t *track) lose() {
	t.writer.Lost()
	if err := t.source.restart(); err != nil { // it worked once, with the same parameters
		t.publisher.fail(fmt.Errorf("decode %s: %w", t.source.params.Codec, err))
	}
}

func (t *track) write(f frame.Frame) bool {
	err := t.writer.Write(f)
	switch {
	case err == nil:
		return true
	case errors.Is(err, log.ErrReplaced): // the session ends by itself when the publication does
		return false
	default: // this frame alone
		t.publisher.undecodable.Add(1)
		return true
	}
}

// pace holds a peer that sends faster than real time, such as a file without "-re". TCP passes the
// wait on to it.
func (t *track) pace(ticks int64) {
	ahead := media.TimeAt(ticks, t.source.params.ClockRate).Sub(media.TimeOf(time.Now()))
	if ahead > maxAhead {
		time.Sleep(min(ahead-maxAhead, maxPause))
	}
}

func (t *track) report(packet rtcp.Packet, now time.Time) {
	if sr, ok := packet.(*rtcp.SenderReport); ok {
		t.clock.SenderReport(sr.NTPTime, sr.RTPTime, now)
	}
}
