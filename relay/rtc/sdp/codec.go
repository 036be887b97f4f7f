package sdp

import (
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	pion "github.com/pion/sdp/v3"

	"banyan/relay/media"
)

// Codec is one payload type of an m-line, in the words of the peer.
type Codec struct {
	Codec       media.Codec
	PayloadType uint8
	ClockRate   int
	Channels    int    // audio
	FMTP        string // as the peer wrote it
	Feedback    []string
	RTX         uint8 // payload type of its retransmissions (RFC 4588); zero where not offered
	RTXFMTP     string
}

// encodings maps the names of RTP payload formats, in lower case with their clock rate, to codecs.
var encodings = map[string]media.Codec{
	"h264/90000": media.H264, "h265/90000": media.H265, "vp8/90000": media.VP8, "vp9/90000": media.VP9,
	"av1/90000": media.AV1, "opus/48000": media.Opus, "pcmu/8000": media.PCMU, "pcma/8000": media.PCMA,
}

// names lists the codecs of a kind for people.
func names(kind media.Kind) string {
	var list []string
	for _, codec := range encodings {
		if codec.Kind() == kind {
			list = append(list, string(codec))
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// payload is what the attributes of an m-line say of one payload type.
type payload struct {
	encoding string // name/rate[/channels]
	fmtp     string
	feedback []string
}

// readCodecs lists the codecs of an m-line that Banyan can carry, in order of preference.
func readCodecs(m *pion.MediaDescription, kind media.Kind) ([]Codec, error) {
	if len(m.MediaName.Formats) > maxPayloads {
		return nil, bad("An m-line has %d payload types. Offer at most %d.", len(m.MediaName.Formats), maxPayloads)
	}
	payloads, err := readPayloads(m)
	if err != nil {
		return nil, err
	}
	var codecs []Codec
	for _, format := range m.MediaName.Formats {
		pt, _ := strconv.ParseUint(format, 10, 7) // readPayloads checked it
		c, ok := newCodec(uint8(pt), payloads[uint8(pt)])
		if !ok || c.Codec.Kind() != kind {
			continue
		}
		c.RTX, c.RTXFMTP = retransmission(payloads, c.PayloadType)
		codecs = append(codecs, c)
	}
	return codecs, nil
}

func readPayloads(m *pion.MediaDescription) (map[uint8]*payload, error) {
	payloads := map[uint8]*payload{}
	for _, format := range m.MediaName.Formats {
		pt, err := strconv.ParseUint(format, 10, 7)
		if err != nil || payloads[uint8(pt)] != nil {
			return nil, bad("The payload type %.20q is not valid or comes twice. Use 0 to 127, each once.", format)
		}
		payloads[uint8(pt)] = &payload{encoding: static(uint8(pt))}
	}
	for _, a := range m.Attributes {
		number, value, _ := strings.Cut(a.Value, " ")
		pt, err := strconv.ParseUint(number, 10, 7)
		switch p := payloads[uint8(pt)]; {
		case a.Key == "rtcp-fb" && number == "*":
			for _, p := range payloads {
				p.feedback = append(p.feedback, value)
			}
		case err != nil || p == nil: // of a payload type that is not offered
		case a.Key == "rtpmap":
			p.encoding = strings.ToLower(value)
		case a.Key == "fmtp":
			p.fmtp = value
		case a.Key == "rtcp-fb":
			p.feedback = append(p.feedback, value)
		}
	}
	return payloads, nil
}

// static are the payload types that need no rtpmap (RFC 3551 section 6).
func static(pt uint8) string {
	switch pt {
	case 0:
		return "pcmu/8000"
	case 8:
		return "pcma/8000"
	}
	return ""
}

func newCodec(pt uint8, p *payload) (Codec, bool) {
	name, rest, _ := strings.Cut(p.encoding, "/")
	rate, channels, _ := strings.Cut(rest, "/")
	c := Codec{Codec: encodings[name+"/"+rate], PayloadType: pt, FMTP: p.fmtp, Feedback: p.feedback, Channels: 1}
	if c.Codec == "" {
		return Codec{}, false
	}
	c.ClockRate, _ = strconv.Atoi(rate) // it is one of encodings
	if channels != "" {
		n, err := strconv.Atoi(channels)
		if err != nil || n < 1 || n > 2 {
			return Codec{}, false // multi-channel Opus is not standardised
		}
		c.Channels = n
	}
	if c.Codec == media.H264 && c.h264() == nil {
		return Codec{}, false
	}
	return c, true
}

// retransmission finds the RTX payload type for pt (RFC 4588 section 8.6).
func retransmission(payloads map[uint8]*payload, pt uint8) (uint8, string) {
	for rtx, p := range payloads {
		if strings.HasPrefix(p.encoding, "rtx/") && parameter(p.fmtp, "apt") == strconv.Itoa(int(pt)) {
			return rtx, p.fmtp
		}
	}
	return 0, ""
}

// parameter is the value of key in a list "key=value;key=value", or "".
func parameter(fmtp, key string) string {
	for part := range strings.SplitSeq(fmtp, ";") {
		k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		if strings.EqualFold(k, key) {
			return v
		}
	}
	return ""
}

// Takes tells whether a peer that offers to receive c can decode a track with parameters p.
//
// Frames in another order than that of display cannot be sent by WebRTC at all. Of H.264 the profile must fit, the
// level need not: every browser states level 3.1 and decodes what its machine can (level-asymmetry-allowed).
// Where the profile of the track is not known yet, it is taken to fit.
func (c Codec) Takes(p *media.Params) bool {
	if !c.Carries(p) {
		return false
	}
	switch c.Codec {
	case media.H264:
		return c.takesH264(p)
	case media.VP9:
		profile := parameter(c.FMTP, "profile-id")
		return profile == "" || profile == "0" // the only one that is sent here
	case media.AV1:
		profile := parameter(c.FMTP, "profile")
		return profile == "" || profile == "0"
	}
	return true
}

// Carries tells whether a track with parameters p can be sent as c at all, be it that the peer promised to decode its
// profile or not: the last resort where nothing better is there, as peers decode more than they promise.
func (c Codec) Carries(p *media.Params) bool {
	if c.Codec != p.Codec || c.ClockRate != p.ClockRate || p.Reordered {
		return false
	}
	return c.Codec != media.H264 || c.h264().mode == 1 // tracks are in packetization mode 1
}

func (c Codec) takesH264(p *media.Params) bool {
	offered := c.h264()
	for _, set := range p.Sets {
		const header = 4 // NAL unit header, then profile_idc, constraint flags, level_idc
		if len(set) >= header && set[0]&0x1f == 7 {
			return offered.profile.decodes(profileOf(set[1], set[2]))
		}
	}
	return true
}

// h264 are the parameters that tell one H.264 configuration from another (RFC 6184 section 8.1).
type h264 struct {
	profile profile
	mode    int
}

// h264 reads them; nil where they make no sense.
func (c Codec) h264() *h264 {
	id := parameter(c.FMTP, "profile-level-id")
	if id == "" {
		id = "420010" // RFC 6184 section 8.1: Baseline, level 1
	}
	b, err := hex.DecodeString(id)
	if err != nil || len(b) != 3 {
		return nil
	}
	h := &h264{profile: profileOf(b[0], b[1])}
	switch parameter(c.FMTP, "packetization-mode") {
	case "", "0":
	case "1":
		h.mode = 1
	default: // interleaved mode is not carried
		return nil
	}
	return h
}

// profile is an H.264 profile.
type profile uint8

const (
	otherProfile profile = iota
	constrainedBaseline
	baseline
	mainProfile
	constrainedHigh
	high
)

// profileOf reads profile_idc and the constraint flags (RFC 6184 table 5).
func profileOf(idc, constraints byte) profile {
	const set0, set1, set4, set5 = 0x80, 0x40, 0x08, 0x04
	switch {
	case idc == 66 && constraints&set1 != 0, idc == 77 && constraints&set0 != 0, idc == 88 && constraints&(set0|set1) == set0|set1:
		return constrainedBaseline
	case idc == 66:
		return baseline
	case idc == 77:
		return mainProfile
	case idc == 100 && constraints&(set4|set5) == set4|set5:
		return constrainedHigh
	case idc == 100:
		return high
	}
	return otherProfile
}

// decodes tells whether a decoder of profile p decodes a stream of profile s. Encoders that say Baseline never use
// what the constrained one lacks (slice groups, arbitrary slice order), so the two count as one. So do both kinds of
// High: Constrained High, which Safari offers, lacks B-frames, and a stream that has them is Reordered, and interlacing,
// which no encoder for the web uses.
func (p profile) decodes(s profile) bool {
	switch s {
	case constrainedBaseline, baseline:
		return p != otherProfile
	case mainProfile:
		return p == mainProfile || p == high
	case constrainedHigh, high:
		return p == constrainedHigh || p == high
	}
	return false
}
