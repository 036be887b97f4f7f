package e2e

import (
	"strings"
	"testing"
)

// TestAWorkerDies kills the transcoder below which two viewers watch. Another takes over, and encodes first what the one
// before did not: pictures come late, and none are missing.
func TestAWorkerDies(t *testing.T) {
	c := threeTiers(t)
	edge := c.Nodes["edge1"]
	viewers := watchers(t, edge, "&format=180p")
	c.Start("worker2", "transcoder", "eu", small...)
	viewers.settled(t)
	viewers.watchGaps()
	missing := edge.listedGaps(t, "cup/cam1")
	c.Kill("worker1")
	edge.WaitBirthplace(t, "cup/cam1", "180p", "video", "worker2")
	const bound = 3000 // CHECKLISTS F4
	viewers.wantPicture(t, "worker killed -9", "≤ 3 s", "", bound)
	viewers.wantUndisturbed(t)
	if now := edge.listedGaps(t, "cup/cam1"); now > missing {
		t.Errorf("the HLS playlists list %d gaps, and %d before the worker died", now, missing)
	}
}

// listedGaps counts the segments and parts of small's pictures that a node lists as missing.
func (n *Node) listedGaps(t *testing.T, stream string) (gaps int) {
	t.Helper()
	for _, rendition := range []string{"180p-video", "360p-video"} {
		playlist, err := n.Get("/hls/" + stream + "/" + rendition + "/index.m3u8")
		if err != nil {
			t.Fatal(err)
		}
		gaps += strings.Count(string(playlist), "#EXT-X-GAP") + strings.Count(string(playlist), "GAP=YES")
	}
	return gaps
}
