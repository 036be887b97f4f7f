package whep_test

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	pion "github.com/pion/sdp/v3"

	"banyan/relay/media"
	"banyan/relay/rtc/sdp"
)

// stream publishes one with these tracks, of which nobody decodes anything.
func (w *world) stream(name media.Name, tracks ...media.Params) {
	w.Helper()
	publication, err := w.hub.Publish(name, "test")
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(publication.Close)
	for _, p := range tracks {
		writer, err := publication.Source(p.Codec.Kind())
		if err != nil {
			w.Fatal(err)
		}
		if err := writer.Begin(p); err != nil {
			w.Fatal(err)
		}
		now := media.TimeOf(time.Now())
		if err := writer.Write(media.Packet{
			Offset: writer.Next(), Ticks: media.TicksOf(now, p.ClockRate), Arrived: now,
			Flags: media.Keyframe | media.FrameEnd, Payload: []byte{0x10, 0},
		}); err != nil {
			w.Fatal(err)
		}
	}
	publication.Announce()
}

// described is a description of a peer's or of ours, taken apart.
type described struct {
	*pion.SessionDescription
	testing.TB
	text string
}

func describe(t testing.TB, text string) described {
	t.Helper()
	d := described{&pion.SessionDescription{}, t, text}
	if err := d.UnmarshalString(text); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return d
}

// of lists the values of an attribute of the m-line at i.
func (d described) of(i int, key string) (list []string) {
	for _, a := range d.MediaDescriptions[i].Attributes {
		if a.Key == key {
			list = append(list, a.Value)
		}
	}
	return list
}

// values maps the payload types of the m-line at i to what an attribute says of them.
func (d described) values(i int, key string) map[string][]string {
	m := map[string][]string{}
	for _, value := range d.of(i, key) {
		payloadType, rest, _ := strings.Cut(value, " ")
		m[payloadType] = append(m[payloadType], strings.ToLower(rest))
	}
	return m
}

// one is the only value that an attribute of the m-line at i has.
func (d described) one(i int, key string) string {
	d.Helper()
	list := d.of(i, key)
	if len(list) != 1 {
		d.Errorf("m-line %d has %d a=%s lines, want one:\n%s", i, len(list), key, d.text)
		return ""
	}
	return list[0]
}

