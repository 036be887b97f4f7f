package e2e

import (
	"testing"
	"time"
)

// TestBrowserByTCP has a browser watch that learns of no way by UDP, as behind a firewall that lets none through.
func TestBrowserByTCP(t *testing.T) {
	n := StartNode(t, small...)
	camera(t, n, "cup/cam1")
	n.WaitLive(t, "cup/cam1")
	b := OpenBrowser(t, 800, 600)
	b.Open(n.URL("/"))
	b.Eval(nil, `(async () => {
		const pc = window.pc = new RTCPeerConnection();
		const video = document.createElement("video");
		video.muted = video.autoplay = true;
		document.body.append(video);
		pc.ontrack = (e) => { if (e.track.kind == "video") video.srcObject = e.streams[0]; };
		for (const kind of ["video", "audio"]) pc.addTransceiver(kind, {direction: "recvonly"});
		await pc.setLocalDescription();
		const response = await fetch("/whep/cup/cam1",
			{method: "POST", headers: {"Content-Type": "application/sdp"}, body: pc.localDescription.sdp});
		const sdp = (await response.text()).split("\r\n").filter((l) => !/^a=candidate:.* udp /.test(l)).join("\r\n");
		await pc.setRemoteDescription({type: "answer", sdp});
	})()`)
	var got struct {
		Frames, Sound int
		Protocol      string
	}
	const want = 50 // pictures
	for deadline := time.Now().Add(30 * time.Second); got.Frames < want || got.Sound == 0; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("got %+v within 30 s, want %d frames and sound", got, want)
		}
		b.Eval(&got, `(async () => {
			const got = {Frames: 0, Sound: 0, Protocol: ""};
			const stats = await window.pc.getStats();
			stats.forEach((s) => {
				if (s.type == "inbound-rtp" && s.kind == "video") got.Frames = s.framesDecoded || 0;
				if (s.type == "inbound-rtp" && s.kind == "audio") got.Sound = s.packetsReceived;
				if (s.type == "candidate-pair" && s.nominated) got.Protocol = stats.get(s.remoteCandidateId).protocol;
			});
			return got;
		})()`)
	}
	if got.Protocol != "tcp" {
		t.Errorf("media comes by %q", got.Protocol)
	}
	t.Logf("%+v", got)
}
