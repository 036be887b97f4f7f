package engine

import (
	"encoding/binary"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"banyan/relay/media"
	"banyan/relay/rtc/engine/congestion"
	"banyan/relay/rtc/engine/seal"
	"banyan/relay/rtc/sdp"
)

// estimate is what is known of a viewer's network. Packets of its video carry numbers, and its reports of these wait for
// the shard's next turn: to wake that for them would cost more than they do.
//
// Only video is numbered, and only where all of it is repaired as RTX. A repair that is the same packet once more, as
// that of audio, would carry another number: the same key and nonce with other bytes (RFC 7714 section 8.4).
type estimate struct {
	*congestion.Estimator           // owned by the shard
	now                   time.Time // of its turn

	rate atomic.Int64 // bit/s, as of the last report; zero before

	mu      sync.Mutex // guards all below
	reports []byte     // each behind two bytes of length
}

const (
	// firstEstimate is believed in before the first report, bit/s.
	firstEstimate = 2_500_000
	// maxReports is how many bytes of them may wait: several, of a fast stream.
	maxReports = 2 << 10
)

// put queues a copy of a report, and tells whether there was room.
func (e *estimate) put(report []byte) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.reports)+2+len(report) > maxReports {
		return false
	}
	e.reports = append(binary.BigEndian.AppendUint16(e.reports, uint16(len(report))), report...)
	return true
}

// listen begins a turn of the shard at now: it hears the reports that wait.
func (v *Viewer) listen(now time.Time) {
	e := v.estimate
	if e == nil {
		return
	}
	e.now = now
	e.mu.Lock()
	defer e.mu.Unlock() // the reader can wait: each is read in a microsecond
	if len(e.reports) == 0 {
		return
	}
	for b := e.reports; len(b) > 0; {
		n := 2 + int(binary.BigEndian.Uint16(b))
		if err := e.Hear(b[2:n], now); err != nil {
			v.engine.counters.drop(DropMalformed)
		}
		b = b[n:]
	}
	e.reports = e.reports[:0]
	e.rate.Store(int64(e.Link(now).Rate))
}

// Arrived implements feedback.Listener.
func (e ear) Arrived(packet []byte) {
	if e.estimate == nil { // it was not asked
		return
	}
	if !e.estimate.put(packet) {
		e.engine.counters.drop(DropFeedback)
	}
}

// number makes a track's packets carry numbers, if the peer would report on them.
func (t *Track) number(m *sdp.Media) {
	asked := t.viewer.engine.config.Estimate && t.kind == media.Video && m.TransportSeq != 0
	if !asked || slices.ContainsFunc(t.codecs, func(c sdp.Codec) bool {
		return c.RTX == 0 || !slices.Contains(c.Feedback, feedbackTransport)
	}) {
		return
	}
	t.transportSeq = m.TransportSeq
	t.viewer.estimate = &estimate{Estimator: congestion.NewEstimator(firstEstimate, t.viewer.begun), now: t.viewer.begun}
}

// feedbackTransport is what reports of all packets are called in descriptions.
const feedbackTransport = "transport-cc"

// headerSize is how long the header of the track's packets is.
func (t *Track) headerSize() int {
	if t.transportSeq != 0 {
		return headerSize + extensionSize
	}
	return headerSize
}

// extensionSize is that of a header extension with one element of two bytes, in the one-byte form (RFC 8285 section 4.2).
const extensionSize = 8

// appendNumber appends to a header the extension that counts the session's packets, of which this is the next one, with
// size bytes.
func (t *Track) appendNumber(header []byte, size int) []byte {
	if t.transportSeq == 0 {
		return header
	}
	header[0] |= 0x10
	seq := t.viewer.estimate.Sent(size, t.viewer.estimate.now)
	header = append(header, 0xbe, 0xde, 0, 1, t.transportSeq<<4|1)
	return append(binary.BigEndian.AppendUint16(header, seq), 0)
}

// Expect says how many bit/s will be sent: a network of which nothing is known yet is taken to carry that. It belongs to
// the Feed.
func (v *Viewer) Expect(rate int) {
	if v.estimate != nil {
		v.estimate.Expect(rate)
	}
}

// Estimated tells whether the peer was asked to report on what arrives.
func (v *Viewer) Estimated() bool { return v.estimate != nil }

// Link is what is known of the viewer's network at now; false where nothing is: its peer was not asked, or has not
// reported yet. It belongs to the Feed.
func (v *Viewer) Link(now time.Time) (congestion.Link, bool) {
	if v.estimate == nil || v.estimate.rate.Load() == 0 {
		return congestion.Link{}, false
	}
	return v.estimate.Link(now), true
}

// Pad sends one of the newest packets once more, the largest, to try whether the network carries more, and returns its
// size; zero where there is none to send. A peer that lost it has it then. It belongs to the Feed.
func (t *Track) Pad() (size int, err error) {
	p, ok := t.history.largest()
	if !ok || t.transportSeq == 0 {
		return 0, nil
	}
	if err := t.writeAgain(p, t.retransmission(p.payloadType)); err != nil {
		return 0, err
	}
	return t.headerSize() + len(p.Payload) + seal.Overhead, nil
}

var estimateDesc = describe("estimate_bits_per_second", "Viewers whose network is estimated, by what it carries now.")

// estimates are what the viewers' networks carry, for Prometheus.
func (e *Engine) estimates() prometheus.Metric {
	buckets := map[float64]uint64{}
	for _, bound := range []float64{250e3, 500e3, 1e6, 2e6, 4e6, 8e6, 16e6} {
		buckets[bound] = 0
	}
	var count uint64
	var sum float64
	e.mu.Lock()
	defer e.mu.Unlock()
	for v := range e.viewers {
		if v.estimate == nil {
			continue
		}
		rate := float64(v.estimate.rate.Load())
		if rate == 0 {
			continue
		}
		count++
		sum += min(rate, math.MaxInt32)
		for bound := range buckets {
			if rate <= bound {
				buckets[bound]++
			}
		}
	}
	return prometheus.MustNewConstHistogram(estimateDesc, count, sum, buckets)
}
