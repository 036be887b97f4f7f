package rtsp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"
	"github.com/bluenviron/gortsplib/v4/pkg/liberrors"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"banyan/relay/log"
	"banyan/relay/media"
)

// The bounds of a player.
const (
	// Behind the newest packet by more than this, a player skips to a newer keyframe.
	playerLag = 5 * time.Second
	// A full queue is given this long to drain, step by step, before the player skips.
	queueWait, queueStep = 2 * time.Second, 10 * time.Millisecond
	// Sender reports come this often (CHECKLISTS R21 asks for 5 s at most).
	reportPeriod = 4 * time.Second
	// BYE is given this long to leave the queue.
	farewell = 500 * time.Millisecond
)

// receiver is whom RTP is sent to: a session of our server.
type receiver interface {
	WritePacketRTP(*description.Media, *rtp.Packet) error
	WritePacketRTCP(*description.Media, rtcp.Packet) error
	Close()
}

// player is a session that watches.
type player struct {
	server *Server
	lib    *gortsplib.ServerSession
	stream *gortsplib.ServerStream // what gortsplib needs to describe the tracks; one for each player
	conn   *boundedConn
	grant  grant
	ending ending
	offer  *offer
	logger *slog.Logger
	leave  func() // no longer counted as a viewer

	done     chan struct{} // closed by close
	watchers sync.WaitGroup

	// Owned by the connection's requests.
	cancel context.CancelFunc // stops the senders; nil while none run
	send   sync.WaitGroup
}

// newPlayer subscribes to what a SETUP asks for; on failure it gives the answer instead.
func (h *handler) newPlayer(c *client, lib *gortsplib.ServerSession, u *base.URL) (*player, *base.Response) {
	o, err := h.find(h.life, c.target)
	if err != nil {
		return nil, answer(statusOf(err), err.Error())
	}
	stream := &gortsplib.ServerStream{Server: h.lib, Desc: o.session(c.target.name)}
	if track := playedTrack(stream.Desc.Medias, u); track == nil {
		o.close()
		return nil, h.answerSetup(c, nil, nil)
	}
	if err := stream.Initialize(); err != nil {
		o.close()
		return nil, answer(base.StatusServiceUnavailable, "The stream cannot be played now: try again.")
	}
	p := &player{server: h.Server, lib: lib, stream: stream, conn: c.conn.boundedConn, grant: c.grant, offer: o, done: make(chan struct{}),
		leave:  o.stream.Watch("rtsp"),
		logger: h.config.Logger.With("stream", c.target.name, "peer", c.peer)}
	h.counters.players.Add(1)
	p.watchers.Go(func() { p.grant.watch(p.done, p.end) })
	p.logger.Info("RTSP player came")
	return p, nil
}

func (p *player) close(cause error) {
	p.stop()
	close(p.done)
	p.watchers.Wait()
	p.stream.Close()
	p.offer.close()
	p.leave()
	p.server.counters.players.Add(-1)
	p.logger.Info("RTSP player left", "cause", p.ending.explain(p.conn, p.server.config.SessionTimeout, cause))
}

// end ends the session from our side.
func (p *player) end(cause error) {
	p.ending.because(cause)
	p.lib.Close()
}

// start lets media flow to the tracks that were set up, and says in the answer to PLAY where each
// begins (RFC 2326, section 12.33). A second PLAY while playing changes nothing.
func (p *player) start(res *base.Response, u *base.URL) {
	if p.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(p.server.life)
	p.cancel = cancel
	var info headers.RTPInfo
	path, _ := splitControl(u)
	for _, s := range p.senders() {
		entry := &headers.RTPInfoEntry{URL: (&base.URL{
			Scheme: u.Scheme, Host: u.Host, Path: path + "/trackID=" + strconv.Itoa(s.index),
		}).String()}
		if s.first != nil {
			seq, at := s.seq, s.first.RTPTime()
			entry.SequenceNumber, entry.Timestamp = &seq, &at
		}
		info = append(info, entry)
		p.send.Go(func() { s.run(ctx) })
	}
	res.Header["RTP-Info"] = info.Marshal()
}

// stop ends the senders, for good or until the next PLAY.
func (p *player) stop() {
	if p.cancel != nil {
		p.cancel()
		p.send.Wait()
		p.cancel = nil
	}
}

// sender sends one track to one player.
type sender struct {
	player *player
	to     receiver
	track  *offered
	index  int
	cursor *log.Cursor
	ssrc   uint32

	first  *media.Packet // read to know where it begins, not sent yet
	seq    uint16        // of the next packet
	params *media.Params // last seen to fit the description

	packets, octets uint32 // sent, for reports
	reported        time.Time
}

