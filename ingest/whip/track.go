package whip

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"banyan/ingest"
	"banyan/relay/log"
	"banyan/relay/media"
	"banyan/relay/rtc"
)

const (
	// keyframeInterval bounds what publishers are asked: a keyframe costs them many times a usual frame.
	keyframeInterval = 500 * time.Millisecond
	// repairPoll is how often to look for repairs while packets wait: the stack delivers those of a
	// retransmission stream (RFC 4588) only when somebody reads.
	repairPoll = 10 * time.Millisecond
	// codecChange bounds how often a publisher may change its codec, as each change begins an epoch.
	codecChange = time.Second
	// accountInterval is how often the accounts go to the metrics.
	accountInterval = time.Second
	// readErrors in a row, with no packet between them, mean that there is nothing to read any more.
	readErrors = 1000
	// A packet is not larger than a datagram that the network takes.
	maxPacket = 2048
)

// track carries one track of a publisher into its log.
type track struct {
	session  *session
	remote   *webrtc.TrackRemote
	receiver *webrtc.RTPReceiver
	kind     media.Kind
	rate     int // of the RTP clock, Hz
	clock    *ingest.Clock
	writer   *log.Writer
	metrics  *trackMetrics

	keyframe chan struct{} // we want one ourselves; capacity 1, never closed
	ended    chan struct{} // closed by run when it has read the last packet

	// Owned by run.
	forwarder   *ingest.Forwarder
	payloadType webrtc.PayloadType
	changed     time.Time // the codec, last
	accounted   time.Time
	armed       time.Time // deadline of the next read
	packet      rtp.Packet
}

