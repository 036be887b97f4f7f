package abr

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"banyan/deploy/e2e/impair"
)

// Step is what the network does from an instant on.
type Step struct {
	Rate  int     // bit/s; zero for no limit
	Loss  float64 // share of packets, 0 to 1
	Lasts time.Duration
}

// Trace is a network that changes.
type Trace struct {
	Name  string
	Steps []Step
}

// Traces are those that are measured.
var Traces = []Trace{
	{"4 Mbit/s", []Step{{Rate: 4e6, Lasts: 20 * time.Second}}},
	{"4, 0.5, 4 Mbit/s", []Step{{Rate: 4e6, Lasts: 4 * time.Second}, {Rate: 5e5, Lasts: 8 * time.Second}, {Rate: 4e6, Lasts: 15 * time.Second}}},
	{"4 to 0.5 Mbit/s and back", []Step{
		{Rate: 4e6, Lasts: 4 * time.Second}, {Rate: 2e6, Lasts: 6 * time.Second}, {Rate: 1e6, Lasts: 6 * time.Second}, {Rate: 5e5, Lasts: 6 * time.Second},
		{Rate: 1e6, Lasts: 6 * time.Second}, {Rate: 2e6, Lasts: 6 * time.Second}, {Rate: 4e6, Lasts: 10 * time.Second},
	}},
	{"a tenth lost", []Step{{Loss: 0.1, Lasts: 20 * time.Second}}},
	{"1.5 Mbit/s, 2 % lost", []Step{{Rate: 15e5, Loss: 0.02, Lasts: 20 * time.Second}}},
}

const (
	// way is what a network adds each way.
	way = 20 * time.Millisecond
	// Buffer is what a player has of pictures, beyond their way: browsers get there by themselves where keyframes take a
	// third of a second, or repairs.
	Buffer = 500 * time.Millisecond
	// settle is for how long a viewer watches before a trace begins.
	settle = 8 * time.Second
)

// Faults are what the network does towards the viewer in a step.
func (s Step) Faults() impair.Faults { return impair.Faults{Delay: way, Rate: s.Rate, Loss: s.Loss} }

// Result is what a viewer saw of a trace.
type Result struct {
	Elapsed  time.Duration
	Frozen   time.Duration // pictures stood still
	Longest  time.Duration // of that at once
	Bytes    int           // of video that arrived, payload
	Pictures int
	Best     int             // of them, of the best format
	Switches int             // of the format
	Late     []time.Duration // how much later than the earliest each picture came: what it waited, and its repair; sorted
	Fell     time.Duration   // from the network's first change until a picture of a lower format; zero where none came
	Rose     time.Duration   // from its last change until a picture of the best; the same
}

// Run has a viewer watch a show at a WHEP URL, through a network that follows a trace.
func Run(ctx context.Context, url string, trace Trace) (*Result, error) {
	if len(trace.Steps) == 0 {
		return nil, fmt.Errorf("the trace %q has no steps", trace.Name)
	}
	var proxy *impair.Proxy
	p, err := Watch(ctx, url, func(server netip.AddrPort) (netip.AddrPort, error) {
		var err error
		if proxy, err = impair.Listen(server, impair.Faults{Delay: way}, trace.Steps[0].Faults(), 1); err != nil {
			return netip.AddrPort{}, err
		}
		return proxy.Addr(), nil
	})
	if proxy != nil {
		defer proxy.Close()
	}
	if err != nil {
		return nil, err
	}
	defer p.Close()
	if err := sleep(ctx, settle); err != nil {
		return nil, err
	}
	begun := time.Now()
	var changes []time.Time
	for i, step := range trace.Steps {
		if i > 0 {
			proxy.Set(impair.Faults{Delay: way}, step.Faults())
			changes = append(changes, time.Now())
		}
		if err := sleep(ctx, step.Lasts); err != nil {
			return nil, err
		}
	}
	return p.seen(begun, time.Now(), changes)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// seen works out what a viewer saw.
func (p *Player) seen(from, to time.Time, changes []time.Time) (*Result, error) {
	list := Between(p.Pictures(), from, to)
	if len(list) == 0 {
		return nil, errors.New("the viewer saw nothing: is the stream live, and of H.264?")
	}
	r := &Result{Elapsed: to.Sub(from), Pictures: len(list), Late: lateness(list)}
	r.Frozen, r.Longest = Frozen(list, Buffer)
	for _, a := range p.arrived() {
		if !a.at.Before(from) && a.at.Before(to) {
			r.Bytes += len(a.Payload)
		}
	}
	for i, f := range list {
		if f.Width == Best {
			r.Best++
		}
		if i > 0 && f.Width != list[i-1].Width {
			r.Switches++
		}
	}
	if len(changes) > 0 {
		r.Fell = since(list, changes[0], func(width int) bool { return width < Best })
		r.Rose = since(list, changes[len(changes)-1], func(width int) bool { return width == Best })
	}
	slices.Sort(r.Late)
	for i := len(r.Late) - 1; i >= 0; i-- {
		r.Late[i] -= r.Late[0]
	}
	return r, nil
}

// since is how long after an instant the first picture of some width came; zero where none did.
func since(list []Picture, from time.Time, wanted func(width int) bool) time.Duration {
	for _, f := range list {
		if wanted(f.Width) && f.At.After(from) {
			return f.At.Sub(from)
		}
	}
	return 0
}

// Percentile is one of how late pictures came, p from 0 to 1.
func (r *Result) Percentile(p float64) time.Duration {
	return r.Late[min(int(p*float64(len(r.Late))), len(r.Late)-1)]
}
