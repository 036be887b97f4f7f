package cluster

import (
	"math"
	"time"

	"banyan/relay/tree"
)

const (
	// loadStep is how far a load must be from the one told last to be told: with viewers who come and go it flutters by
	// less, and each word of it goes through the whole cluster.
	loadStep = 1.0 / 16
	// loadEvery is the least time between two changes of load that are told.
	loadEvery = 2 * time.Second
)

// steady holds loads back that are not worth telling, or not yet. The zero value tells the first that it is given.
type steady struct {
	told          time.Time // when one was told last; zero before
	line, encoder float64   // the newest, whether told or not, and not rounded
}

// offer takes what a node carries now and what it told last, and returns what it tells from now on.
func (s *steady) offer(line, encoder, toldLine, toldEncoder float64, now time.Time) (float64, float64) {
	s.line, s.encoder = line, encoder
	news := isNews(toldLine, line) || isNews(toldEncoder, encoder)
	if !news || !s.told.IsZero() && now.Sub(s.told) < loadEvery {
		return toldLine, toldEncoder
	}
	s.told = now
	return rounded(line), rounded(encoder)
}

// waits tells whether what was offered last is news that came too soon, and for how long it waits.
func (s *steady) waits(toldLine, toldEncoder float64, now time.Time) (time.Duration, bool) {
	if !isNews(toldLine, s.line) && !isNews(toldEncoder, s.encoder) {
		return 0, false
	}
	return max(s.told.Add(loadEvery).Sub(now), 0), true
}

// isNews tells whether a load is worth telling: it is far from the one told, has become full, or roomy again. The two marks are
// crossed one way each, as others do (tree.Gate), so that a load which flutters around one is told once.
func isNews(told, now float64) bool {
	as := rounded(now)
	return math.Abs(now-told) >= loadStep || as >= tree.Full && told < tree.Full || as < tree.Roomy && told >= tree.Roomy
}

// rounded is a load as others read it.
func rounded(load float64) float64 { return float64(loadByte(load)) / loadSteps }
