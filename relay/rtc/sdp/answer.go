package sdp

import (
	"slices"

	pion "github.com/pion/sdp/v3"

	"banyan/relay/media"
)

// Answer is a peer's answer to an offer of ours that passed all checks. It does not change once parsed.
type Answer struct {
	Text  string  // what the WebRTC stack is given
	Media []Media // the m-lines that the peer accepts, with what it accepts of our codecs; never empty

	Ufrag, Password string // the peer's ICE credentials
	Fingerprint     string // of the peer's certificate, as in Offer
	Setup           string // "active" where the peer begins with DTLS, or "passive"
}

// Of is the m-line of a kind, or nil where the peer refuses it.
func (a *Answer) Of(kind media.Kind) *Media { return (&Offer{Media: a.Media}).Of(kind) }

// ParseAnswer checks a peer's answer to ours, an offer that sends. An m-line may be refused (port 0), not all of them.
// Errors are of type *Error.
func ParseAnswer(text string, ours *Offer) (*Answer, error) {
	d, err := parse(text)
	if err != nil {
		return nil, err
	}
	if len(d.MediaDescriptions) != len(ours.Media) {
		return nil, unable("The answer has %d m-lines and the offer %d. Answer each m-line of the offer, in its order.",
			len(d.MediaDescriptions), len(ours.Media))
	}
	read := &Offer{Text: sanitise(text)} // the checks of a transport are those of an offer's
	var accepted []*pion.MediaDescription
	for i, m := range d.MediaDescriptions {
		if m.MediaName.Port.Value == 0 && !bundleOnly(m) {
			continue
		}
		line, err := checkAccepted(d, m, &ours.Media[i])
		if err != nil {
			return nil, err
		}
		read.Media, accepted = append(read.Media, line), append(accepted, m)
	}
	if len(accepted) == 0 {
		return nil, unable("The answer refuses every m-line. Accept one, or end the session by DELETE.")
	}
	d.MediaDescriptions = accepted // what a refused m-line says of the transport means nothing
	for _, check := range []func(*Offer, *pion.SessionDescription, Role) error{
		checkMIDs, checkBundle, checkICE, checkFingerprint, checkAnsweredSetup,
	} {
		if err := check(read, d, Play); err != nil {
			return nil, err
		}
	}
	return &Answer{
		Text: read.Text, Media: read.Media, Ufrag: read.Ufrag, Password: read.Password,
		Fingerprint: read.Fingerprint, Setup: read.Setup,
	}, nil
}

// bundleOnly tells an m-line whose port is 0 because it shares another's transport from one that is refused. Answers
// should not say so (RFC 9143 section 6), and do in the examples of RFC 9725 and WHEP.
func bundleOnly(m *pion.MediaDescription) bool {
	_, ok := m.Attribute("bundle-only")
	return ok
}

// checkAccepted reads the answer to an m-line of ours.
func checkAccepted(d *pion.SessionDescription, m *pion.MediaDescription, ours *Media) (Media, error) {
	if kindOf(m.MediaName.Media) != ours.Kind {
		return Media{}, unable("The answer has an m-line for %.20q where the offer has %v. Answer each m-line of the offer, in its order.",
			m.MediaName.Media, ours.Kind)
	}
	if direction := directionOf(d, m); direction != "recvonly" { // RFC 3264 section 6.1, draft-ietf-wish-whep-03
		return Media{}, unable("The %v m-line is %s. The offer sends: make it recvonly.", ours.Kind, direction)
	}
	line, err := readMedia(m, ours.Kind)
	if err != nil {
		return Media{}, err
	}
	if line.MID != ours.MID {
		return Media{}, unable("The %v m-line has the mid %.40q and the offer's has %q. Keep the offer's.", ours.Kind, line.MID, ours.MID)
	}
	line.Codecs = slices.DeleteFunc(line.Codecs, func(c Codec) bool {
		return !slices.ContainsFunc(ours.Codecs, c.accepts)
	})
	if len(line.Codecs) == 0 {
		return Media{}, unable("The %v m-line takes no codec of the offer. Take one, under its payload type, or refuse the m-line by port 0.", ours.Kind)
	}
	return line, nil
}

// accepts tells whether c, of an answer, accepts what was offered. The packetization mode of H.264 is not negotiated:
// an answer keeps it or drops the payload type (RFC 6184 section 8.2.2).
func (c Codec) accepts(offered Codec) bool {
	if c.PayloadType != offered.PayloadType || c.Codec != offered.Codec || c.ClockRate != offered.ClockRate {
		return false
	}
	return c.Codec != media.H264 || c.h264().mode == offered.h264().mode
}

// checkAnsweredSetup wants the answer to choose who begins with DTLS (RFC 8842 section 5.3).
func checkAnsweredSetup(o *Offer, d *pion.SessionDescription, _ Role) error {
	setups := transportValues(d, "setup")
	if len(setups) != 1 || setups[0] != "active" && setups[0] != "passive" {
		return bad("The answer needs one a=setup, the same in all m-lines: write active.")
	}
	o.Setup = setups[0]
	return nil
}

// Everything is what a peer would offer to receive that takes all that is carried here, of the given kinds: where it
// is not known what a peer takes, an offer of ours is chosen from it. It has no text.
func Everything(kinds ...media.Kind) *Offer {
	o := &Offer{}
	for _, kind := range kinds {
		o.Media = append(o.Media, Media{Kind: kind, Codecs: everything(kind)})
	}
	return o
}

// everything lists the codecs of a kind that are carried, with the parameters and, by custom, the payload types of
// browsers. Of H.264 the profile that every peer takes comes first.
func everything(kind media.Kind) []Codec {
	if kind == media.Audio {
		return []Codec{
			{Codec: media.Opus, PayloadType: 111, ClockRate: 48000, Channels: 2, FMTP: "minptime=10;useinbandfec=1"},
			{Codec: media.PCMU, PayloadType: 0, ClockRate: 8000, Channels: 1},
			{Codec: media.PCMA, PayloadType: 8, ClockRate: 8000, Channels: 1},
		}
	}
	const avc = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id="
	list := []Codec{
		{Codec: media.H264, PayloadType: 102, FMTP: avc + "42e01f"},
		{Codec: media.H264, PayloadType: 104, FMTP: avc + "4d001f"},
		{Codec: media.H264, PayloadType: 106, FMTP: avc + "64001f"},
		{Codec: media.VP8, PayloadType: 96},
		{Codec: media.VP9, PayloadType: 98, FMTP: "profile-id=0"},
		{Codec: media.H265, PayloadType: 100, FMTP: "profile-id=1;tier-flag=0"},
		{Codec: media.AV1, PayloadType: 108, FMTP: "profile=0"},
	}
	for i := range list {
		list[i].ClockRate, list[i].Channels = media.VideoClockRate, 1
	}
	return list
}
