//go:build linux

package fanout_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"banyan/deploy/bench/fanout"
	"banyan/deploy/bench/fanout/server"
)

// serverKey is the variable that makes this test binary a server, so that its CPU time is the server's alone. Its value
// says how the server sends.
const serverKey = "BANYAN_BENCH_SERVER"

func TestMain(m *testing.M) {
	if how := os.Getenv(serverKey); how != "" {
		if err := serve(how); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// serve serves until its standard input ends, and prints the URL to watch.
func serve(how string) error {
	var rate float64
	if _, err := fmt.Sscan(os.Getenv("BANYAN_BENCH_RATE"), &rate); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // it ends with the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return server.Serve(ctx, server.Options{Way: how, Rate: rate, Logger: logger}, func(url string) { fmt.Println(url) })
}

// child starts a server.
func child(t testing.TB, how string, rate float64) (url string, pid int) {
	t.Helper()
	server := exec.Command(os.Args[0])
	server.Env = append(os.Environ(), serverKey+"="+how, fmt.Sprintf("BANYAN_BENCH_RATE=%g", rate))
	server.Stderr = os.Stderr
	in, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = server.Wait() // it was told to end
	})
	url, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(url), server.Process.Pid
}

// TestRun measures a few viewers of either engine: all that is sampled is whole.
func TestRun(t *testing.T) {
	for _, c := range []struct {
		how     string
		offload bool
	}{{server.Native, false}, {server.Native, true}, {server.Plain, false}, {server.Pion, false}} {
		how := c.how
		t.Run(fmt.Sprintf("%s/offload=%v", how, c.offload), func(t *testing.T) {
			url, pid := child(t, how, 1e6)
			r, err := fanout.Run(t.Context(), fanout.Options{URL: url, PID: pid, Delays: server.DelaysOf(how, url), Viewers: 4, Offload: c.offload, Warmup: 500 * time.Millisecond, Measure: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			if r.Broken != 0 || r.Sampled == 0 || r.Packets < r.Sampled || len(r.Delays) == 0 || r.RSS == 0 {
				t.Errorf("measured %+v", r)
			}
			if inside := r.Inside.At(0.99); (inside > 0) != (how != server.Pion) || inside > time.Second {
				t.Errorf("the server says that its delay is %v", inside)
			}
		})
	}
}

// BenchmarkFanOut compares ways to send to 200 viewers at 2.5 Mbit/s, one after another in the same run.
func BenchmarkFanOut(b *testing.B) {
	for _, c := range []struct {
		how     string
		viewers int
		rate    float64
		dead    int // further viewers, who neither read nor answer
	}{
		{server.Native, 200, 2.5e6, 0}, {server.Plain, 200, 2.5e6, 0}, {server.Pion, 200, 2.5e6, 0}, {server.Sendmmsg, 200, 2.5e6, 0},
		{server.Native, 50, 2.5e6, 0}, {server.Native, 1000, 6e5, 0}, {server.Native, 200, 2.5e6, 50},
	} {
		b.Run(fmt.Sprintf("%s/viewers=%d/dead=%d", c.how, c.viewers, c.dead), func(b *testing.B) {
			for b.Loop() {
				url, pid := child(b, c.how, c.rate)
				r, err := fanout.Run(b.Context(), fanout.Options{URL: url, PID: pid, Delays: server.DelaysOf(c.how, url), Viewers: c.viewers, Dead: c.dead})
				if err != nil {
					b.Fatal(err)
				}
				report(b, r)
			}
		})
	}
}

func report(b *testing.B, r *fanout.Result) {
	b.ReportMetric(r.PerGigabit(), "CPU-s/Gbit")
	b.ReportMetric(float64(r.Bytes)*8/1e6/r.Elapsed.Seconds()/float64(r.Viewers), "Mbit/s/viewer")
	b.ReportMetric(float64(r.PerViewer())/1024, "KiB/viewer")
	b.ReportMetric(float64(r.Lost), "lost")
	b.ReportMetric(float64(r.Broken), "broken")
	for _, p := range []float64{0.5, 0.99} {
		b.ReportMetric(float64(r.Delay(p).Microseconds())/1000, fmt.Sprintf("p%g-ms", p*100))
	}
	b.ReportMetric(float64(r.Inside.At(0.99).Microseconds())/1000, "inside-p99-ms")
	b.ReportMetric(100*r.Waited, "waited-%")
	b.ReportMetric(0, "ns/op") // the time that it takes is chosen
}
