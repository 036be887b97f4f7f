package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"

	"banyan/deploy/bench/abr"
	"banyan/deploy/bench/fanout/server"
	"banyan/relay"
)

// abrCommand measures what a viewer sees of bad networks, by package abr, at a server of ours in this process.
type abrCommand struct {
	Trace string `placeholder:"TEXT" help:"Only the traces whose name contains this."`
}

func (c *abrCommand) Run(ctx context.Context, console console) error {
	var traces []abr.Trace
	for _, t := range abr.Traces {
		if strings.Contains(t.Name, c.Trace) {
			traces = append(traces, t)
		}
	}
	if len(traces) == 0 {
		var names []string
		for _, t := range abr.Traces {
			names = append(names, t.Name)
		}
		return fmt.Errorf("--trace: no trace is called %q: there are %s", c.Trace, strings.Join(names, "; "))
	}
	table := tabwriter.NewWriter(console.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(cells ...string) { _, _ = fmt.Fprintln(table, strings.Join(cells, "\t")+"\t") } // Flush tells
	row("network", "still %", "longest s", "Mbit/s", "best %", "switches", "late p50 ms", "late p95 ms", "down s", "up s")
	err := serveShow(ctx, console, func(url string) error {
		for _, trace := range traces {
			console.note("%s", trace.Name)
			r, err := abr.Run(ctx, url, trace)
			if err != nil {
				return fmt.Errorf("%s: %w", trace.Name, err)
			}
			row(abrCells(trace.Name, r)...)
		}
		return nil
	})
	return errors.Join(err, table.Flush()) // what was measured before an error is worth seeing
}

// serveShow serves a show while measure runs.
func serveShow(ctx context.Context, console console, measure func(url string) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- server.Serve(ctx, server.Options{
			Way: server.Native, Estimate: true, Logger: slog.New(slog.NewTextHandler(console.stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
			Source: func(ctx context.Context, hub *relay.Hub) (func(), error) { return abr.Publish(ctx, hub, "bench") },
		}, func(url string) { ready <- url })
	}()
	select {
	case err := <-done:
		return err
	case url := <-ready:
		err := measure(url)
		cancel()
		return errors.Join(err, <-done)
	}
}

func abrCells(name string, r *abr.Result) []string {
	share := func(part, whole float64) string { return fmt.Sprintf("%.1f", 100*part/whole) }
	change := func(d time.Duration) string {
		if d == 0 {
			return "-"
		}
		return fmt.Sprintf("%.1f", d.Seconds())
	}
	return []string{
		name, share(r.Frozen.Seconds(), r.Elapsed.Seconds()), fmt.Sprintf("%.2f", r.Longest.Seconds()),
		fmt.Sprintf("%.2f", float64(r.Bytes)*8/1e6/r.Elapsed.Seconds()), share(float64(r.Best), float64(r.Pictures)), fmt.Sprint(r.Switches),
		fmt.Sprint(r.Percentile(0.5).Milliseconds()), fmt.Sprint(r.Percentile(0.95).Milliseconds()), change(r.Fell), change(r.Rose),
	}
}
