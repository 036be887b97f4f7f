package rtsp

import (
	"slices"
	"strings"
	"testing"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/sdp"
	"github.com/pion/rtp"

	"banyan/relay/media"
)

// FuzzDescription feeds announced descriptions, and packets of what they announce.
func FuzzDescription(f *testing.F) {
	for _, rtpmap := range []string{
		"H264/90000", "H265/90000", "VP8/90000", "VP9/90000", "AV1/90000", "opus/48000/2", "PCMA/8000", "L16/44100/2",
	} {
		f.Add(strings.ReplaceAll(announcement, "H264/90000", rtpmap), []byte{0x65, 1, 2, 3})
	}
	f.Add(strings.Replace(strings.ReplaceAll(announcement, "H264/90000", "mpeg4-generic/48000/2"), "packetization-mode=1",
		"streamtype=5;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1190", 1), []byte{0, 16, 0, 8, 1})
	f.Add(strings.Replace(strings.ReplaceAll(announcement, "H264/90000", "MP4A-LATM/48000/2"), "packetization-mode=1",
		"profile-level-id=1;cpresent=0;object=2;config=400023203fc0", 1), []byte{1, 1})
	f.Fuzz(func(t *testing.T, text string, payload []byte) {
		var parsed sdp.SessionDescription
		if parsed.Unmarshal([]byte(text)) != nil {
			return
		}
		var session description.Session
		if session.Unmarshal(&parsed) != nil {
			return
		}
		sources, _, err := choose(&session)
		if err != nil {
			return
		}
		if len(sources) > len(media.Kinds) {
			t.Fatalf("%d tracks were chosen", len(sources))
		}
		for _, s := range sources {
			if p := s.params; p.Codec.Kind() == 0 || p.ClockRate <= 0 {
				t.Fatalf("chosen: %+v", p)
			}
			for i := range 3 {
				_, _ = s.decode(&rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: uint16(i), Marker: i == 2}, Payload: payload})
			}
		}
	})
}

// FuzzTarget feeds URLs: what is accepted is a name of the grammar.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{
		"rtsp://h/cup/cam1", "rtsp://h/cam?format=720p", "rtsp://h/cam/trackID=0", "rtsp://h/cam?token=x/trackID=1", "rtsp://h/../x", "rtsp://h//",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := base.ParseURL(raw)
		if err != nil {
			return
		}
		_ = queryToken(u)
		path, query := splitControl(u)
		to, err := parseTarget(path, query)
		if err != nil {
			return
		}
		if _, err := media.ParseName(string(to.name)); err != nil {
			t.Fatalf("%q became %q", raw, to.name)
		}
	})
}

// FuzzTransport feeds Transport headers: no source survives but the one that is allowed, no profile that gortsplib cannot
// read, and all others do.
func FuzzTransport(f *testing.F) {
	f.Add("RTP/AVP;unicast;source=10.0.0.1;client_port=5000-5001")
	f.Add("RTP/AVP; SOURCE = x;source=192.0.2.1")
	f.Add("RTP/AVP;unicast,source=x;RTP/AVP")
	f.Add("RAW/RAW/UDP;unicast, RTP/AVPF;unicast,RTP/AVP/TCP;interleaved=0-1")
	f.Fuzz(func(t *testing.T, value string) {
		offered := strings.Split(withoutForeign(base.HeaderValue{"RTP/AVP;a", value, "x/y;b"}), ",")
		for _, offer := range offered {
			profile, _, _ := strings.Cut(offer, ";")
			if profile = strings.TrimSpace(profile); strings.Contains(profile, "/") && !slices.Contains(profiles, profile) {
				t.Fatalf("%q keeps %q", value, offer)
			}
		}
		for _, offer := range strings.Split("RTP/AVP;a,"+value, ",") {
			for _, profile := range profiles {
				if strings.HasPrefix(offer, profile+";") && !slices.Contains(offered, offer) {
					t.Fatalf("%q loses %q", value, offer)
				}
			}
		}
		out := withoutSource(base.HeaderValue{value}, "192.0.2.1")
		for _, part := range strings.FieldsFunc(out[0], func(r rune) bool { return r == ';' || r == ',' }) {
			key, source, given := strings.Cut(part, "=")
			if given && strings.Trim(key, " ") == "source" && strings.TrimSpace(source) != "192.0.2.1" {
				t.Fatalf("%q keeps %q", value, part)
			}
		}
	})
}
