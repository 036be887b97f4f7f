package congestion

import (
	"testing"
	"time"
)

// TestCut takes half of what the best format needs, or more, away from a link, at any place in a group of pictures. From a
// second later on what is sent is below what is left, and so is the estimate, to a tenth. (Where little is missing, the
// queue by which one would know grows so slowly that it does no harm.)
func TestCut(t *testing.T) {
	for _, left := range []int{300_000, 500_000, 800_000, 1_000_000, 1_250_000} {
		for _, loss := range []float64{0, 0.02, 0.1} {
			for seed := range uint64(8) {
				at := 20*time.Second + time.Duration(seed)*125*time.Millisecond
				s := simulate(t, seed, loss, frames, func(now time.Duration) int {
					if now >= at {
						return left
					}
					return 4_000_000
				})
				s.run(at + time.Second)
				if s.link.Rate > left+left/10 {
					t.Errorf("cut to %d bit/s at %v with a loss of %v: a second later, %d bit/s are estimated", left, at, loss, s.link.Rate)
				}
				before := s.sent
				s.run(at + 2*time.Second)
				if rate := 8 * (s.sent - before); rate > left {
					t.Errorf("cut to %d bit/s at %v with a loss of %v: %d bit/s are sent in the second after the first", left, at, loss, rate)
				}
			}
		}
	}
}
