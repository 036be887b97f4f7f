package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"
)

// foreignPage is a page of somebody else's, which plays with hls.js as it comes.
const foreignPage = `<!doctype html><video muted autoplay width=640></video><script src="/hls.js"></script><script>
	const player = new Hls({ lowLatencyMode: true });
	window.fatal = [];
	player.on(Hls.Events.ERROR, (_, error) => error.fatal && window.fatal.push(error.details));
	player.loadSource(new URLSearchParams(location.search).get("source"));
	player.attachMedia(document.querySelector("video"));
</script>`

// A player that knows nothing of Banyan goes on from another edge by content steering when its own dies. How soon is the
// player's affair: hls.js tries the dead one again for some seconds.
func TestAForeignPlayerGoesOnWhenItsEdgeDies(t *testing.T) {
	c := twoRegions(t)
	site := http.NewServeMux()
	site.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(foreignPage)) })
	site.HandleFunc("GET /hls.js", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join("..", "..", "edge", "web", "node_modules", "hls.js", "dist", "hls.min.js"))
	})
	pages := httptest.NewServer(site)
	defer pages.Close()
	b := OpenBrowser(t, 800, 600)
	b.Open(pages.URL + "/?source=" + c.Nodes["eu1"].URL("/hls/cup/cam1/index.m3u8"))
	pictures := func() (n int) {
		b.Eval(&n, `document.querySelector("video").getVideoPlaybackQuality().totalVideoFrames`)
		return n
	}
	Eventually(t, 30*time.Second, "the foreign page plays", func() error {
		if n := pictures(); n < 75 {
			return fmt.Errorf("it has shown %d pictures", n)
		}
		return nil
	})
	b.WatchGaps()
	c.Nodes["eu1"].Kill()
	killed := pictures()
	const much = 500 // pictures, 20 s: far more than it had loaded
	Eventually(t, 60*time.Second, "it goes on from another edge", func() error {
		if n := pictures(); n < killed+much {
			return fmt.Errorf("it has shown %d pictures since the edge died", n-killed)
		}
		return nil
	})
	Record("edge killed -9, hls.js as it comes", "plays on", "%.0f ms without a picture", b.LargestGap())
	var fatal []string
	if b.Eval(&fatal, `window.fatal`); len(fatal) > 0 {
		t.Errorf("the player gave up: %q", fatal)
	}
}
