package media

import "time"

// Time is an instant of media time in nanoseconds since the Unix epoch.
type Time int64

// TimeOf is the media time of a wall-clock instant.
func TimeOf(t time.Time) Time { return Time(t.UnixNano()) }

// Wall is t as a wall-clock instant in UTC.
func (t Time) Wall() time.Time { return time.Unix(0, int64(t)).UTC() }

// Add is t moved by d.
func (t Time) Add(d time.Duration) Time { return t + Time(d) }

// Sub is the duration from u to t.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// NTP is t in the 64-bit format of RTCP: seconds since 1900 and a binary fraction (RFC 3550 section 4).
func (t Time) NTP() uint64 {
	const epochs = 2208988800 // seconds from 1900 to 1970
	s, ns := floorDiv(int64(t), int64(time.Second))
	return uint64(s+epochs)<<32 | uint64(ns)<<32/uint64(time.Second)
}

// Floor is the last whole multiple of d at or before t, counted from the Unix epoch.
func (t Time) Floor(d time.Duration) Time {
	step := Time(d)
	r := t % step
	if r < 0 {
		r += step
	}
	return t - r
}

// TicksOf converts an instant to ticks of a clock of rate Hz, rounded down. It is exact in the sense
// that TimeAt(TicksOf(t, rate), rate) is at most one tick before t.
func TicksOf(t Time, rate int) int64 {
	const second = int64(time.Second)
	s, ns := floorDiv(int64(t), second)
	// Split so that neither product overflows: ns*rate is below 10^9 * 10^6.
	return s*int64(rate) + ns*int64(rate)/second
}

// TimeAt converts ticks of a clock of rate Hz to an instant, rounded up to the next nanosecond, so
// that TicksOf(TimeAt(ticks, rate), rate) == ticks for every rate below 10^9.
func TimeAt(ticks int64, rate int) Time {
	const second = int64(time.Second)
	s, rest := floorDiv(ticks, int64(rate))
	return Time(s*second + (rest*second+int64(rate)-1)/int64(rate))
}

// Rescale converts ticks from a clock of from Hz to one of to Hz, rounded down, without overflow for
// any instant of this century.
func Rescale(ticks int64, from, to int) int64 {
	if from == to {
		return ticks
	}
	s, rest := floorDiv(ticks, int64(from))
	return s*int64(to) + rest*int64(to)/int64(from)
}

// DurationOf converts a number of ticks to a duration.
func DurationOf(ticks int64, rate int) time.Duration { return time.Duration(TimeAt(ticks, rate)) }

// floorDiv divides so that the remainder is never negative.
func floorDiv(a, b int64) (quotient, remainder int64) {
	quotient, remainder = a/b, a%b
	if remainder < 0 {
		quotient--
		remainder += b
	}
	return quotient, remainder
}
