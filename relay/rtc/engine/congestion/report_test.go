package congestion

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/rtcp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestReport reads what another implementation's receiver writes.
func TestReport(t *testing.T) {
	const ms = time.Millisecond
	for name, arrivals := range map[string]map[uint16]time.Duration{
		"one":               {7: 100 * ms},
		"a burst":           {1: 64 * ms, 2: 64 * ms, 3: 65 * ms},
		"holes":             {10: 200 * ms, 11: 201 * ms, 19: 203 * ms, 60: 500 * ms},
		"out of order":      {5: 300 * ms, 6: 290 * ms, 7: 310 * ms},
		"around the corner": {65534: 70 * ms, 65535: 71 * ms, 0: 72 * ms, 1: 900 * ms},
	} {
		r := twcc.NewRecorder(1)
		var order []uint16
		for seq := range arrivals {
			order = append(order, seq)
		}
		slices.SortFunc(order, func(a, b uint16) int { return int(int16(a - b)) })
		for _, seq := range order {
			r.Record(7, seq, arrivals[seq].Microseconds())
		}
		got := map[uint16]time.Duration{}
		for _, p := range r.BuildFeedbackPacket() {
			b, err := p.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			report, err := ParseReport(unpadded(b))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for a, ok := report.Next(); ok; a, ok = report.Next() {
				if a.Arrived {
					got[a.Seq] = time.Duration(report.Reference)*referenceUnit + a.At
				}
			}
		}
		if len(got) != len(arrivals) {
			t.Errorf("%s: %d packets arrived, want %d", name, len(got), len(arrivals))
		}
		for seq, at := range arrivals {
			if d := got[seq] - at; d.Abs() > deltaUnit {
				t.Errorf("%s: packet %d arrived at %v, want %v", name, seq, got[seq], at)
			}
		}
	}
}

func unpadded(b []byte) []byte {
	if b[0]&0x20 != 0 {
		b = b[:len(b)-int(b[len(b)-1])]
	}
	return b
}

// report is a packet with chunks and deltas as given.
func report(base, count uint16, rest ...byte) []byte {
	b := make([]byte, feedbackHeader, reportHeader+len(rest))
	b = binary.BigEndian.AppendUint16(b, base)
	b = binary.BigEndian.AppendUint16(b, count)
	return append(append(b, 0xff, 0xff, 0xff, 9), rest...)
}

func TestReportByHand(t *testing.T) {
	r, err := ParseReport(report(65535, 10,
		0b0010_0000, 2, // run: two small
		0b1100_0110, 0b0000_0000, // pairs: 0 1 2 0 0 0 0
		0b1010_0000, 0, // bits: 1 and no more
		4, 8, 12, 0xff, 0xfc, 40))
	if err != nil {
		t.Fatal(err)
	}
	if r.Reference != -1 || r.Serial != 9 {
		t.Errorf("reference %d, serial %d, want -1 and 9", r.Reference, r.Serial)
	}
	want := []Arrival{
		{65535, true, time.Millisecond}, {0, true, 3 * time.Millisecond}, {1, false, 0}, {2, true, 6 * time.Millisecond},
		{3, true, 5 * time.Millisecond}, {4, false, 0}, {5, false, 0}, {6, false, 0}, {7, false, 0}, {8, true, 15 * time.Millisecond},
	}
	for i, w := range want {
		if a, ok := r.Next(); !ok || a != w {
			t.Errorf("%d: %+v %v, want %+v", i, a, ok, w)
		}
	}
	if a, ok := r.Next(); ok {
		t.Errorf("there is one more: %+v", a)
	}
}

func TestBadReports(t *testing.T) {
	for why, b := range map[string][]byte{
		"nothing":              nil,
		"header only":          make([]byte, feedbackHeader),
		"no chunk":             report(1, 1),
		"half a chunk":         report(1, 1, 0x20),
		"no packets":           report(1, 0, 0x20, 1, 4),
		"run of none":          report(1, 1, 0x20, 0, 4),
		"too many":             report(1, 65535, 0x1f, 0xff, 0x1f, 0xff),
		"chunks cut short":     report(1, 20, 0x20, 14, 0, 0),
		"reserved status":      report(1, 1, 0x60, 1, 0, 0, 0),
		"a delta is missing":   report(1, 2, 0x20, 2, 4),
		"half a delta is":      report(1, 1, 0x40, 1, 4),
		"reserved among pairs": report(1, 1, 0xf0, 0, 0, 0, 0),
	} {
		if _, err := ParseReport(b); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v, want ErrFormat", why, err)
		}
	}
}

// FuzzReport compares with another implementation where that reads anything, and feeds an estimator.
func FuzzReport(f *testing.F) {
	f.Add(report(1, 2, 0x20, 2, 4, 4))
	f.Add(report(65535, 10, 0x20, 2, 0xc6, 0, 0xa0, 0, 4, 8, 12, 0xff, 0xfc, 40, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseReport(b)
		if err != nil {
			return
		}
		n := 0
		for a, ok := r.Next(); ok; a, ok = r.Next() {
			if a.Seq != r.Base+uint16(n) {
				t.Fatalf("status %d is of %d, base %d", n, a.Seq, r.Base)
			}
			n++
		}
		if n != r.Count {
			t.Fatalf("%d of %d statuses", n, r.Count)
		}
		compare(t, b)
	})
}

// compare has another implementation count what arrived.
func compare(t *testing.T, b []byte) {
	b = slices.Clone(b)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	b[0], b[1] = 2<<6|15, 205
	if len(b)/4-1 > 65535 {
		return
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)/4-1))
	var other rtcp.TransportLayerCC
	if other.Unmarshal(b) != nil {
		return
	}
	ours, err := ParseReport(b)
	if err != nil {
		return
	}
	arrived := 0
	var last time.Duration
	for a, ok := ours.Next(); ok; a, ok = ours.Next() {
		if a.Arrived {
			arrived++
			last = a.At
		}
	}
	var sum time.Duration
	for _, d := range other.RecvDeltas[:min(arrived, len(other.RecvDeltas))] {
		sum += time.Duration(d.Delta) * time.Microsecond
	}
	if arrived > len(other.RecvDeltas) || sum != last {
		t.Fatalf("%d arrived, the last after %v; the other reads %d, %v", arrived, last, len(other.RecvDeltas), sum)
	}
}
