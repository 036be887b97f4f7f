package rtc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pion/webrtc/v4"

	"banyan/relay/media"
	"banyan/relay/rtc/sdp"
)

// errAnswer is told to a peer whose answer passed our checks and not those of the stack.
var errAnswer = &sdp.Error{Detail: "The answer cannot be used. Send the SDP of your peer connection's answer as it is."}

// OfferViewer makes a session whose peer receives and is to answer an offer of ours, sendonly, of config.Codecs: the
// counter-offer of WHEP. Until Conclude, or AnswerTimeout, it waits; from then on it is as NewViewer's.
func (n *Network) OfferViewer(ctx context.Context, config ViewerConfig) (*Viewer, error) {
	config.Offer = nil
	return n.newViewer(ctx, config, (*Viewer).propose)
}

// propose makes the tracks and offers them.
func (v *Viewer) propose(ctx context.Context, config ViewerConfig) error {
	for _, kind := range media.Kinds {
		if err := v.add(kind, config.Codecs); err != nil {
			return err
		}
	}
	for _, t := range v.tracks {
		t.refusable = true
	}
	if err := v.prefer(); err != nil {
		return err
	}
	text, err := v.Peer.propose(ctx)
	if err != nil {
		return err
	}
	if v.ours, err = sdp.ParseOffer(text, sdp.Publish); err != nil {
		return errors.New("read our own offer: " + err.Error()) // not wrapped: it is not for the peer, who did not write it
	}
	return nil
}

// Offer is the offer that the peer is to answer, with all candidates; nil where the peer made the offer.
func (v *Viewer) Offer() *sdp.Offer { return v.ours }

// ValidUntil is until when the peer may answer Offer.
func (v *Viewer) ValidUntil() time.Time { return v.answerBy }

// Conclude takes the peer's answer to Offer, once. After an error of type *sdp.Error the session waits on for a better
// answer; after any other it is over.
func (v *Viewer) Conclude(a *sdp.Answer) error {
	return v.conclude(a.Text, func() { v.narrow(a) })
}

// narrow leaves what the peer has accepted. Tracks are looked at after the answer only.
func (v *Viewer) narrow(a *sdp.Answer) {
	var kept []*Track
	for _, t := range v.tracks {
		m := a.Of(t.kind)
		if m == nil {
			continue
		}
		t.codecs = nil
		for _, ours := range t.offered { // in our order, in the peer's words
			for _, c := range m.Codecs {
				if c.PayloadType == ours.PayloadType {
					t.codecs = append(t.codecs, c)
				}
			}
		}
		kept = append(kept, t)
	}
	v.tracks = kept
}

// propose makes an offer, with all candidates.
func (p *Peer) propose(ctx context.Context) (string, error) {
	p.signal.Lock()
	defer p.signal.Unlock()
	offer, err := p.pc.CreateOffer(&webrtc.OfferOptions{OfferAnswerOptions: takesTrickle})
	if err != nil {
		return "", fmt.Errorf("make an offer: %w", err)
	}
	if err := p.describe(ctx, offer); err != nil {
		return "", err
	}
	return sdp.MuxOnly(p.pc.LocalDescription().SDP), nil
}

// conclude uses the answer to our offer. settle runs when it is in use and nobody has been told.
func (p *Peer) conclude(answer string, settle func()) error {
	p.signal.Lock()
	defer p.signal.Unlock()
	if err := p.Err(); err != nil {
		return err
	}
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		return errors.Join(errAnswer, fmt.Errorf("read the answer: %w", err))
	}
	settle()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.offer = answer
	close(p.answered)
	return nil
}
