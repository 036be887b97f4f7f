package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"banyan/relay/media"
	"banyan/relay/rtc/sdp"
)

// TestEstimate has the client report on what arrived, and believes it.
func TestEstimate(t *testing.T) {
	w := newWorld(t, Config{Estimate: true})
	c := newClient(w)
	v := c.watch()
	if v.estimate == nil || !strings.Contains(v.Answer(), sdp.TransportSeqURI) || strings.Count(v.Answer(), feedbackTransport) != 1 {
		t.Fatalf("the client is not asked for reports, or not for video alone:\n%s", v.Answer())
	}
	w.video.frame(true, 10, 1100)
	w.audio.frame(true, 1, 100)
	w.eventually("an estimate", func() bool {
		w.video.frame(false, 2, 1100)
		w.audio.frame(true, 1, 100)
		return v.estimate.rate.Load() > 0
	})
	for kind, numbered := range map[media.Kind]bool{media.Video: true, media.Audio: false} {
		for _, p := range c.got(kind) {
			if got := p.Extension && len(p.GetExtensionIDs()) == 1; got != numbered {
				t.Fatalf("a packet of %v has the header %+v", kind, p.Header)
			}
		}
	}
	if n := w.engine.Stats().Drops[DropMalformed]; n != 0 {
		t.Errorf("%d reports could not be read", n)
	}
}

// TestEstimateIsNotForAll numbers nothing where a repair would be the same packet once more, and nothing unasked.
func TestEstimateIsNotForAll(t *testing.T) {
	for name, test := range map[string]struct {
		config  Config
		options []clientOption
	}{
		"no RTX": {Config{Estimate: true}, []clientOption{withoutRTX}},
		"off":    {Config{}, nil},
	} {
		w := newWorld(t, test.config)
		c := newClient(w, test.options...)
		v := c.watch()
		w.video.frame(true, 10, 1100)
		w.eventually("the frame: "+name, func() bool { return len(c.got(media.Video)) >= 10 })
		if v.estimate != nil || strings.Contains(v.Answer(), "a=extmap") || c.got(media.Video)[0].Extension {
			t.Errorf("%s: packets are numbered", name)
		}
	}
}

// TestReportsWait bounds what waits for the shard.
func TestReportsWait(t *testing.T) {
	var e estimate
	n := 0
	for e.put(make([]byte, 100)) {
		if n++; n > maxReports {
			t.Fatal("reports wait without end")
		}
	}
	if n < 10 || cap(e.reports) > 2*maxReports {
		t.Errorf("%d reports of 100 bytes wait in %d bytes", n, cap(e.reports))
	}
	if e.put(make([]byte, 1<<16)) {
		t.Error("a report that is too large has room")
	}
}

// padder is a Feed that sends padding besides.
type padder struct {
	*reader
	padded int // bytes
}

func (p *padder) Turn(now time.Time, due Due) (Next, error) {
	next, err := p.reader.Turn(now, due)
	if err == nil {
		var n int
		n, err = p.viewer.Track(media.Video).Pad()
		p.padded += n
	}
	return next, err
}

// TestPad sends the newest packet again. The peer knows it for what it was, and no packet is another one.
func TestPad(t *testing.T) {
	w := newWorld(t, Config{Estimate: true})
	c := newClient(w)
	v := c.negotiate()
	w.await(v)
	w.eventually("the client to notice", func() bool { return c.pc.ConnectionState() == webrtc.PeerConnectionStateConnected })
	if _, ok := v.Link(time.Now()); ok {
		t.Error("something is known of a network before the first report")
	}
	feed, served := &padder{reader: w.reader(v)}, make(chan struct{})
	go func() { defer close(served); _ = v.Serve(feed) }()
	w.video.frame(true, 10, 1100)
	again := func() bool {
		w.video.frame(false, 1, 1100)
		seen := map[uint16]int64{}
		repeated := false
		for _, p := range c.got(media.Video) {
			before, ok := seen[p.SequenceNumber]
			seen[p.SequenceNumber] = offsetOf(p.Payload)
			if repeated = repeated || ok; ok && before != offsetOf(p.Payload) {
				t.Fatalf("number %d is of two packets", p.SequenceNumber)
			}
		}
		return repeated
	}
	w.eventually("a packet twice", again)
	w.eventually("an estimate", func() bool { return again() && v.estimate.rate.Load() > 0 })
	v.Close()
	<-served
	if feed.padded == 0 {
		t.Error("nothing is said to have been padded")
	}
	if link, ok := v.Link(time.Now()); !ok || link.Rate == 0 {
		t.Errorf("the network is %+v", link)
	}
}
