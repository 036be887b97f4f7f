package hls

import (
	"math"
	"slices"

	"banyan/relay/log"
	"banyan/relay/media"
)

// stamp is what the check of a source's cadence needs to know of a frame.
type stamp struct {
	ticks    int64
	keyframe bool
}

// joins tells whether a source that makes no promise can stand in the ladder beside formats that are
// aligned to the grid: its frames come at a regular rate, and a keyframe stands within one frame of
// each segment's beginning. It must have been watched over two such beginnings at least.
func joins(stamps []stamp, rate int, g grid) bool {
	const least = 2
	ticks := make([]int64, len(stamps))
	for i, s := range stamps {
		ticks[i] = s.ticks
	}
	step := medianStep(ticks)
	if step <= 0 || !regular(ticks, step) {
		return false
	}
	first, last := media.TimeAt(ticks[0], rate), media.TimeAt(ticks[len(ticks)-1], rate)
	met := 0
	for k := g.at(first) + 1; g.start(k).Add(media.DurationOf(2*step, rate)) <= last; k++ {
		border := media.TicksOf(g.start(k), rate)
		if !slices.ContainsFunc(stamps, func(s stamp) bool {
			return s.keyframe && math.Abs(float64(s.ticks-border)) <= float64(step)
		}) {
			return false
		}
		met++
	}
	return met >= least
}

// regular tells whether almost all steps are within a quarter of the median; one in fifty may be a
// lost frame.
func regular(ticks []int64, step int64) bool {
	odd := 0
	for i := 1; i < len(ticks); i++ {
		d := ticks[i] - ticks[i-1]
		if d <= 0 {
			return false // reordered: B-frames
		}
		if math.Abs(float64(d-step)) > float64(step)/4 {
			odd++
		}
	}
	return odd*50 <= len(ticks)
}

// medianStep is the median distance of neighbours; zero below two.
func medianStep(ticks []int64) int64 {
	if len(ticks) < 2 {
		return 0
	}
	steps := make([]int64, 0, len(ticks)-1)
	for i := 1; i < len(ticks); i++ {
		steps = append(steps, ticks[i]-ticks[i-1])
	}
	slices.Sort(steps)
	return steps[len(steps)/2]
}

// stampsOf reads the frames of the newest epoch that are in the window of l.
func stampsOf(l *log.Log) []stamp {
	var stamps []stamp
	cursor := l.Cursor(log.KeyframeBefore(0))
	newest := l.Params()
	for head := l.Head(); cursor.Offset() < head; {
		p, _ := cursor.Next()
		if p == nil {
			break
		}
		if p.Params != newest {
			continue
		}
		if n := len(stamps); n == 0 || stamps[n-1].ticks != p.Ticks {
			stamps = append(stamps, stamp{p.Ticks, p.Has(media.Keyframe)})
		}
	}
	return stamps
}
