package e2e

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
)

// drain tells a node to stop as a supervisor does: the process, not its children.
func drain(t *testing.T, n *Node) {
	t.Helper()
	if err := syscall.Kill(n.PID(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// TestDrain stops a relay, and then the transcoder, below which two viewers watch.
func TestDrain(t *testing.T) {
	c := threeTiers(t)
	edge := c.Nodes["edge1"]
	viewers := watchers(t, edge, "&format=180p")
	c.Start("worker2", "transcoder", "eu", small...)
	viewers.settled(t)

	goes := func(name string) {
		node := c.Nodes[name]
		viewers.watchGaps()
		began := time.Now()
		drain(t, node)
		Eventually(t, 10*time.Second, "the cluster knows that "+name+" drains, or that it has gone", func() error {
			v, err := edge.Cluster(t)
			if err != nil {
				return err
			}
			for _, n := range v.Nodes {
				if n.Name == name && !n.Draining {
					return fmt.Errorf("%+v", n)
				}
			}
			return nil
		})
		node.Wait(t, time.Minute)
		took := time.Since(began)
		const bound = 2000 // CHECKLISTS asks for no frozen frame, which the benchmark measures; what takes longer than this is no slow machine
		viewers.wantPicture(t, name+" drained", "≤ 60 s, no frozen frame", fmt.Sprintf("in %.1f s, ", took.Seconds()), bound)
		if strings.Contains(node.Output(), "other nodes still read") {
			t.Errorf("%s ended while children still had tracks from it", name)
		}
	}

	view, err := edge.Cluster(t)
	if err != nil {
		t.Fatal(err)
	}
	parent := view.Parent("cup/cam1", "180p", "video")
	if !slices.Contains([]string{"relay1", "relay2"}, parent) {
		t.Fatalf("the edge has the picture from %q, want one of the relays", parent)
	}
	goes(parent)
	goes("worker1")

	viewers.wantUndisturbed(t)
	view, err = edge.Cluster(t)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range view.Replicas {
		if r.Format == "180p" && (len(r.Path) == 0 || r.Path[0] != "worker2") {
			t.Errorf("%s %s comes by %v, want it from worker2", r.Stream, r.Format, r.Path)
		}
	}
}

// describe asks for a stream by RTSP.
func describe(t *testing.T, n *Node, stream string) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", n.RTSP, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := fmt.Fprintf(conn, "DESCRIBE rtsp://%s/%s RTSP/1.0\r\nCSeq: 1\r\n\r\n", n.RTSP, stream); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 4096)
	read, err := conn.Read(answer)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer[:read])
}

// TestDrainTurnsAway stops nodes that others still need, and looks at what they answer, and that a second signal ends
// them at once.
func TestDrainTurnsAway(t *testing.T) {
	c := NewCluster(t)
	ingest := c.Start("ingest1", "ingest,edge", "eu", append([]string{"--node.drain", "50s"}, small...)...)
	c.Start("relay1", "relay", "eu", small...)
	camera(t, ingest, "cup/cam1")
	ingest.WaitLive(t, "cup/cam1")
	drain(t, ingest)
	Eventually(t, 10*time.Second, "WHEP takes nobody new", func() error {
		pc, err := webrtc.NewPeerConnection(webrtc.Configuration{})
		if err != nil {
			return err
		}
		defer pc.Close()
		if _, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			return err
		}
		offer, err := pc.CreateOffer(nil)
		if err != nil {
			return err
		}
		r, err := http.Post(ingest.URL("/whep/cup/cam1"), "application/sdp", strings.NewReader(offer.SDP))
		if err != nil {
			return err
		}
		defer r.Body.Close()
		if r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
			return fmt.Errorf("it answers %s, Retry-After %q", r.Status, r.Header.Get("Retry-After"))
		}
		return nil
	})
	if got := describe(t, ingest, "cup/cam1"); !strings.HasPrefix(got, "RTSP/1.0 503 ") || !strings.Contains(got, "Retry-After: ") {
		t.Errorf("RTSP answers %q, want 503 with Retry-After", got)
	}
	if _, err := ingest.Get("/readyz"); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("/readyz while the node drains: %v, want 503", err)
	}
	drain(t, ingest)
	select {
	case <-ingest.done:
	case <-time.After(5 * time.Second):
		t.Error("a second signal did not end the node")
	}
}
