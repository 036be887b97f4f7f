package sdp

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"banyan/relay/media"
)

// goodAnswer answers the offer of ours().
const goodAnswer = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n" +
	"m=video 9 UDP/TLS/RTP/SAVPF 102 96\r\nc=IN IP4 0.0.0.0\r\n" + transport + "a=mid:0\r\n" +
	"a=rtpmap:102 H264/90000\r\na=fmtp:102 packetization-mode=1;profile-level-id=42e01f\r\na=rtpmap:96 VP8/90000\r\n" +
	"a=candidate:1 1 udp 2130706431 198.51.100.1 39132 typ host\r\na=candidate:2 1 udp 1 secret.local 39132 typ host\r\n" +
	"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\n" + transport + "a=mid:1\r\na=rtpmap:111 opus/48000/2\r\n"

const transport = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na=setup:active\r\na=rtcp-mux\r\na=recvonly\r\n" +
	"a=fingerprint:sha-256 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF\r\n"

// ours is an offer of H.264 and Opus.
func ours() *Offer {
	o := Everything(media.Video, media.Audio)
	for i := range o.Media {
		o.Media[i].MID, o.Media[i].Codecs = string(rune('0'+i)), o.Media[i].Codecs[:1]
	}
	return o
}

func TestAnswer(t *testing.T) {
	a, err := ParseAnswer(goodAnswer, ours())
	if err != nil {
		t.Fatal(err)
	}
	if v := a.Of(media.Video); v == nil || len(v.Codecs) != 1 || v.Codecs[0].PayloadType != 102 {
		t.Errorf("video is %+v, want H.264 alone, as VP8 was not offered", v)
	}
	if a.Setup != "active" || !strings.HasPrefix(a.Fingerprint, "sha-256 4A:AD:") {
		t.Errorf("DTLS is %q, %q; want what the answer says", a.Setup, a.Fingerprint)
	}
	if a.Ufrag != "EsAw" || strings.Contains(a.Text, ".local") || !strings.Contains(a.Text, "198.51.100.1") {
		t.Errorf("read as %+v, want its credentials, and candidates that are addresses", a)
	}
	refused := strings.NewReplacer("m=audio 9", "m=audio 0", "BUNDLE 0 1", "BUNDLE 0").Replace(goodAnswer)
	if a, err = ParseAnswer(refused, ours()); err != nil || a.Of(media.Audio) != nil || a.Of(media.Video) == nil {
		t.Errorf("without audio: %+v, %v", a, err)
	}
}

func TestBadAnswers(t *testing.T) {
	for _, c := range []struct {
		why, old, new string
		understood    bool // 422 rather than 400
	}{
		{"no SDP", "v=0", "x", false},
		{"NUL", "s=-", "s=\x00", false},
		{"one m-line", goodAnswer[strings.Index(goodAnswer, "m=audio"):], "", true},
		{"kinds swapped", "m=video", "m=audio", true},
		{"data channel", "m=audio", "m=application", true},
		{"sendonly", "a=recvonly", "a=sendonly", true},
		{"no direction", "a=recvonly\r\n", "", true},
		{"inactive", "a=recvonly", "a=inactive", true},
		{"other mid", "a=mid:1", "a=mid:x", true},
		{"refused and bundled", "m=audio 9", "m=audio 0", false},
		{"all refused", " 9 UDP", " 0 UDP", true},
		{"not bundled", "BUNDLE 0 1", "BUNDLE 0", false},
		{"payload type that was not offered", "102", "103", true},
		{"another codec under the payload type", "H264/90000", "VP9/90000", true},
		{"another packetization mode", "packetization-mode=1", "packetization-mode=0", true},
		{"plain RTP", "UDP/TLS/RTP/SAVPF", "RTP/AVP", false},
		{"no rtcp-mux", "a=rtcp-mux\r\n", "", false},
		{"actpass", "setup:active", "setup:actpass", false},
		{"no setup", "a=setup:active\r\n", "", false},
		{"no fingerprint", "a=fingerprint", "a=x", false},
		{"no password", "a=ice-pwd", "a=x", false},
	} {
		_, err := ParseAnswer(strings.ReplaceAll(goodAnswer, c.old, c.new), ours())
		var answer *Error
		switch {
		case err == nil:
			t.Errorf("%s: accepted", c.why)
		case !errors.As(err, &answer) || answer.Understood != c.understood:
			t.Errorf("%s: %v, want understood to be %v", c.why, err, c.understood)
		case len(answer.Detail) > 300 || !strings.HasSuffix(answer.Detail, "."):
			t.Errorf("%s: answered with %.300s; want a sentence", c.why, answer.Detail)
		}
	}
}

// TestEverything checks that there is a codec for each that is carried.
func TestEverything(t *testing.T) {
	o := Everything(media.Video, media.Audio)
	for name, codec := range encodings {
		m, found, types := o.Of(codec.Kind()), false, map[uint8]bool{}
		for _, c := range m.Codecs {
			found = found || c.Carries(&media.Params{Codec: codec, ClockRate: c.ClockRate})
			if types[c.PayloadType] {
				t.Errorf("payload type %d comes twice", c.PayloadType)
			}
			types[c.PayloadType] = true
		}
		if !found {
			t.Errorf("nothing takes %s", name)
		}
	}
}

func FuzzParseAnswer(f *testing.F) {
	f.Add(goodAnswer)
	f.Add(strings.NewReplacer("m=audio 9", "m=audio 0", "BUNDLE 0 1", "BUNDLE 0").Replace(goodAnswer))
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAnswer(text, ours())
		if err != nil {
			var answer *Error
			if !errors.As(err, &answer) || len(answer.Detail) > 1000 || !utf8.ValidString(answer.Detail) {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		if len(a.Media) == 0 || len(a.Media) > 2 || checkCredentials(a.Ufrag, a.Password) != nil {
			t.Fatalf("accepted as %+v", a)
		}
		for _, m := range a.Media {
			for _, c := range m.Codecs {
				if !c.accepts(ours().Of(m.Kind).Codecs[0]) {
					t.Fatalf("%v m-line has %+v, which was not offered", m.Kind, c)
				}
			}
			if len(m.Codecs) == 0 {
				t.Fatalf("%v m-line has no codec", m.Kind)
			}
		}
	})
}
