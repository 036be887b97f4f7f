package rtc

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pion/rtp"

	"banyan/relay/media"
	"banyan/relay/rtc/sdp"
)

func newPacket(seq uint16, payload string) *rtp.Packet {
	return &rtp.Packet{
		Header:  rtp.Header{Version: 2, SequenceNumber: seq, Timestamp: uint32(seq) * 3000},
		Payload: []byte(payload),
	}
}

var mLine = regexp.MustCompile(`(?m)^m=(\w+) (\d+) \S+ (.*?)\r?$`)

// mLines lists the m-lines of a description as "video 102 103; audio 111".
func mLines(text string) string {
	var list []string
	for _, m := range mLine.FindAllStringSubmatch(text, -1) {
		line := m[1] + " " + m[3]
		if m[2] == "0" {
			line = m[1] + " refused"
		}
		list = append(list, line)
	}
	return strings.Join(list, "; ")
}

// TestAnswersToBrowsers answers offers as browsers that cannot be run here write them.
func TestAnswersToBrowsers(t *testing.T) {
	n := newTestNetwork(t, Config{})
	opus := media.Params{Codec: media.Opus, ClockRate: 48000}
	high := media.Params{Codec: media.H264, ClockRate: 90000, Sets: [][]byte{{0x67, 100, 0, 31}}}
	for _, c := range []struct {
		file   string
		edit   [2]string
		tracks []media.Params // that are played
		want   string
		has    []string
		not    []string
	}{
		{
			file: "chrome-play.sdp", tracks: []media.Params{high, *h264, opus},
			want: "video 119 103; audio 111", has: []string{"a=sendonly", "a=setup:active"},
		},
		{file: "chrome-play.sdp", tracks: []media.Params{*h264}, want: "video 103; audio refused"},
		{
			file: "chrome-play.sdp", edit: [2]string{"a=recvonly", "a=sendrecv"}, tracks: []media.Params{*h264, opus},
			want: "video 103; audio 111", has: []string{"a=sendonly"}, not: []string{"a=sendrecv", "a=recvonly"},
		},
		{
			file: "chrome-play.sdp", edit: [2]string{"a=recvonly\r\n", ""}, tracks: []media.Params{*h264, opus},
			want: "video 103; audio 111", has: []string{"a=sendonly"}, not: []string{"a=sendrecv", "a=recvonly"},
		},
		{file: "firefox-play.sdp", tracks: []media.Params{*h264, opus}, want: "audio 109; video 126", has: []string{"a=sendonly"}},
		{file: "safari-play.sdp", tracks: []media.Params{high, {Codec: media.H265, ClockRate: 90000}, opus}, want: "video 96 100; audio 111"},
		{
			file: "chrome-publish.sdp",
			want: "video 103 104 107 108 109 114 115 116 117 118 39 40 119 120 98 99 100 101 96 97 45 46; audio 111 0 8",
			has:  []string{"a=recvonly", "transport-cc", "a=rtcp-fb:103 nack pli", "a=rtcp-fb:103 ccm fir", "a=rtcp-fb:103 goog-remb"},
			not:  []string{"a=sendrecv", "red/", "telephone-event"},
		},
		{
			file: "chrome-publish.sdp", edit: [2]string{"a=sendonly", "a=sendrecv"},
			want: "video 103 104 107 108 109 114 115 116 117 118 39 40 119 120 98 99 100 101 96 97 45 46; audio 111 0 8",
			has:  []string{"a=recvonly"}, not: []string{"a=sendrecv", "a=sendonly"},
		},
		{ // RFC 9143 section 7.2.1
			file: "chrome-publish.sdp", edit: [2]string{"m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\n", "m=audio 0 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\na=bundle-only\r\n"},
			want: "video 103 104 107 108 109 114 115 116 117 118 39 40 119 120 98 99 100 101 96 97 45 46; audio 111 0 8",
			has:  []string{"a=recvonly"},
		},
		{file: "chrome-simulcast.sdp", want: "video 103 104 107 108 109 114 115 116 117 118 39 40 119 120 98 99 100 101 96 97 45 46", not: []string{"simulcast", "a=rid"}},
		{file: "ffmpeg-publish.sdp", want: "audio 111; video 106", has: []string{"a=recvonly", "a=setup:active"}},
		{
			file: "chrome-publish.sdp", edit: [2]string{"setup:actpass", "setup:active"},
			want: "video 103 104 107 108 109 114 115 116 117 118 39 40 119 120 98 99 100 101 96 97 45 46; audio 111 0 8",
			has:  []string{"a=setup:passive"}, not: []string{"a=setup:active"},
		},
	} {
		text, err := os.ReadFile(filepath.Join("sdp", "testdata", c.file))
		if err != nil {
			t.Fatal(err)
		}
		edited := string(text)
		if c.edit[0] != "" {
			edited = strings.ReplaceAll(edited, c.edit[0], c.edit[1])
			if edited == string(text) {
				t.Fatalf("%s has nothing like %q", c.file, c.edit[0])
			}
		}
		peer := answerOf(t, n, edited, c.tracks)
		answer := peer.Answer()
		peer.Close()
		if got := mLines(answer); got != c.want {
			t.Errorf("%s is answered with %s\nwant %s", c.file, got, c.want)
		}
		for _, want := range append(c.has, "a=rtcp-mux", "a=group:BUNDLE", "a=candidate:", "a=end-of-candidates") {
			if !strings.Contains(answer, want) {
				t.Errorf("%s: the answer lacks %q:\n%s", c.file, want, answer)
			}
		}
		for _, not := range c.not {
			if strings.Contains(answer, not) {
				t.Errorf("%s: the answer has %q:\n%s", c.file, not, answer)
			}
		}
	}
}

// answerOf answers an offer to play these tracks, or, where there are none, one to publish.
func answerOf(t *testing.T, n *Network, text string, tracks []media.Params) *Peer {
	t.Helper()
	if len(tracks) == 0 {
		p, err := n.NewPublisher(t.Context(), PeerConfig{Offer: parse(t, text, sdp.Publish)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return p.Peer
	}
	config := ViewerConfig{PeerConfig: PeerConfig{Offer: parse(t, text, sdp.Play)}}
	for _, p := range tracks {
		for _, m := range config.Offer.Media {
			if i := slices.IndexFunc(m.Codecs, func(c sdp.Codec) bool { return c.Takes(&p) }); i >= 0 {
				config.Codecs = append(config.Codecs, m.Codecs[i])
			}
		}
	}
	v, err := n.NewViewer(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return v.Peer
}

func TestReachable(t *testing.T) {
	for address, want := range map[string]bool{
		"192.0.2.1": true, "10.1.2.3": true, "2001:db8::1": true, "fd00::1": true, "127.0.0.1": false, "::1": false,
		"::ffff:127.0.0.1": false, "169.254.169.254": false, "fe80::1": false, "224.0.0.1": false, "0.0.0.0": false,
	} {
		if got := reachable(parseIP(t, address), false); got != want {
			t.Errorf("%s is reachable: %v, want %v", address, got, want)
		}
	}
	if !reachable(parseIP(t, "127.0.0.1"), true) {
		t.Error("loopback is not reachable where it was asked for")
	}
}

func parseIP(t *testing.T, s string) net.IP {
	t.Helper()
	ip := net.ParseIP(s)
	if ip == nil {
		t.Fatalf("%q is no address", s)
	}
	return ip
}
