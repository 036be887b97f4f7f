//go:build linux

package abr_test

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"banyan/deploy/bench/abr"
	"banyan/deploy/bench/fanout/server"
	"banyan/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve serves a show until the test ends.
func serve(t testing.TB) (url string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- server.Serve(ctx, server.Options{
			Way: server.Native, Estimate: true, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
			Source: func(ctx context.Context, hub *relay.Hub) (func(), error) { return abr.Publish(ctx, hub, "bench") },
		}, func(url string) { ready <- url })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case url = <-ready:
		return url
	case err := <-done:
		done <- err
		t.Fatal("the server does not serve")
	case <-time.After(time.Minute):
		t.Fatal("the server is not ready")
	}
	return ""
}

// TestRun has a viewer watch through a network that changes a little.
func TestRun(t *testing.T) {
	r, err := abr.Run(t.Context(), serve(t), abr.Trace{Name: "short", Steps: []abr.Step{{Lasts: time.Second}, {Rate: 20e6, Lasts: time.Second}}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Pictures == 0 || r.Bytes == 0 || r.Elapsed < 2*time.Second || len(r.Late) != r.Pictures || r.Frozen > r.Elapsed {
		t.Errorf("saw %+v", r)
	}
}

// TestRunRefuses what there is nothing to see of.
func TestRunRefuses(t *testing.T) {
	if _, err := abr.Run(t.Context(), "http://127.0.0.1:1/whep/x", abr.Traces[0]); err == nil {
		t.Error("a server that is not there is measured")
	}
	if _, err := abr.Run(t.Context(), "http://127.0.0.1:1/whep/x", abr.Trace{}); err == nil {
		t.Error("a trace without steps is measured")
	}
}

// TestFrozen works out of when pictures came how long they stood still.
func TestFrozen(t *testing.T) {
	begun := time.Unix(1_700_000_000, 0)
	const step = time.Second / 30
	pictures := func(n int, delay func(i int) time.Duration) (list []abr.Picture) {
		for i := range n {
			if d := delay(i); d >= 0 {
				list = append(list, abr.Picture{At: begun.Add(time.Duration(i)*step + d), Timestamp: 0xfffff000 + uint32(i)*3000, Width: 640})
			}
		}
		return list
	}
	for _, c := range []struct {
		name           string
		delay          func(i int) time.Duration // negative: it never came
		total, longest time.Duration
	}{
		{"all in time", func(int) time.Duration { return 0 }, 0, step},
		{"half of them late, as far as the buffer goes", func(i int) time.Duration { return time.Duration(i/50%2) * 90 * time.Millisecond }, 0, step},
		{"half a second that never came", func(i int) time.Duration {
			if i > 50 && i < 66 {
				return -1
			}
			return 0
		}, 16 * step, 16 * step},
	} {
		t.Run(c.name, func(t *testing.T) {
			total, longest := abr.Frozen(pictures(120, c.delay), 100*time.Millisecond)
			near := func(a, b time.Duration) bool { return max(a-b, b-a) <= 5*time.Millisecond }
			if !near(total, c.total) || !near(longest, c.longest) {
				t.Errorf("still for %v, %v at once; want %v and %v", total, longest, c.total, c.longest)
			}
		})
	}
}

// BenchmarkTraces tells what a viewer sees of each trace.
func BenchmarkTraces(b *testing.B) {
	for _, trace := range abr.Traces {
		b.Run(trace.Name, func(b *testing.B) {
			for b.Loop() {
				r, err := abr.Run(b.Context(), serve(b), trace)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(100*r.Frozen.Seconds()/r.Elapsed.Seconds(), "%still")
				b.ReportMetric(r.Longest.Seconds(), "s-longest")
				b.ReportMetric(float64(r.Bytes)*8/1e6/r.Elapsed.Seconds(), "Mbit/s")
				b.ReportMetric(float64(r.Switches), "switches")
				b.ReportMetric(r.Percentile(0.95).Seconds(), "s-late-p95")
				b.ReportMetric(0, "ns/op") // the time that it takes is chosen
			}
		})
	}
}
