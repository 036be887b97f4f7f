package rtsp

import (
	"strings"
	"testing"
)

// TestAnUnparsableRequestIsAnsweredWithItsNumber is R1.
func TestAnUnparsableRequestIsAnsweredWithItsNumber(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	for name, request := range map[string]string{
		"method in lower case":  "options * RTSP/1.0\r\nCSeq: 7\r\n\r\n",
		"method of punctuation": "?! * RTSP/1.0\r\nCSeq: 7\r\n\r\n",
		"URL of another scheme": "DESCRIBE http://h/x RTSP/1.0\r\nCSeq: 7\r\n\r\n",
		"no version":            "OPTIONS *\r\nCSeq: 7\r\n\r\n",
		"too long":              "OPTIONS * RTSP/1.0\r\nCSeq: 7\r\n" + strings.Repeat("A: b\r\n", maxHead),
	} {
		if got := n.dial(t).ask(request); status(got) != "400" || header(got, "CSeq") != "7" {
			t.Errorf("%s: %q; want 400 with its CSeq", name, got)
		}
	}
}
