package rtc

import (
	"time"

	"github.com/pion/webrtc/v4"
)

// consent finds out that a viewer does not answer our connectivity checks any more, by which it consents to be sent media
// (RFC 7675 section 5.1). The stack, which makes them, ends sessions whose peers are silent. One from whose address
// anything at all arrives goes on for it, though whoever sends that, even whoever only writes that address, need not be
// whom the session was made with. A publisher is sent next to nothing, and what it sends shows that it lives; FFmpeg 8.0
// as a publisher answers no checks. It has no clock.
type consent struct {
	pair    [2]string // ids of the two candidates
	answers uint64    // to checks of that pair, at the last look
	since   time.Time // of the last look that found more of them, or another pair
}

// lost tells whether no check was answered for longer than patience. pair is what is in use; ok is false where there is
// none, as while ICE restarts: the stack has an eye on that by itself.
func (c *consent) lost(pair webrtc.ICECandidatePairStats, ok bool, now time.Time, patience time.Duration) bool {
	ids, answers := [2]string{pair.LocalCandidateID, pair.RemoteCandidateID}, pair.ResponsesReceived
	if !ok || c.since.IsZero() || ids != c.pair || answers != c.answers {
		c.pair, c.answers, c.since = ids, answers, now
		return false
	}
	return now.Sub(c.since) > patience
}

// watchConsent waits for the end of a session that is connected, and ends it itself when the peer's consent is lost.
func (p *Peer) watchConsent() {
	const looks = 10 // while consent lasts
	patience := p.network.config.ConsentTimeout
	ticker := time.NewTicker(patience / looks)
	defer ticker.Stop()
	for c := (consent{}); ; {
		select {
		case <-p.ending:
			return
		case now := <-ticker.C:
			pair, ok := p.ice().GetSelectedCandidatePairStats()
			if c.lost(pair, ok, now, patience) {
				p.End(ErrConsent)
			}
		}
	}
}

// ice is the one transport that all tracks share.
func (p *Peer) ice() *webrtc.ICETransport { return p.pc.SCTP().Transport().ICETransport() }