// newTrack claims the log of a track.
func newTrack(x *session, remote *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) (*track, error) {
	params, err := paramsOf(remote.Codec())
	if err != nil {
		return nil, err
	}
	t := &track{
		session: x, remote: remote, receiver: receiver, kind: params.Codec.Kind(), rate: params.ClockRate,
		clock: x.timeline.Clock(params.ClockRate), metrics: x.server.metrics.track(params.Codec.Kind()),
		keyframe: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	if t.writer, err = x.publication.Source(t.kind); err != nil {
		return nil, err
	}
	t.useCodec(params, remote.PayloadType())
	return t, nil
}

// paramsOf is what a session description says of a codec.
func paramsOf(c webrtc.RTPCodecParameters) (media.Params, error) {
	p := media.Params{Codec: rtc.CodecOf(c.MimeType), ClockRate: int(c.ClockRate)}
	switch p.Codec.Kind() {
	case media.Video:
		if p.Codec == media.H264 {
			p.Sets = setsOf(c.SDPFmtpLine)
		}
	case media.Audio:
		p.Channels, p.SampleRate = max(1, int(c.Channels)), p.ClockRate
	default:
		return p, fmt.Errorf("the codec %q is not carried", c.MimeType)
	}
	return p, nil
}

// setsOf reads sprop-parameter-sets (RFC 6184, section 8.1), by which a publisher may send its
// parameter sets ahead. What does not make sense is left out: they come in the stream, too.
func setsOf(fmtp string) (sets [][]byte) {
	for field := range strings.SplitSeq(fmtp, ";") {
		list, ok := strings.CutPrefix(strings.TrimSpace(field), "sprop-parameter-sets=")
		if !ok {
			continue
		}
		for text := range strings.SplitSeq(list, ",") {
			if set, err := base64.StdEncoding.DecodeString(text); err == nil && len(set) > 0 {
				sets = append(sets, set)
			}
		}
	}
	return sets
}

// useCodec begins to forward packets of a codec.
func (t *track) useCodec(params media.Params, payloadType webrtc.PayloadType) {
	t.payloadType = payloadType
	t.forwarder = ingest.NewForwarder(ingest.ForwarderConfig{
		Params: params, PayloadType: uint8(payloadType), Clock: t.clock, Writer: t.writer,
		Announce:        t.session.publication.Announce,
		RequestKeyframe: t.wantKeyframe,
		Waited:          t.metrics.waited,
	})
	t.metrics.begin()
	t.session.server.config.Logger.Info("track began", "stream", t.session.stream, "kind", t.kind, "codec", params.Codec)
}

func (t *track) wantKeyframe() {
	select {
	case t.keyframe <- struct{}{}:
	default: // one is wished for already
	}
}

// run carries the track until the session ends or another sender has its log.
func (t *track) run() {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(t.ended)
	wg.Go(t.readReports)
	if t.kind == media.Video {
		wg.Go(t.requestKeyframes)
	}
	defer t.session.endOnPanic() // first of all: the others wait for the session to end
	t.read()
}

// read is the life of the track's packets.
func (t *track) read() {
	defer func() {
		_ = t.forwarder.Flush() // the log may have been taken over: then nobody wants the rest
		t.metrics.account(t.forwarder.Stats())
	}()
	buffer := make([]byte, maxPacket)
	errorsInARow := 0
	for {
		if t.kind == media.Video && t.takeRepairs() != nil {
			return
		}
		t.arm(time.Now())
		n, attributes, err := t.remote.Read(buffer)
		now := time.Now()
		switch {
		case err == nil:
			errorsInARow = 0
			err = t.take(buffer[:n], attributes.Get(webrtc.AttributeRtxPayloadType) != nil, now)
		case isTimeout(err):
			errorsInARow = 0
			err = t.forwarder.Expire(now)
		case isEnd(err):
			return
		default: // about this packet alone
			t.metrics.unreadable.Inc()
			if errorsInARow++; errorsInARow < readErrors {
				err = nil
			}
		}
		if err != nil {
			return
		}
		if now.Sub(t.accounted) >= accountInterval {
			t.accounted = now
			t.metrics.account(t.forwarder.Stats())
		}
	}
}

// arm makes the next read return when packets that wait are due, or a repair may have come.
func (t *track) arm(now time.Time) {
	deadline, waiting := t.forwarder.Deadline()
	if poll := now.Add(repairPoll); waiting && poll.Before(deadline) {
		deadline = poll
	}
	if deadline != t.armed {
		t.armed = deadline
		_ = t.remote.SetReadDeadline(deadline) // fails when the track has ended, which Read tells, too
	}
}

// take forwards one packet.
func (t *track) take(raw []byte, repair bool, now time.Time) error {
	if repair {
		t.metrics.retransmitted.Inc()
	}
	if err := t.packet.Unmarshal(raw); err != nil {
		t.metrics.unreadable.Inc()
		return nil //nolint:nilerr // counted; the next packet may be better
	}
	if got := webrtc.PayloadType(t.packet.PayloadType); got != t.payloadType {
		t.changeCodec(got, now)
	}
	return t.forwarder.Push(&t.packet, now)
}

// changeCodec follows a publisher that goes on in another of the codecs that were negotiated.
func (t *track) changeCodec(to webrtc.PayloadType, now time.Time) {
	if t.remote.PayloadType() != to || now.Sub(t.changed) < codecChange {
		return // the forwarder drops and counts it
	}
	params, err := paramsOf(t.remote.Codec())
	if err != nil || params.Codec.Kind() != t.kind || params.ClockRate != t.rate {
		return
	}
	t.changed = now
	_ = t.forwarder.Flush()
	t.metrics.account(t.forwarder.Stats())
	t.useCodec(params, to)
}

// readReports gives the publisher's sender reports to the clock, until the session ends.
func (t *track) readReports() {
	defer t.session.endOnPanic()
	for failed := 0; failed < readErrors; {
		packets, _, err := t.receiver.ReadRTCP()
		now := time.Now()
		if err != nil {
			if isEnd(err) || t.isEnded() {
				return
			}
			failed++ // a packet that cannot be parsed
			continue
		}
		failed = 0
		for _, packet := range packets {
			if report, ok := packet.(*rtcp.SenderReport); ok && report.SSRC == uint32(t.remote.SSRC()) {
				t.clock.SenderReport(report.NTPTime, report.RTPTime, now)
			}
		}
	}
}

func (t *track) isEnded() bool {
	select {
	case <-t.ended:
		return true
	default:
		return false
	}
}

// requestKeyframes passes requests for keyframes on, ours and the readers', merged.
func (t *track) requestKeyframes() {
	defer t.session.endOnPanic()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-t.ended:
			return
		case <-t.session.Ending():
			return
		case <-timer.C:
		}
		select {
		case <-t.ended:
			return
		case <-t.session.Ending():
			return
		case <-t.keyframe:
		case <-t.writer.KeyframeRequests():
		}
		if t.session.RequestKeyframe(t.remote.SSRC()) == nil {
			t.session.server.metrics.keyframes.Inc()
		}
		timer.Reset(keyframeInterval)
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, net.ErrClosed)
}
