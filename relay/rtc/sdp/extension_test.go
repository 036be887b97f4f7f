package sdp

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banyan/relay/media"
)

// TestTransportSeq reads the id of the extension that counts packets.
func TestTransportSeq(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "chrome-play.sdp"))
	if err != nil {
		t.Fatal(err)
	}
	var bare []string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "a=extmap:") {
			bare = append(bare, line)
		}
	}
	for line, want := range map[string]uint8{
		"":                              0,
		"a=extmap:3 " + TransportSeqURI: 3,
		"a=extmap:14/recvonly " + TransportSeqURI: 14,
		"a=extmap:3/sendonly " + TransportSeqURI:  0,
		"a=extmap:16 " + TransportSeqURI:          0,
		"a=extmap:3 urn:other":                    0,
	} {
		if line != "" {
			line += "\r\n"
		}
		offer, err := ParseOffer(strings.Join(bare, "")+line, Play) // in the last m-line
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if got := offer.Media[len(offer.Media)-1].TransportSeq; got != want {
			t.Errorf("%q has id %d, want %d", line, got, want)
		}
	}
	offer, err := ParseOffer(string(text), Play)
	if err != nil {
		t.Fatal(err)
	}
	if offer.Of(media.Video).TransportSeq == 0 {
		t.Error("Chromium's offer has none")
	}
}