// senders begin at the last keyframe, audio where video does.
func (p *player) senders() []*sender {
	var all []*sender
	begin := log.LastKeyframe()
	stats := p.stream.Stats()
	wanted := map[string]bool{}
	for _, m := range p.lib.SetuppedMedias() {
		wanted[m.Control] = true
	}
	for i, t := range p.offer.tracks {
		if !wanted[t.media.Control] {
			continue
		}
		s := &sender{player: p, to: p.lib, track: t, index: i, cursor: t.subscription.Log().Cursor(begin)}
		s.cursor.MaxLag = playerLag
		s.ssrc = stats.Medias[t.media].Formats[t.media.Formats[0]].LocalSSRC
		s.seq = uint16(s.ssrc) // unpredictable, as RFC 3550, section 5.1, wants it
		if s.first, _ = s.cursor.Next(); s.first != nil && t.params.Codec.Kind() == media.Video {
			begin = log.KeyframeBefore(s.first.Time())
		}
		all = append(all, s)
	}
	return all
}

var errOtherCodec = errors.New("the track now has another codec or other parameters than described")

// run sends until ctx ends; when the track itself ends, it ends the session.
func (s *sender) run(ctx context.Context) {
	defer func() {
		if broken := recover(); broken != nil {
			s.player.logger.Error("a packet broke the RTSP player", "track", s.track.subscription.Log().ID().String(),
				"cause", broken, "stack", string(debug.Stack()))
			s.player.ending.because(errors.New("a packet broke it"))
			s.to.Close()
		}
	}()
	err := s.sendAll(ctx)
	if ctx.Err() != nil {
		return
	}
	s.player.ending.because(fmt.Errorf("a track ended: %w", err))
	s.player.logger.Info("a track ended: closing the RTSP player", "track", s.track.subscription.Log().ID().String(), "cause", err)
	s.write(&rtcp.Goodbye{Sources: []uint32{s.ssrc}})
	select { // gortsplib throws away what is queued when it closes
	case <-time.After(farewell):
	case <-ctx.Done():
	}
	s.to.Close()
}

func (s *sender) sendAll(ctx context.Context) error {
	for {
		packet, lost := s.first, int64(0)
		if s.first = nil; packet == nil {
			var err error
			if packet, lost, err = s.cursor.Read(ctx); err != nil {
				return err // io.EOF: the stream was forgotten
			}
		}
		if packet.Params != s.params {
			if !s.fits(packet.Params) {
				return errOtherCodec
			}
			s.params = packet.Params
		}
		if lost > 0 {
			s.seq++ // so that the player knows
		}
		if err := s.sendOne(ctx, packet); err != nil {
			return err
		}
		s.reportAt(packet)
	}
}

// fits tells whether a player can go on with params. Parameter sets of video come in band.
func (s *sender) fits(params *media.Params) bool {
	was := &s.track.params
	if params.Codec != was.Codec || params.ClockRate != was.ClockRate {
		return false
	}
	return params.Codec.Kind() == media.Video || params.Equal(was)
}

// sendOne queues a packet. A queue that stays full makes the player skip to the next keyframe.
func (s *sender) sendOne(ctx context.Context, packet *media.Packet) error {
	out := &rtp.Packet{
		Header: rtp.Header{
			Version: 2, PayloadType: s.track.payloadType, SequenceNumber: s.seq, Timestamp: packet.RTPTime(),
			Marker: packet.Has(media.FrameEnd) && marks(s.track.params.Codec),
		},
		Payload: packet.Payload,
	}
	for waited := time.Duration(0); ; waited += queueStep {
		err := s.to.WritePacketRTP(s.track.media, out)
		switch {
		case err == nil:
			s.seq++
			s.packets++
			s.octets += uint32(len(packet.Payload))
			return nil
		case !errors.As(err, &liberrors.ErrServerWriteQueueFull{}):
			return err
		case waited >= queueWait:
			s.player.server.counters.skipped.Add(1)
			s.cursor.SkipToKeyframe()
			return nil
		}
		if !sleep(ctx, queueStep) {
			return ctx.Err()
		}
	}
}

// marks tells whether the marker of a codec's payload format means the end of a frame. In G.711 and
// Opus it means the start of a talkspurt, which is not ours to know.
func marks(codec media.Codec) bool { return codec.Kind() == media.Video || codec == media.AAC }

// reportAt sends a sender report now and then: the packet's media time is the wall clock that players
// synchronise by.
func (s *sender) reportAt(packet *media.Packet) {
	now := time.Now()
	if now.Sub(s.reported) < reportPeriod {
		return
	}
	s.reported = now
	s.write(&rtcp.SenderReport{
		SSRC: s.ssrc, NTPTime: packet.Time().NTP(), RTPTime: packet.RTPTime(),
		PacketCount: s.packets, OctetCount: s.octets,
	})
}

// write queues a report; one that finds the queue full is dropped, as the next will do.
func (s *sender) write(packet rtcp.Packet) {
	_ = s.to.WritePacketRTCP(s.track.media, packet)
}

// sleep waits for d; it tells whether it was not interrupted.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