// summary lists the m-lines with their codecs, retransmissions left out, as "video 126; audio 109".
func (d described) summary() string {
	var lines []string
	for i, m := range d.MediaDescriptions {
		maps := d.values(i, "rtpmap")
		formats := slices.DeleteFunc(slices.Clone(m.MediaName.Formats), func(format string) bool {
			return slices.ContainsFunc(maps[format], func(s string) bool { return strings.HasPrefix(s, "rtx/") })
		})
		line := m.MediaName.Media + " " + strings.Join(formats, " ")
		if m.MediaName.Port.Value == 0 {
			line = m.MediaName.Media + " refused"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "; ")
}

// known are the attributes that an answer's m-lines may have. Whatever else stood there would be foreign to whoever wrote
// the offer, or to WHEP.
var known = regexp.MustCompile(`^(rtpmap|fmtp|rtcp-fb|rtcp|rtcp-mux|rtcp-mux-only|rtcp-rsize|ice-ufrag|ice-pwd|ice-options|candidate|end-of-candidates|` +
	`fingerprint|setup|mid|msid|sendonly|ssrc|ssrc-group|extmap)$`)

// answers checks d, an answer, by the rules that hold for all (RFC 3264, RFC 4588, RFC 8285, RFC 8829, RFC 9143).
func (d described) answers(offer described) {
	d.Helper()
	if got, want := len(d.MediaDescriptions), len(offer.MediaDescriptions); got != want {
		d.Fatalf("%d m-lines answer %d", got, want)
	}
	var bundled []string
	for i, m := range d.MediaDescriptions {
		if m.MediaName.Media != offer.MediaDescriptions[i].MediaName.Media || d.one(i, "mid") != offer.one(i, "mid") {
			d.Errorf("m-line %d answers another one", i)
		}
		if m.MediaName.Port.Value == 0 {
			continue
		}
		bundled = append(bundled, d.one(i, "mid"))
		d.answersLine(i, offer)
	}
	if group, _ := d.Attribute("group"); group != "BUNDLE "+strings.Join(bundled, " ") {
		d.Errorf("the group is %q, of the m-lines %v", group, bundled)
	}
	if len(d.of(0, "candidate")) == 0 || len(d.of(0, "end-of-candidates")) != 1 { // for the whole bundle
		d.Errorf("there are no candidates, or no end of them:\n%s", d.text)
	}
}

// answersLine checks an m-line that takes what is offered.
func (d described) answersLine(i int, offer described) {
	d.Helper()
	m := d.MediaDescriptions[i]
	for _, a := range m.Attributes {
		if !known.MatchString(a.Key) {
			d.Errorf("m-line %d has the foreign line a=%s:%s", i, a.Key, a.Value)
		}
	}
	for _, key := range []string{"sendonly", "rtcp-mux", "rtcp-mux-only", "ice-ufrag", "ice-pwd"} {
		d.one(i, key)
	}
	if setup := d.one(i, "setup"); setup != "active" && setup != "passive" {
		d.Errorf("m-line %d is answered as %s (RFC 8842)", i, setup)
	}
	if print := append(d.of(i, "fingerprint"), d.session("fingerprint")...); len(print) != 1 || !strings.HasPrefix(print[0], "sha-256 ") {
		d.Errorf("m-line %d has the fingerprints %q", i, print)
	}
	for _, key := range []string{"rtpmap", "fmtp", "rtcp-fb"} {
		theirs := offer.values(i, key)
		for payloadType, list := range d.values(i, key) {
			if !slices.Contains(m.MediaName.Formats, payloadType) {
				d.Errorf("m-line %d has a=%s:%s, which it does not list", i, key, payloadType)
			}
			for _, value := range list {
				if !slices.Contains(theirs[payloadType], value) {
					d.Errorf("m-line %d has a=%s:%s %s, which was not offered: %q", i, key, payloadType, value, theirs[payloadType])
				}
			}
		}
	}
	if native && len(d.of(i, "rtcp-rsize")) > len(offer.of(i, "rtcp-rsize")) { // the WebRTC stack always says so
		d.Errorf("m-line %d is a=rtcp-rsize, which was not offered (RFC 5506)", i)
	}
	for _, format := range m.MediaName.Formats {
		if len(d.values(i, "rtpmap")[format]) != 1 {
			d.Errorf("m-line %d says not, or not once, what %s is", i, format)
		}
	}
	for _, extension := range d.of(i, "extmap") {
		if !slices.Contains(offer.of(i, "extmap"), extension) {
			d.Errorf("m-line %d has the extension %q, which was not offered", i, extension)
		}
	}
}

func (d described) session(key string) []string {
	if value, ok := d.Attribute(key); ok {
		return []string{value}
	}
	return nil
}

// resends checks that each codec of the m-line at i has its retransmissions, under the payload type that was offered.
func (d described) resends(i int, offer described) {
	d.Helper()
	maps, parameters := d.values(i, "rtpmap"), d.values(i, "fmtp")
	theirs := offer.values(i, "fmtp")
	for _, format := range d.MediaDescriptions[i].MediaName.Formats {
		if strings.HasPrefix(maps[format][0], "rtx/") {
			continue
		}
		found := ""
		for rtx, list := range parameters {
			if slices.Contains(list, "apt="+format) {
				found = rtx
			}
		}
		if found == "" || !slices.Contains(theirs[found], "apt="+format) || !strings.HasPrefix(maps[found][0], "rtx/") {
			d.Errorf("%s is sent again as %q", format, found)
		}
	}
}

// TestBrowsers answers offers as the browsers write them that cannot be run here.
func TestBrowsers(t *testing.T) {
	w := newWorld(t)
	h264 := func(profile, constraints byte) media.Params {
		return media.Params{Codec: media.H264, ClockRate: 90000, Sets: [][]byte{{0x67, profile, constraints, 31}, {0x68, 1}}}
	}
	opus := media.Params{Codec: media.Opus, ClockRate: 48000, Channels: 2, SampleRate: 48000}
	video := func(codec media.Codec) media.Params { return media.Params{Codec: codec, ClockRate: 90000} }
	w.stream("cup/baseline", h264(66, 0xe0), opus)
	w.stream("cup/high", h264(100, 0), opus)
	w.stream("cup/silent", h264(66, 0xe0))
	w.stream("cup/phone", h264(66, 0xe0), media.Params{Codec: media.PCMU, ClockRate: 8000, Channels: 1, SampleRate: 8000})
	w.stream("cup/vp8", video(media.VP8), opus)
	w.stream("cup/vp9", video(media.VP9), opus)
	w.stream("cup/av1", video(media.AV1), opus)
	w.stream("cup/h265", video(media.H265), opus)
	for _, c := range []struct {
		browser, stream string
		want            string // "" where the browser cannot have the stream and is made an offer instead
		numbers         string // id of the extension that counts packets
	}{
		{"firefox-desktop", "baseline", "video 126; audio 109", "7"},
		{"firefox-desktop", "high", "video 126; audio 109", "7"},   // it decodes more than it says
		{"firefox-desktop", "silent", "video 126; audio 109", "7"}, // sound may come later
		{"firefox-desktop", "phone", "video 126; audio 0", "7"},
		{"firefox-desktop", "vp8", "video 120 126; audio 109", "7"},
		{"firefox-desktop", "vp9", "video 121 126; audio 109", "7"},
		{"firefox-desktop", "av1", "video 99 126; audio 109", "7"},
		{"firefox-desktop", "h265", "", ""},
		{"firefox-android", "vp8", "audio 109; video 120", "7"},
		{"firefox-android", "baseline", "", ""},
		{"firefox", "baseline", "audio 109; video 126", ""},
		{"firefox", "vp8", "audio 109; video 120 126", ""},
		{"safari-mac", "baseline", "video 96; audio 111", "4"},
		{"safari-mac", "high", "video 96; audio 111", "4"},
		{"safari-mac", "silent", "video 96; audio 111", "4"},
		{"safari-mac", "h265", "video 104 96; audio 111", "4"},
		{"safari-mac", "vp8", "video 106 96; audio 111", "4"},
		{"safari-mac", "vp9", "video 108 96; audio 111", "4"},
		{"safari-mac", "av1", "video 39 96; audio 111", "4"},
		{"safari-ios", "baseline", "audio 111; video 96", "4"},
		{"safari-ios", "phone", "audio 0; video 96", "4"},
		{"safari-ios", "vp9", "audio 111; video 127 96", "4"},
		{"safari-ios", "h265", "", ""},
		{"safari", "h265", "video 100 96; audio 111", "4"},
	} {
		t.Run(c.browser+" watches "+c.stream, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("..", "..", "relay", "rtc", "sdp", "testdata", c.browser+"-play.sdp"))
			if err != nil {
				t.Fatal(err)
			}
			response, body := w.do("POST", "/whep/cup/"+c.stream, "application/sdp", string(text))
			if location := response.Header.Get("Location"); location != "" {
				defer w.do("DELETE", location, "", "")
			}
			if c.want == "" {
				if response.StatusCode != http.StatusNotAcceptable {
					t.Errorf("%s, want an offer of ours", response.Status)
				}
				return
			}
			if response.StatusCode != http.StatusCreated {
				t.Fatalf("%s: %s", response.Status, body)
			}
			offer, answer := describe(t, string(text)), describe(t, body)
			if got := answer.summary(); got != c.want {
				t.Errorf("answered with %s, want %s", got, c.want)
			}
			answer.answers(offer)
			i := slices.IndexFunc(answer.MediaDescriptions, func(m *pion.MediaDescription) bool { return m.MediaName.Media == "video" })
			if native {
				answer.resends(i, offer)
				answer.counts(i, c.numbers)
			}
		})
	}
}

// counts checks that packets of the m-line at i are counted by the extension with this id, if any, and reported on.
func (d described) counts(i int, id string) {
	d.Helper()
	var want []string
	if id != "" {
		want = []string{id + " " + sdp.TransportSeqURI}
	}
	if got := d.of(i, "extmap"); !slices.Equal(got, want) {
		d.Errorf("the extensions are %q, want %q", got, want)
	}
	if asked := strings.Contains(d.text, " transport-cc\r\n"); asked != (id != "") {
		d.Errorf("reports on all packets are asked for: %v", asked)
	}
}
