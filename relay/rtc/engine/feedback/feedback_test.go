package feedback

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ear writes down what it is told.
type ear struct{ heard []string }

func (e *ear) note(format string, args ...any) {
	e.heard = append(e.heard, fmt.Sprintf(format, args...))
}
func (e *ear) Reported(r Report)            { e.note("%d at %d lost %d", r.SSRC, r.Highest, r.TotalOut) }
func (e *ear) Lost(ssrc uint32, seq uint16) { e.note("%d lost %d", ssrc, seq) }
func (e *ear) WantsKeyframe(ssrc uint32)    { e.note("%d wants a keyframe", ssrc) }
func (e *ear) Arrived(packet []byte)        { e.note("arrived") }

func marshal(t testing.TB, packets ...rtcp.Packet) []byte {
	t.Helper()
	b, err := rtcp.Marshal(packets)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRead reads what another implementation writes.
func TestRead(t *testing.T) {
	b := marshal(t,
		&rtcp.ReceiverReport{SSRC: 1, Reports: []rtcp.ReceptionReport{
			{SSRC: 7, LastSequenceNumber: 1<<16 + 5, TotalLost: 3}, {SSRC: 8, LastSequenceNumber: 9},
		}},
		&rtcp.SourceDescription{Chunks: []rtcp.SourceDescriptionChunk{{Source: 1, Items: []rtcp.SourceDescriptionItem{{Type: rtcp.SDESCNAME, Text: "x"}}}}},
		&rtcp.TransportLayerNack{SenderSSRC: 1, MediaSSRC: 7, Nacks: []rtcp.NackPair{{PacketID: 65535, LostPackets: 0b101}, {PacketID: 20}}},
		&rtcp.PictureLossIndication{SenderSSRC: 1, MediaSSRC: 7},
		&rtcp.FullIntraRequest{SenderSSRC: 1, MediaSSRC: 0, FIR: []rtcp.FIREntry{{SSRC: 8}, {SSRC: 9}}},
		&rtcp.ReceiverEstimatedMaximumBitrate{SenderSSRC: 1, Bitrate: 1e18, SSRCs: []uint32{7}},
		&rtcp.Goodbye{Sources: []uint32{7}},
	)
	var e ear
	if err := Read(b, &e); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"7 at 65541 lost 3", "8 at 9 lost 0", "7 lost 65535", "7 lost 0", "7 lost 2", "7 lost 20",
		"7 wants a keyframe", "8 wants a keyframe", "9 wants a keyframe",
	}
	if !slices.Equal(e.heard, want) {
		t.Errorf("heard %q, want %q", e.heard, want)
	}
}

func TestBadPackets(t *testing.T) {
	nack := marshal(t, &rtcp.TransportLayerNack{MediaSSRC: 7, Nacks: []rtcp.NackPair{{PacketID: 1}}})
	for why, b := range map[string][]byte{
		"one byte":             {0x80},
		"version 1":            {0x40, 201, 0, 1, 0, 0, 0, 1},
		"length past the end":  {0x80, 201, 0, 9, 0, 0, 0, 1},
		"reports past the end": {0x9f, 201, 0, 1, 0, 0, 0, 1},
		"padding of zero":      {0xa0, 201, 0, 1, 0, 0, 0, 0},
		"padding past the end": {0xa0, 201, 0, 1, 0, 0, 0, 5},
		"feedback cut short":   {0x81, 205, 0, 1, 0, 0, 0, 1},
		"request cut short":    {0x81, 206, 0, 1, 0, 0, 0, 1},
		"compound of 400":      bytes.Repeat([]byte{0x80, 203, 0, 0}, 400),
		"good and then bad":    append(bytes.Clone(nack), 1),
	} {
		if err := Read(b, &ear{}); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v, want ErrFormat", why, err)
		}
	}
}

// TestSenderReport has another implementation read ours.
func TestSenderReport(t *testing.T) {
	for _, name := range []string{"", "b", "ba", "ban", "bany", "banyan"} {
		r := SenderReport{SSRC: 7, NTP: 1 << 63, RTP: 5, Packets: 9, Octets: 1000, Name: name}
		b := r.AppendTo(nil)
		if len(b) > SenderReportSize(len(name)) {
			t.Errorf("a report with %q has %d bytes, more than announced", name, len(b))
		}
		packets, err := rtcp.Unmarshal(b)
		if err != nil || len(packets) != 2 {
			t.Fatalf("read as %v, %v", packets, err)
		}
		sr, ok := packets[0].(*rtcp.SenderReport)
		if !ok || sr.SSRC != 7 || sr.NTPTime != r.NTP || sr.RTPTime != 5 || sr.PacketCount != 9 || sr.OctetCount != 1000 {
			t.Errorf("the report is %+v", packets[0])
		}
		if sdes, ok := packets[1].(*rtcp.SourceDescription); !ok || sdes.Chunks[0].Source != 7 || sdes.Chunks[0].Items[0].Text != name {
			t.Errorf("the description is %+v, want the name %q", packets[1], name)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	now := uint64(100)<<32 | 1<<31 // 100.5 s
	r := Report{LastSR: 100 << 16, DelaySR: 1 << 14}
	if got := r.RoundTrip(now); got != 250*time.Millisecond {
		t.Errorf("round trip is %v, want 0.5 s less 0.25 s", got)
	}
	r.DelaySR = 1 << 30
	if got := r.RoundTrip(now); got != 0 {
		t.Errorf("a round trip of %v into the past", got)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(marshal(f, &rtcp.ReceiverReport{Reports: make([]rtcp.ReceptionReport, 3)}, &rtcp.TransportLayerNack{Nacks: []rtcp.NackPair{{PacketID: 3, LostPackets: 3}}}))
	f.Add(marshal(f, &rtcp.PictureLossIndication{}, &rtcp.FullIntraRequest{FIR: []rtcp.FIREntry{{}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var e ear
		_ = Read(b, &e)
		if len(e.heard) > 17*len(b)/4+1 {
			t.Fatalf("%d bytes say %d things", len(b), len(e.heard))
		}
	})
}

func BenchmarkRead(b *testing.B) {
	packet := marshal(b, &rtcp.ReceiverReport{Reports: make([]rtcp.ReceptionReport, 2)})
	b.ReportAllocs()
	for b.Loop() {
		_ = Read(packet, deaf{})
	}
}

type deaf struct{}

func (deaf) Reported(Report)      {}
func (deaf) Lost(uint32, uint16)  {}
func (deaf) WantsKeyframe(uint32) {}
func (deaf) Arrived([]byte)       {}
