package sdp

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"go.uber.org/goleak"

	"banyan/relay/media"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testdata(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func roleOf(name string) Role {
	if strings.Contains(name, "play") {
		return Play
	}
	return Publish
}

func list(m *Media) string {
	var all []string
	for _, c := range m.Codecs {
		all = append(all, fmt.Sprintf("%s/%d", c.Codec, c.PayloadType))
	}
	return strings.Join(all, " ")
}

func TestOffers(t *testing.T) {
	for _, c := range []struct{ file, video, audio string }{
		{
			"chrome-play.sdp", "vp8/96 h264/103 h264/107 h264/109 h264/115 h264/117 h264/39 h264/119 av1/45 vp9/98 vp9/100",
			"opus/111 pcmu/0 pcma/8",
		},
		{
			"chrome-publish.sdp", "vp8/96 h264/103 h264/107 h264/109 h264/115 h264/117 h264/39 h264/119 av1/45 vp9/98 vp9/100",
			"opus/111 pcmu/0 pcma/8",
		},
		{"chrome-simulcast.sdp", "vp8/96 h264/103 h264/107 h264/109 h264/115 h264/117 h264/39 h264/119 av1/45 vp9/98 vp9/100", ""},
		{"firefox-play.sdp", "vp8/120 vp9/121 h264/126 h264/97 av1/99", "opus/109 pcmu/0 pcma/8"},
		{"firefox-desktop-play.sdp", "vp8/120 vp9/121 h264/126 h264/97 h264/105 h264/103 av1/99", "opus/109 pcmu/0 pcma/8"},
		{"firefox-android-play.sdp", "vp8/120 vp9/121 av1/99", "opus/109 pcmu/0 pcma/8"},
		{"safari-play.sdp", "h264/96 h264/98 h265/100 vp8/104", "opus/111 pcmu/0 pcma/8"},
		{"safari-mac-play.sdp", "h264/96 h264/98 h264/100 h264/102 h265/104 vp8/106 vp9/108 vp9/127 av1/39", "opus/111 pcmu/0 pcma/8"},
		{"safari-ios-play.sdp", "h264/96 h264/98 vp8/100 vp9/127", "opus/111 pcmu/0 pcma/8"},
		{"ffmpeg-publish.sdp", "h264/106", "opus/111"},
	} {
		o, err := ParseOffer(testdata(t, c.file), roleOf(c.file))
		if err != nil {
			t.Errorf("%s: %v", c.file, err)
			continue
		}
		if got := list(o.Of(media.Video)); got != c.video {
			t.Errorf("%s has video %s, want %s", c.file, got, c.video)
		}
		if m := o.Of(media.Audio); m != nil && list(m) != c.audio || m == nil && c.audio != "" {
			t.Errorf("%s has other audio than %s", c.file, c.audio)
		}
	}
}

func TestSanitised(t *testing.T) {
	o, err := ParseOffer(testdata(t, "chrome-publish.sdp"), Publish)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(o.Text, ".local") || !strings.Contains(o.Text, "192.0.2.7") {
		t.Error("the text has candidates that are names, or lacks those that are addresses")
	}
	if c := o.Of(media.Video).Codecs[0]; c.RTX != 97 || len(c.Feedback) != 5 {
		t.Errorf("VP8 is %+v, want its retransmissions and feedback", c)
	}
	o, err = ParseOffer(testdata(t, "chrome-simulcast.sdp"), Publish)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(o.Text, "simulcast") || strings.Contains(o.Text, "a=rid") {
		t.Error("simulcast is left in the text")
	}
}

// TestBadOffers is class B of the checklists. Each case edits an offer that is fine.
func TestBadOffers(t *testing.T) {
	replace := func(old, new string) func(string) string {
		return func(s string) string { return strings.Replace(s, old, new, 1) }
	}
	every := func(old, new string) func(string) string {
		return func(s string) string { return strings.ReplaceAll(s, old, new) }
	}
	add := func(line string) func(string) string { // to the last m-line
		return func(s string) string { return s + line + "\r\n" }
	}
	video := "m=video 9 UDP/TLS/RTP/SAVPF"
	for _, c := range []struct {
		why        string
		edit       func(string) string
		understood bool // 422 rather than 400
	}{
		{"empty", func(string) string { return "" }, false},
		{"one byte", func(string) string { return "v" }, false},
		{"no v=", replace("v=0\r\n", ""), false},
		{"v=1", replace("v=0", "v=1"), false},
		{"no m=", func(s string) string { return s[:strings.Index(s, "m=")] }, false},
		{"only datachannel", func(s string) string {
			return s[:strings.Index(s, "m=")] + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\n"
		}, true},
		{"1,000 m=", func(s string) string { return s + strings.Repeat("m=video 9 UDP/TLS/RTP/SAVPF 96\r\n", 1000) }, false},
		{"1,000 payload types", replace(video, video+strings.Repeat(" 96", 1000)), false},
		{"payload type 128", replace(video, video+" 128"), false},
		{"payload type of letters", replace(video, video+" x"), false},
		{"duplicate mid", replace("a=mid:1", "a=mid:0"), false},
		{"missing mid", replace("a=mid:1\r\n", ""), false},
		{"mid of 100 characters", replace("a=mid:1", "a=mid:"+strings.Repeat("1", 100)), false},
		{"BUNDLE with unknown mid", replace("BUNDLE 0 1", "BUNDLE 0 1 7"), false},
		{"BUNDLE of one", replace("BUNDLE 0 1", "BUNDLE 0"), false},
		{"no BUNDLE", replace("a=group:BUNDLE 0 1\r\n", ""), false},
		{"two BUNDLE groups", replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0\r\na=group:BUNDLE 1"), false},
		{"no fingerprint", every("a=fingerprint:", "a=x-fingerprint:"), false},
		{"md5 fingerprint", every("sha-256", "md5"), false},
		{"sha-1 fingerprint", every("sha-256", "sha-1"), false},
		{"two fingerprints", replace("a=fingerprint:sha-256 4A", "a=fingerprint:sha-256 4B"), false},
		{"fingerprint 10 KiB", every("sha-256 4A", "sha-256 "+strings.Repeat("4A:", 3400)+"4A"), false},
		{"fingerprint too short", every("4A:AD:", ""), false},
		{"fingerprint of other letters", every("4A:AD", "4A:XX"), false},
		{"no ufrag", every("a=ice-ufrag", "a=x-ufrag"), false},
		{"two ufrags", replace("a=ice-ufrag:EsAw", "a=ice-ufrag:EsAx"), false},
		{"ufrag 257", every("a=ice-ufrag:EsAw", "a=ice-ufrag:"+strings.Repeat("a", 257)), false},
		{"ufrag of three", every("a=ice-ufrag:EsAw", "a=ice-ufrag:EsA"), false},
		{"CRLF inside ufrag", every("a=ice-ufrag:EsAw", "a=ice-ufrag:Es\r\nAw"), false},
		{"CR inside ufrag", every("a=ice-ufrag:EsAw", "a=ice-ufrag:Es\rAw"), false},
		{"short password", every("P2uYro0UCOQ4zxjKXaWCBui1", "P2uYro0UCOQ4zxjKXaWCB"), false},
		{"setup holdconn", every("setup:actpass", "setup:holdconn"), false},
		{"setup missing", every("a=setup:actpass\r\n", ""), false},
		{"two setups", replace("setup:actpass", "setup:active"), false},
		{"inactive", replace("a=sendonly", "a=inactive"), true},
		{"recvonly to publish", replace("a=sendonly", "a=recvonly"), true},
		{"rtcp-mux absent", replace("a=rtcp-mux\r\n", ""), false},
		{"plain RTP", replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"), false},
		{"unknown codecs only", func(s string) string {
			return strings.NewReplacer("VP8/", "X1/", "VP9/", "X2/", "H264/", "X3/", "AV1/", "X4/").Replace(s)
		}, true},
		{"fmtp 64 KiB", add("a=fmtp:111 " + strings.Repeat("x", 64<<10)), false},
		{"ssrc 0", add("a=ssrc:0 cname:x"), false},
		{"ssrc 2^32", add("a=ssrc:4294967296 cname:x"), false},
		{"ssrc-group of itself", replace("a=ssrc-group:FID 1001 1002", "a=ssrc-group:FID 1001 1001"), false},
		{"ssrc-group of strangers", replace("a=ssrc-group:FID 1001 1002", "a=ssrc-group:FID 1001 9"), false},
		{"ssrc-group of nobody", replace("a=ssrc-group:FID 1001 1002", "a=ssrc-group:FID"), false},
		{"100 sources", func(s string) string {
			for i := range 100 {
				s += fmt.Sprintf("a=ssrc:%d cname:x\r\n", i+1)
			}
			return s
		}, false},
		{"rid 300 chars", add("a=rid:" + strings.Repeat("r", 300) + " send"), false},
		{"simulcast with unknown rid", add("a=simulcast:send h;m"), false},
		{"extmap id 0", add("a=extmap:0 urn:x"), false},
		{"extmap id 15", add("a=extmap:15 urn:x"), false},
		{"extmap id 256", add("a=extmap:256 urn:x"), false},
		{"duplicate extmap", add("a=extmap:9 urn:x"), false},
		{"m-line switched off", replace("m=audio 9", "m=audio 0"), true},
		{"two video tracks", func(s string) string { return s + s[strings.Index(s, "m=video"):strings.Index(s, "m=audio")] }, true},
		{"NUL", replace("s=-", "s=\x00"), false},
		{"invalid UTF-8", replace("s=-", "s=\xff"), false},
		{"line of 1 MiB", replace("s=-", "s="+strings.Repeat("x", 1<<20)), false},
		{"line of 100 KiB", replace("s=-", "s="+strings.Repeat("x", 100<<10)), false},
	} {
		text := c.edit(testdata(t, "chrome-publish.sdp"))
		_, err := ParseOffer(text, Publish)
		var answer *Error
		switch {
		case err == nil:
			t.Errorf("%s: accepted", c.why)
		case !errors.As(err, &answer) || answer.Understood != c.understood:
			t.Errorf("%s: %v (understood: %v), want understood to be %v", c.why, err, !c.understood, c.understood)
		case len(answer.Detail) > 300 || !strings.HasSuffix(answer.Detail, "."):
			t.Errorf("%s: answered with %d bytes: %.300s; want a sentence", c.why, len(answer.Detail), answer.Detail)
		}
	}
}

// TestToleratedOffers are odd and let through.
func TestToleratedOffers(t *testing.T) {
	for _, c := range []struct{ why, old, new string }{
		{"sendrecv", "a=sendonly", "a=sendrecv"},
		{"setup active", "setup:actpass", "setup:active"},
		{"an m-line for the bundle alone, as of max-bundle", "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\n", "m=audio 0 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\na=bundle-only\r\n"},
		{"profile-level-id garbage: the payload type is passed over", "profile-level-id=42001f", "profile-level-id=zz"},
		{"rtcp-mux-only, which RFC 9725 wants beside rtcp-mux", "a=rtcp-mux", "a=rtcp-mux\r\na=rtcp-mux-only"},
		{"unknown extmap", "a=mid:0", "a=mid:0\r\na=extmap:100 urn:x"},
		{"candidate with port 65536: passed over", "192.0.2.7 50000", "192.0.2.7 65536"},
		{"line feeds alone", "\r\n", "\n"},
	} {
		good := testdata(t, "chrome-publish.sdp")
		odd := strings.ReplaceAll(good, c.old, c.new)
		if _, err := ParseOffer(odd, Publish); err != nil || odd == good {
			t.Errorf("%s: %v (as it was: %v)", c.why, err, odd == good)
		}
	}
}

// TestMediaStreams: it does not matter which MediaStreams the tracks of a client are in (W9), only that there is one of
// each kind (W7).
func TestMediaStreams(t *testing.T) {
	good := testdata(t, "chrome-publish.sdp")
	for why, text := range map[string]string{
		"one for both tracks":  good,
		"one for each track":   strings.Replace(good, "a=msid:stream1 track2", "a=msid:stream2 track2", 1),
		"two for a track":      strings.Replace(good, "a=msid:stream1 track2", "a=msid:stream1 track2\r\na=msid:stream2 track2", 1),
		"none, which is said":  strings.ReplaceAll(good, "a=msid:stream1 ", "a=msid:- "),
		"none for one track":   strings.Replace(good, "a=msid:stream1 track2", "a=msid:- track2", 1),
		"with its sources":     strings.NewReplacer("\r\na=msid:stream1 track1", "", "a=msid:stream1 track2", "a=ssrc:9 msid:other track2").Replace(good),
		"none, without a word": strings.NewReplacer("a=msid:stream1 track1\r\n", "", "a=msid:stream1 track2\r\n", "").Replace(good),
	} {
		if text == good && why != "one for both tracks" {
			t.Fatalf("%s: the offer is as it was", why)
		}
		o, err := ParseOffer(text, Publish)
		if err != nil || o.Of(media.Video) == nil || o.Of(media.Audio) == nil {
			t.Errorf("%s: %v; want both tracks taken", why, err)
		}
		section := text[strings.Index(text, "m=audio"):]
		double := strings.Replace(text, "BUNDLE 0 1", "BUNDLE 0 1 2", 1) +
			strings.NewReplacer("a=mid:1", "a=mid:2", "track2", "track3").Replace(section)
		var refused *Error
		if _, err := ParseOffer(double, Publish); !errors.As(err, &refused) || !refused.Understood {
			t.Errorf("%s, and a second audio track: %v; want it understood and refused", why, err)
		}
	}
}

func TestTakes(t *testing.T) {
	sps := func(profile, constraints byte) [][]byte { return [][]byte{{0x67, profile, constraints, 31}} }
	offer := func(file string) []Codec {
		o, err := ParseOffer(testdata(t, file), Play)
		if err != nil {
			t.Fatal(err)
		}
		return o.Of(media.Video).Codecs
	}
	chrome, firefox, safari := offer("chrome-play.sdp"), offer("firefox-play.sdp"), offer("safari-play.sdp")
	h264 := func(sets [][]byte) media.Params {
		return media.Params{Codec: media.H264, ClockRate: 90000, Sets: sets}
	}
	reordered := h264(sps(77, 0))
	reordered.Reordered = true
	for _, c := range []struct {
		why   string
		peer  []Codec
		track media.Params
		want  uint8 // payload type; 0 for none
	}{
		{"constrained baseline", chrome, h264(sps(66, 0xc0)), 103},
		{"main needs main", chrome, h264(sps(77, 0)), 117},
		{"high needs high", chrome, h264(sps(100, 0)), 119},
		{"not known yet", chrome, h264(nil), 103},
		{"constrained baseline", firefox, h264(sps(66, 0xe0)), 126},
		{"baseline as encoders mean it", firefox, h264(sps(66, 0)), 126},
		{"main", firefox, h264(sps(77, 0)), 0},
		{"high", firefox, h264(sps(100, 0)), 0},
		{"constrained high", safari, h264(sps(100, 0x0c)), 96},
		{"high without B-frames", safari, h264(sps(100, 0)), 96},
		{"4:2:2", chrome, h264(sps(122, 0)), 0},
		{"B-frames", chrome, reordered, 0},
		{"H.265", chrome, media.Params{Codec: media.H265, ClockRate: 90000}, 0},
		{"H.265", safari, media.Params{Codec: media.H265, ClockRate: 90000}, 100},
		{"VP9 profile 0", chrome, media.Params{Codec: media.VP9, ClockRate: 90000}, 98},
		{"AV1", firefox, media.Params{Codec: media.AV1, ClockRate: 90000}, 99},
	} {
		var got uint8
		for _, codec := range c.peer {
			if codec.Takes(&c.track) {
				got = codec.PayloadType
				break
			}
		}
		if got != c.want {
			t.Errorf("%s: taken as payload type %d, want %d", c.why, got, c.want)
		}
	}
}

const goodFragment = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n" +
	"a=candidate:1 1 udp 2130706431 198.51.100.1 39132 typ host\r\na=end-of-candidates\r\n"

func TestFragment(t *testing.T) {
	f, err := ParseFragment(goodFragment)
	if err != nil {
		t.Fatal(err)
	}
	if f.Ufrag != "EsAw" || len(f.Candidates) != 1 || !f.End || f.MIDs[0] != "0" {
		t.Errorf("read as %+v", f)
	}
	again, err := ParseFragment(f.String())
	if err != nil || again.String() != f.String() {
		t.Errorf("written and read again: %+v, %v", again, err)
	}
}

func TestCandidates(t *testing.T) {
	for _, c := range []struct {
		why, candidate string
		want           bool
	}{
		{"host", "1 1 udp 2130706431 198.51.100.1 39132 typ host", true},
		{"with extensions", "1 1 UDP 2130706431 198.51.100.1 39132 typ srflx raddr 10.0.0.1 rport 9 generation 0 ufrag EsAw", true},
		{"IPv6", "1 1 udp 2130706431 2001:db8::1 39132 typ host", true},
		{"TCP active", "1 1 tcp 2130706431 198.51.100.1 9 typ host tcptype active", true},
		{"hostname", "1 1 udp 2130706431 example.com 39132 typ host", false},
		{".mdns", "1 1 udp 2130706431 3f2b0e0a.local 39132 typ host", false},
		{"port 0", "1 1 udp 2130706431 198.51.100.1 0 typ host", false},
		{"port 65536", "1 1 udp 2130706431 198.51.100.1 65536 typ host", false},
		{"scope id", "1 1 udp 2130706431 fe80::1%eth0 39132 typ host", false},
		{"multicast", "1 1 udp 2130706431 224.0.0.1 39132 typ host", false},
		{"unspecified", "1 1 udp 2130706431 0.0.0.0 39132 typ host", false},
		{"RTCP component", "1 2 udp 2130706431 198.51.100.1 39132 typ host", false},
		{"unknown type", "1 1 udp 2130706431 198.51.100.1 39132 typ magic", false},
		{"unknown transport", "1 1 sctp 2130706431 198.51.100.1 39132 typ host", false},
		{"priority of letters", "1 1 udp x 198.51.100.1 39132 typ host", false},
		{"cut short", "1 1 udp 2130706431 198.51.100.1", false},
		{"foundation of 100", strings.Repeat("1", 100) + " 1 udp 2130706431 198.51.100.1 39132 typ host", false},
		{"empty", "", false},
	} {
		f, err := ParseFragment("a=candidate:" + c.candidate + "\r\n")
		if err != nil {
			t.Errorf("%s: %v; want it dropped without complaint (RFC 9725 section 4.3.2)", c.why, err)
		} else if got := len(f.Candidates) == 1; got != c.want {
			t.Errorf("%s: used is %v, want %v", c.why, got, c.want)
		}
	}
	const one, other = "candidate:1 1 udp 1 192.0.2.1 9 typ host", "candidate:2 1 udp 1 192.0.2.2 9 typ host"
	f, err := ParseFragment("a=" + one + "\r\na=candidate:3 1 udp 1 a.local 9 typ host\r\na=candidate:x\r\na=" + other + "\r\n")
	if err != nil || !slices.Equal(f.Candidates, []string{one, other}) || f.Dropped != 2 {
		t.Errorf("candidates among others: read as %+v, %v; want the two that can be used (W20)", f, err)
	}
	f, err = ParseFragment(strings.Repeat("a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n", 700))
	if err != nil || len(f.Candidates) != maxCandidates {
		t.Errorf("700 candidates: %v; want %d used and the rest dropped", err, maxCandidates)
	}
}

func TestBadFragments(t *testing.T) {
	for why, text := range map[string]string{
		"empty":              "",
		"blank lines":        "\r\n\r\n",
		"no line of SDP":     "hello",
		"full SDP":           "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\n",
		"other lines":        "c=IN IP4 0.0.0.0\r\n",
		"nothing to do":      "a=mid:0\r\n",
		"ufrag without pwd":  "a=ice-ufrag:EsAw\r\n",
		"pwd without ufrag":  "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n",
		"pwd of 3":           "a=ice-ufrag:EsAw\r\na=ice-pwd:abc\r\n",
		"empty ufrag":        "a=ice-ufrag:\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n",
		"two ufrags":         "a=ice-ufrag:EsAw\r\na=ice-ufrag:EsAx\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n",
		"ufrag with a space": "a=ice-ufrag:Es Aw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n",
		"empty mid":          "a=mid:\r\na=end-of-candidates\r\n",
		"10,000 candidates":  strings.Repeat("a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n", 10000),
		"NUL":                "a=mid:\x00\r\n",
		"CR":                 "a=mid:0\ra=mid:1\r\n",
	} {
		if f, err := ParseFragment(text); err == nil {
			t.Errorf("%s: read as %+v; want an error", why, f)
		}
	}
}

func FuzzParseOffer(f *testing.F) {
	files, err := filepath.Glob("testdata/*.sdp")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		f.Add(testdata(f, filepath.Base(file)), uint8(roleOf(file)))
	}
	f.Fuzz(func(t *testing.T, text string, role uint8) {
		o, err := ParseOffer(text, Role(1+role%2))
		if err != nil {
			var answer *Error
			if !errors.As(err, &answer) || len(answer.Detail) > 1000 || !utf8.ValidString(answer.Detail) {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		if len(o.Media) == 0 || len(o.Media) > 2 || checkCredentials(o.Ufrag, o.Password) != nil || strings.Contains(o.Text, "a=simulcast") {
			t.Fatalf("accepted as %+v", o)
		}
		for _, m := range o.Media {
			for _, c := range m.Codecs {
				if c.Codec.Kind() != m.Kind || c.ClockRate == 0 {
					t.Fatalf("%v m-line has %+v", m.Kind, c)
				}
				_ = c.Takes(&media.Params{Codec: c.Codec, ClockRate: c.ClockRate, Sets: [][]byte{[]byte(text[:min(4, len(text))])}})
			}
		}
	})
}

func FuzzParseFragment(f *testing.F) {
	f.Add(goodFragment)
	f.Add("a=candidate:1 1 udp 2130706431 example.com 39132 typ host\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		fragment, err := ParseFragment(text)
		if err != nil {
			return
		}
		if len(fragment.Candidates) > maxCandidates || (fragment.Ufrag == "") != (fragment.Password == "") {
			t.Fatalf("read as %+v", fragment)
		}
		if strings.ContainsAny(fragment.Ufrag+fragment.Password+strings.Join(fragment.Candidates, ""), "\r\n\x00") {
			t.Fatalf("%+v would break the lines of an SDP", fragment)
		}
		if fragment.Ufrag != "" {
			if _, err := ParseFragment(fragment.String()); err != nil {
				t.Fatalf("%q is not read again: %v", fragment.String(), err)
			}
		}
	})
}
