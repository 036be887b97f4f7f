//go:build linux

package fanout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pion/dtls/v3/pkg/crypto/selfsign"
	"golang.org/x/sync/errgroup"
)

// Options say what to measure. URL, PID and Viewers must be set.
type Options struct {
	URL     string // WHEP resource
	PID     int    // of the server
	Delays  string // URL of what the server says of its own delay; "" where it says nothing
	Viewers int
	Sample  int // of them decrypt and check everything; if zero, 4
	Dead    int // further viewers, who connect, and then neither read nor answer

	// Offload has viewers take what was sent as one message in one piece, as a network card takes it that cuts it up by
	// itself (UDP segmentation offload). Without it, loopback cuts it up, and charges the sender for that.
	Offload bool

	Warmup  time.Duration // before measuring; if zero, 2 s
	Measure time.Duration // if zero, 5 s
}

// Result is what was measured.
type Result struct {
	Viewers int
	Elapsed time.Duration
	CPU     time.Duration // of the server
	Waited  float64       // share of the time in which the server had something to do, that it had no core to do it on
	RSS     int64         // of the server, bytes, with all viewers
	Idle    int64         // of the server, bytes, before them
	Inside  Delays        // what the server says of its own delay
	Count
}

// PerGigabit is CPU-seconds per gigabit of RTP delivered.
func (r *Result) PerGigabit() float64 { return r.CPU.Seconds() / (float64(r.Bytes) * 8 / 1e9) }

// PerViewer is the resident memory that a viewer adds, in bytes.
func (r *Result) PerViewer() int64 { return (r.RSS - r.Idle) / int64(r.Viewers) }

// Delay is a percentile of the sample's delays, p from 0 to 1; zero where nothing tells.
func (r *Result) Delay(p float64) time.Duration {
	if len(r.Delays) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(r.Delays))
	return sorted[min(int(p*float64(len(sorted))), len(sorted)-1)]
}

const (
	pollEvery    = 20 * time.Millisecond // between looks at what has come: more often would disturb the server
	consentEvery = 2500 * time.Millisecond
	connectors   = 4 // viewers that connect at the same time
)

// Run connects viewers, measures, and lets them go without a word.
func Run(ctx context.Context, o Options) (*Result, error) {
	if o.Sample == 0 {
		o.Sample = 4
	}
	if o.Warmup == 0 {
		o.Warmup = 2 * time.Second
	}
	if o.Measure == 0 {
		o.Measure = 5 * time.Second
	}
	idle, err := usageOf(o.PID)
	if err != nil {
		return nil, err
	}
	if o.Dead > 0 { // first, where they are in the way of all others
		dead, err := connectAll(ctx, Options{URL: o.URL, Viewers: o.Dead, Offload: o.Offload})
		defer closeAll(dead)
		if err != nil {
			return nil, err
		}
	}
	viewers, err := connectAll(ctx, o)
	defer closeAll(viewers)
	if err != nil {
		return nil, err
	}
	result := &Result{Viewers: o.Viewers, Idle: idle.rss}
	if err := receive(ctx, viewers, o.Warmup); err != nil {
		return nil, err
	}
	for _, v := range viewers {
		v.count = Count{}
	}
	var delays Delays
	if o.Delays != "" {
		if delays, err = readDelays(ctx, o.Delays); err != nil {
			return nil, err
		}
	}
	before, err := usageOf(o.PID)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	if err := receive(ctx, viewers, o.Measure); err != nil {
		return nil, err
	}
	after, err := usageOf(o.PID)
	if err != nil {
		return nil, err
	}
	result.Elapsed, result.CPU, result.RSS = time.Since(begun), after.cpu-before.cpu, after.rss
	if ran, waited := after.ran-before.ran, after.waited-before.waited; ran > 0 {
		result.Waited = max(0, waited.Seconds()/(ran+waited).Seconds()) // threads that ended leave the account
	}
	if o.Delays != "" {
		if result.Inside, err = readDelays(ctx, o.Delays); err != nil {
			return nil, err
		}
		result.Inside = result.Inside.since(delays)
	}
	for _, v := range viewers {
		result.add(v.count)
	}
	if result.Packets == 0 {
		return nil, errors.New("nothing arrived: is the stream live?")
	}
	return result, nil
}

func closeAll(viewers []*viewer) {
	for _, v := range viewers {
		v.close()
	}
}

// sampled tells whether viewer i is of the sample, which is spread evenly: who came first is served first, and has the
// least delay.
func (o *Options) sampled(i int) bool {
	half := o.Viewers / 2
	return (i*o.Sample+half)/o.Viewers != ((i+1)*o.Sample+half)/o.Viewers
}

// connectAll makes the viewers, while those that are there already read on and say that they want to: on a busy machine a
// thousand take longer than a server waits for that.
func connectAll(ctx context.Context, o Options) ([]*viewer, error) {
	certificate, err := selfsign.GenerateSelfSigned()
	if err != nil {
		return nil, err
	}
	who, err := newIdentity(certificate)
	if err != nil {
		return nil, err
	}
	viewers := make([]*viewer, 0, o.Viewers)
	for consented := time.Now(); len(viewers) < o.Viewers; {
		fresh := make([]*viewer, min(connectors, o.Viewers-len(viewers)))
		group, ctx := errgroup.WithContext(ctx)
		for i := range fresh {
			group.Go(func() (err error) {
				fresh[i], err = watch(ctx, o.URL, who, o.sampled(len(viewers)+i), o.Offload)
				return err
			})
		}
		err := group.Wait()
		viewers = append(viewers, slices.DeleteFunc(fresh, func(v *viewer) bool { return v == nil })...)
		if err != nil {
			return viewers, fmt.Errorf("connect viewer %d: %w", len(viewers), err)
		}
		if err := pollAll(viewers); err != nil {
			return viewers, err
		}
		if time.Since(consented) < consentEvery {
			continue
		}
		consented = time.Now()
		for _, v := range viewers {
			v.consent()
		}
	}
	return viewers, nil
}

func pollAll(viewers []*viewer) error {
	buffer := make([]byte, 1<<16)
	for _, v := range viewers {
		if err := v.poll(buffer); err != nil {
			return err
		}
	}
	return nil
}

// receive reads for a while.
func receive(ctx context.Context, viewers []*viewer, d time.Duration) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	end := time.After(d)
	for next := 0; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end:
			return nil
		case <-ticker.C:
		}
		if err := pollAll(viewers); err != nil {
			return err
		}
		steps := int(consentEvery / pollEvery)
		for range (len(viewers) + steps - 1) / steps {
			next = (next + 1) % len(viewers)
			viewers[next].consent()
		}
	}
}
