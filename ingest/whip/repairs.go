package whip

import (
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// Retransmissions come as a stream of their own (RFC 4588). Where the publisher has declared which
// stream repairs which, the WebRTC stack puts them in among the packets that they repair. Publishers that
// name their streams by rid instead of SSRC declare nothing; their repairs come as a track, read here,
// and can only be meant for the one video track that a session has.

// queuedRepairs bounds the repairs that wait to be read by their track.
const queuedRepairs = 256

// isRepair tells whether a track is a stream of retransmissions.
func isRepair(c webrtc.RTPCodecParameters) bool {
	return strings.EqualFold(c.MimeType, webrtc.MimeTypeRTX)
}

// readRepairs passes retransmissions on until the session ends.
func (x *session) readRepairs(remote *webrtc.TrackRemote) {
	defer x.endOnPanic()
	buffer := make([]byte, maxPacket)
	for failed := 0; failed < readErrors; {
		n, _, err := remote.Read(buffer)
		if err != nil {
			if isEnd(err) {
				return
			}
			failed++
			continue
		}
		failed = 0
		var p rtp.Packet
		if p.Unmarshal(buffer[:n]) != nil || !restore(&p, remote.Codec().SDPFmtpLine) {
			continue // padding, by which publishers probe the network
		}
		p.Payload = append([]byte(nil), p.Payload...)
		select {
		case x.repairs <- &p:
		default: // the track does not read: then repairs are of no use either
		}
	}
}

// restore turns a retransmission into the packet that was lost, but for its SSRC: its payload begins
// with the original sequence number, and fmtp names the original payload type (RFC 4588, sections 4 and
// 8.6).
func restore(p *rtp.Packet, fmtp string) bool {
	const sequenceBytes = 2
	if len(p.Payload) <= sequenceBytes {
		return false
	}
	for field := range strings.SplitSeq(fmtp, ";") {
		apt, ok := strings.CutPrefix(strings.TrimSpace(field), "apt=")
		if !ok {
			continue
		}
		payloadType, err := strconv.ParseUint(apt, 10, 7)
		if err != nil {
			return false
		}
		p.PayloadType = uint8(payloadType)
		p.SequenceNumber = binary.BigEndian.Uint16(p.Payload)
		p.Payload = p.Payload[sequenceBytes:]
		return true
	}
	return false
}

// takeRepairs forwards the repairs that have come.
func (t *track) takeRepairs() error {
	for {
		select {
		case p := <-t.session.repairs:
			t.metrics.retransmitted.Inc()
			p.SSRC = uint32(t.remote.SSRC())
			if err := t.forwarder.Push(p, time.Now()); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}
