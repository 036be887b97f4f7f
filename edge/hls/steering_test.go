package hls

import "testing"

func TestLinesComeBelowTheFirst(t *testing.T) {
	const playlist = "#EXTM3U\n#EXT-X-VERSION:9\n"
	if got := string(insertLines([]byte(playlist), nil)); got != playlist {
		t.Errorf("without lines the playlist is %q", got)
	}
	const want = "#EXTM3U\n#EXT-X-CONTENT-STEERING:SERVER-URI=\"s\"\n#EXT-X-VERSION:9\n"
	if got := string(insertLines([]byte(playlist), []string{`#EXT-X-CONTENT-STEERING:SERVER-URI="s"`})); got != want {
		t.Errorf("the playlist is %q, want %q", got, want)
	}
}
