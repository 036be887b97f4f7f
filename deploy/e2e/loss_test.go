package e2e

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"banyan/deploy/e2e/impair"
)

// TestBrowserWithLoss has a browser watch through a network that loses one packet in twenty, each way. What it loses it gets again.
func TestBrowserWithLoss(t *testing.T) {
	n := StartNode(t, small...)
	camera(t, n, "cup/cam1")
	n.WaitLive(t, "cup/cam1")
	server, err := netip.ParseAddrPort(n.RTC)
	if err != nil {
		t.Fatal(err)
	}
	faults := impair.Faults{Loss: 0.05, Delay: 20 * time.Millisecond}
	proxy, err := impair.Listen(server, faults, faults, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	b := OpenBrowser(t, 800, 600)
	b.Open(n.URL("/"))
	b.Eval(nil, fmt.Sprintf(`(async () => {
		const pc = window.pc = new RTCPeerConnection();
		const video = document.createElement("video");
		video.muted = video.autoplay = true;
		document.body.append(video);
		pc.ontrack = (e) => { if (e.track.kind == "video") video.srcObject = e.streams[0]; };
		for (const kind of ["video", "audio"]) pc.addTransceiver(kind, {direction: "recvonly"});
		await pc.setLocalDescription();
		const response = await fetch("/whep/cup/cam1",
			{method: "POST", headers: {"Content-Type": "application/sdp"}, body: pc.localDescription.sdp});
		const sdp = (await response.text()).split("\r\n").filter((l) => !/^a=candidate:.* tcp /.test(l))
			.map((l) => l.replace(/^(a=candidate:.* udp \d+) \S+ \d+ /, "$1 127.0.0.1 %d ")).join("\r\n");
		await pc.setRemoteDescription({type: "answer", sdp});
	})()`, proxy.Addr().Port()))
	var got struct {
		Frames, Sound, Again int
		Still                float64
	}
	const want = 200 // pictures
	for deadline := time.Now().Add(60 * time.Second); got.Frames < want || got.Sound == 0 || got.Again == 0; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("got %+v within a minute, want %d frames, sound, and packets that came again", got, want)
		}
		b.Eval(&got, `(async () => {
			const got = {Frames: 0, Sound: 0, Again: 0, Still: 0};
			(await window.pc.getStats()).forEach((s) => {
				if (s.type == "inbound-rtp" && s.kind == "video") {
					got.Frames = s.framesDecoded || 0;
					got.Again = s.retransmittedPacketsReceived || 0;
					got.Still = s.totalFreezesDuration || 0;
				}
				if (s.type == "inbound-rtp" && s.kind == "audio") got.Sound = s.packetsReceived;
			});
			return got;
		})()`)
	}
	up, down := proxy.Stats()
	if up.Lost == 0 || down.Lost == 0 {
		t.Errorf("lost %d packets on the way to the server, %d on the way back", up.Lost, down.Lost)
	}
	t.Logf("%+v; lost %d of %d packets", got, down.Lost, down.Sent)
}
