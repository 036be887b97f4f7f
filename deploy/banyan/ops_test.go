package main

import (
	"math"
	"net/netip"
	"testing"
	"time"

	"banyan/deploy/config"
)

func TestHopDelayIsThatOfTheLastSeconds(t *testing.T) {
	bounds := []float64{.001, .002, .01}
	start := time.Now()
	h := &hops{}
	at := func(second int, counts ...uint64) *struct{ p50, p99 float64 } {
		hop := h.since(reading{at: start.Add(time.Duration(second) * time.Second), bounds: bounds, counts: counts})
		if hop == nil {
			return nil
		}
		return &struct{ p50, p99 float64 }{hop.P50MS, hop.P99MS}
	}
	if at(0, 0, 0, 0, 0) != nil {
		t.Error("there is a delay of nothing")
	}
	if got := at(1, 100, 100, 100, 100); got == nil || math.Abs(got.p50-0.5) > 1e-9 || math.Abs(got.p99-0.99) > 1e-9 {
		t.Errorf("got %v, want 0.5 and 0.99 ms", got)
	}
	for second := 2; second < 15; second++ {
		at(second, 100, 200, 200, 200)
	}
	if got := at(15, 100, 300, 300, 300); got == nil || got.p50 < 1 || got.p50 > 2 {
		t.Errorf("got %v, want what came lately: between 1 and 2 ms", got)
	}
	if got := quantile(bounds, []uint64{0, 0, 0, 5}, 0.5); got != .01 {
		t.Errorf("above all bounds: got %v", got)
	}
}

func TestWhereOthersReachANode(t *testing.T) {
	for _, test := range []struct{ url, addr, link, want string }{
		{"https://e.example", ":8080", "0.0.0.0", "https://e.example"},
		{"", ":8080", "192.0.2.1", "http://192.0.2.1:8080"},
		{"", "[::]:8080", "2001:db8::1", "http://[2001:db8::1]:8080"},
		{"", "192.0.2.9:80", "192.0.2.1", "http://192.0.2.9:80"},
		{"", "127.0.0.1:8080", "127.0.0.1", "http://127.0.0.1:8080"},
		{"", "127.0.0.1:8080", "192.0.2.1", ""}, // behind a proxy, whose address only the operator knows
		{"", ":8080", "0.0.0.0", ""},
		{"", "127.0.0.1:0", "127.0.0.1", ""},
		{"", "", "192.0.2.1", ""},
	} {
		n := &node{cfg: config.Config{}}
		n.cfg.HTTP.URL, n.cfg.HTTP.Addr = test.url, test.addr
		if got := n.publicURL(netip.MustParseAddr(test.link)); got != test.want {
			t.Errorf("%+v: got %q", test, got)
		}
	}
}
