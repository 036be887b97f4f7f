package rtsp

import (
	"testing"
	"time"

	"github.com/pion/rtp"
)

func TestLeadIn(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	type packet struct{ stamp, at int } // milliseconds
	burst := func(n int) (all []packet) {
		for i := range n {
			all = append(all, packet{i * 40, i})
		}
		return all
	}
	for _, c := range []struct {
		name    string
		packets []packet
		anchor  int // milliseconds after noon
	}{
		{"steady", []packet{{0, 0}, {40, 40}, {80, 80}, {120, 120}, {160, 160}, {200, 200}}, 0},
		{"jitter", []packet{{0, 0}, {40, 70}, {80, 90}, {200, 205}}, 0},
		{"first late", []packet{{0, 0}, {40, 10}, {80, 50}, {230, 200}}, -30},
		{"burst of a second", append(burst(26), packet{1200, 200}, packet{1400, 400}), -1000},
		{"a stall, then the burst", []packet{{0, 0}, {40, 250}, {500, 260}, {1000, 270}, {1040, 310}, {1200, 465}, {1240, 480}}, -760},
		{"restless", []packet{{0, 0}, {100, 160}, {200, 200}, {300, 380}, {400, 400}, {500, 580}, {600, 600}, {700, 780}, {900, 970}, {1000, 1000}}, 0},
		{"reordered", []packet{{0, 0}, {120, 40}, {40, 80}, {80, 120}, {240, 200}, {400, 330}, {500, 430}}, -80},
		{"a file", []packet{{0, 0}, {1000, 1}, {2000, 2}, {3040, 3}}, 0},
		{"a leap", []packet{{0, 0}, {3600000, 40}}, 0},
		{"back", []packet{{0, 0}, {-3600000, 40}}, 0},
	} {
		var l leadIn
		var out []arrival
		for _, p := range c.packets {
			at := noon.Add(time.Duration(p.at) * time.Millisecond)
			out = append(out, l.add(arrival{&rtp.Packet{Header: rtp.Header{Timestamp: uint32(1000 + p.stamp*90)}}, at}, 90000)...)
		}
		if got := l.anchor.Sub(noon).Milliseconds(); !l.over || int(got) != c.anchor || len(out) != len(c.packets) {
			t.Errorf("%s: over %v, anchor %d ms, %d of %d packets; want %d ms and all", c.name, l.over, got, len(out), len(c.packets), c.anchor)
		}
	}
}

func TestLeadInIsBounded(t *testing.T) {
	t.Parallel()
	var l leadIn
	for i := range leadInMost {
		if l.over {
			t.Fatalf("over after %d packets at one instant", i)
		}
		l.add(arrival{&rtp.Packet{}, time.Unix(0, 0)}, 90000)
	}
	if !l.over {
		t.Error("a flood is held without end")
	}
}
