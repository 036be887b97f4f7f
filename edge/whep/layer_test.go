package whep

import (
	"testing"

	"banyan/relay/media"
)

func FuzzParseLayer(f *testing.F) {
	for _, s := range []string{`{"format":"720p"}`, `{"encodingId":"auto"}`, `{}`, `[`, `{"format":null}`, `{"format":"a","format":"b"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		format, err := parseLayer(body)
		if err != nil || format == auto {
			return
		}
		if _, err := media.ParseFormat(string(format)); err != nil {
			t.Fatalf("accepted %q", format)
		}
	})
}
