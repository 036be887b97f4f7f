package sdp

import (
	"slices"
	"strings"
	"testing"
)

func TestMuxOnly(t *testing.T) {
	good := testdata(t, "chrome-publish.sdp")
	got := MuxOnly(good)
	if n := strings.Count(got, "a=rtcp-mux\r\na=rtcp-mux-only\r\n"); n != 2 {
		t.Errorf("%d m-lines are rtcp-mux-only, want both (W8)", n)
	}
	if MuxOnly(got) != got {
		t.Error("it is added to what has it")
	}
	if _, err := ParseOffer(got, Publish); err != nil {
		t.Errorf("what we write ourselves is refused: %v", err)
	}
}

// TestRestart: the answer to an ICE restart says of the transport what the SDP said, wherever it stood there (W23).
func TestRestart(t *testing.T) {
	const (
		session = "v=0\r\na=group:BUNDLE 0 1\r\n"
		section = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na=candidate:1 1 udp 2130706431 198.51.100.1 39132 typ host\r\n"
		video   = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n" + section
		audio   = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:1\r\n" + section
	)
	for _, c := range []struct {
		why, ours string
		want      []string
	}{
		{"nothing", session + video + audio, nil},
		{"options of the session", session + "a=ice-options:trickle ice2\r\n" + video + audio, []string{"ice-options:trickle ice2"}},
		{"lite", session + "a=ice-lite\r\na=ice-options:ice2\r\n" + video + audio, []string{"ice-lite", "ice-options:ice2"}},
		{"pacing", session + "a=ice-pacing:50\r\n" + video + audio, []string{"ice-pacing:50"}},
		{"in each m-line", session + video + "a=ice-options:trickle\r\n" + audio + "a=ice-options:trickle\r\n", []string{"ice-options:trickle"}},
	} {
		f := Restart(c.ours)
		if f.Ufrag != "EsAw" || f.Password == "" || len(f.Candidates) != 1 || len(f.MIDs) != 2 {
			t.Errorf("%s: read as %+v", c.why, f)
		}
		var got []string
		for line := range strings.Lines(f.String()) {
			for _, name := range []string{"ice-lite", "ice-options", "ice-pacing"} {
				if attribute := strings.TrimSpace(strings.TrimPrefix(line, "a=")); strings.HasPrefix(attribute, name) {
					got = append(got, attribute)
				}
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: the fragment has %q, want %q", c.why, got, c.want)
		}
		if again, err := ParseFragment(f.String()); err != nil || again.Ufrag != f.Ufrag || len(again.Candidates) != 1 {
			t.Errorf("%s: read again as %+v, %v", c.why, again, err)
		}
	}
}
