package rtc

import (
	"fmt"
	"slices"

	"github.com/pion/webrtc/v4"

	"banyan/relay/media"
	"banyan/relay/rtc/sdp"
)

var mimeTypes = map[media.Codec]string{
	media.H264: webrtc.MimeTypeH264, media.H265: webrtc.MimeTypeH265, media.VP8: webrtc.MimeTypeVP8,
	media.VP9: webrtc.MimeTypeVP9, media.AV1: webrtc.MimeTypeAV1, media.Opus: webrtc.MimeTypeOpus,
	media.PCMU: webrtc.MimeTypePCMU, media.PCMA: webrtc.MimeTypePCMA,
}

// CodecOf names the codec of a track that a publisher sends; "" for one that is not carried.
func CodecOf(mimeType string) media.Codec {
	for codec, name := range mimeTypes {
		if name == mimeType {
			return codec
		}
	}
	return ""
}

func kindOf(kind media.Kind) webrtc.RTPCodecType {
	if kind == media.Video {
		return webrtc.RTPCodecTypeVideo
	}
	return webrtc.RTPCodecTypeAudio
}

// feedback is what we can do for, and want of, each kind of track (RFC 4585, RFC 5104, transport-wide feedback).
type feedback []webrtc.RTCPFeedback

var (
	publisherVideo = feedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}, {Type: "ccm", Parameter: "fir"},
		{Type: "goog-remb"}, {Type: "transport-cc"}}
	publisherAudio = feedback{{Type: "nack"}, {Type: "transport-cc"}}
	viewerVideo    = feedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}, {Type: "ccm", Parameter: "fir"}}
	viewerAudio    = feedback{{Type: "nack"}}
)

// register makes the stack know exactly the given codecs of an offer, in its own words, so that it matches them and
// nothing else. With rtx, their retransmission formats too.
func register(engine *webrtc.MediaEngine, codecs []sdp.Codec, fb feedback, rtx bool) error {
	for _, c := range codecs {
		kind := kindOf(c.Codec.Kind())
		if err := engine.RegisterCodec(parameters(c, fb), kind); err != nil {
			return fmt.Errorf("register %s: %w", c.Codec, err)
		}
		if !rtx || c.RTX == 0 {
			continue
		}
		if err := engine.RegisterCodec(retransmission(c), kind); err != nil {
			return fmt.Errorf("register retransmission of %s: %w", c.Codec, err)
		}
	}
	return nil
}

func parameters(c sdp.Codec, fb feedback) webrtc.RTPCodecParameters {
	capability := webrtc.RTPCodecCapability{
		MimeType: mimeTypes[c.Codec], ClockRate: uint32(c.ClockRate), SDPFmtpLine: c.FMTP, RTCPFeedback: fb,
	}
	if c.Codec == media.Opus {
		capability.Channels = 2 // RFC 7587 section 7: always, whatever is in it
	}
	return webrtc.RTPCodecParameters{RTPCodecCapability: capability, PayloadType: webrtc.PayloadType(c.PayloadType)}
}

func retransmission(c sdp.Codec) webrtc.RTPCodecParameters {
	return webrtc.RTPCodecParameters{
		RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: webrtc.MimeTypeRTX, ClockRate: uint32(c.ClockRate), SDPFmtpLine: c.RTXFMTP,
		},
		PayloadType: webrtc.PayloadType(c.RTX),
	}
}

// prefer makes the answer list codecs in our order instead of the peer's.
func prefer(pc *webrtc.PeerConnection, codecs []sdp.Codec, fb feedback, rtx bool) error {
	for _, t := range pc.GetTransceivers() {
		var list []webrtc.RTPCodecParameters
		for _, c := range codecs {
			if kindOf(c.Codec.Kind()) != t.Kind() {
				continue
			}
			list = append(list, parameters(c, fb))
			if rtx && c.RTX != 0 {
				list = append(list, retransmission(c))
			}
		}
		if len(list) == 0 {
			continue
		}
		if err := t.SetCodecPreferences(list); err != nil {
			return fmt.Errorf("order codecs: %w", err)
		}
	}
	return nil
}

// publisherOrder is which codec we ask publishers to send, best first: what most viewers and HLS can take as it is.
var publisherOrder = []media.Codec{media.H264, media.H265, media.VP9, media.VP8, media.AV1, media.Opus, media.PCMU, media.PCMA}

// forPublishing orders what a publisher offers by our preference, keeping the publisher's among equals.
func forPublishing(codecs []sdp.Codec) []sdp.Codec {
	sorted := slices.Clone(codecs)
	slices.SortStableFunc(sorted, func(a, b sdp.Codec) int {
		return slices.Index(publisherOrder, a.Codec) - slices.Index(publisherOrder, b.Codec)
	})
	return sorted
}
