package fanout_test

import (
	"testing"
	"time"

	"banyan/deploy/bench/fanout"
)

// TestDelays reads percentiles between the bounds of buckets, as if what is in one lay evenly.
func TestDelays(t *testing.T) {
	d := fanout.Delays{{Most: 0.001, Count: 50}, {Most: 0.002, Count: 50}, {Most: 0.01, Count: 100}}
	for _, c := range []struct {
		d    fanout.Delays
		p    float64
		want time.Duration
	}{
		{d, 0.25, 500 * time.Microsecond}, {d, 0.5, time.Millisecond}, {d, 0.75, 6 * time.Millisecond}, {d, 1, 10 * time.Millisecond},
		{nil, 0.5, 0}, {fanout.Delays{{Most: 1}}, 0.99, 0},
	} {
		if got := c.d.At(c.p).Round(time.Microsecond); got != c.want {
			t.Errorf("percentile %g of %v is %v, want %v", 100*c.p, c.d, got, c.want)
		}
	}
}
