package e2e

import "testing"

// TestAWorkerDies kills the transcoder below which two viewers watch. Another takes over. What was not encoded
// meanwhile is a hole in the picture, over which the sound goes on.
func TestAWorkerDies(t *testing.T) {
	c := threeTiers(t)
	edge := c.Nodes["edge1"]
	viewers := watchers(t, edge, "&format=180p")
	c.Start("worker2", "transcoder", "eu", small...)
	viewers.settled(t)
	viewers.watchGaps()
	c.Kill("worker1")
	edge.WaitBirthplace(t, "cup/cam1", "180p", "video", "worker2")
	const bound = 3000 // CHECKLISTS F4
	viewers.wantPicture(t, "worker killed -9", "≤ 3 s", "", bound)
	viewers.wantUndisturbed(t)
}
