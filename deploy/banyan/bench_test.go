package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"banyan/deploy/bench/fanout/server"
)

// TestBenchPrintsATable measures a server that was given: here, one in this very process.
func TestBenchPrintsATable(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	url, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- server.Serve(ctx, server.Options{Way: server.Native, Rate: 5e5, Logger: slog.New(slog.DiscardHandler)}, func(u string) { url <- u })
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	out, err := banyan(t, "bench", "fanout", "--viewers", "2,3", "--seconds", "0.5", "--dead", "1", "--whep", <-url, "--pid", fmt.Sprint(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], "CPU-s/Gbit") {
		t.Fatalf("printed\n%s", out)
	}
	for i, line := range lines[1:] {
		fields := strings.Fields(line)
		if len(fields) != 11 || fields[1] != fmt.Sprint(i+2) || fields[5] == "-" || fields[10] != "0" {
			t.Errorf("printed %q", line)
		}
	}
}

func TestBenchRefusesWhatItCannot(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--viewers", "0"}, "--viewers"}, {[]string{"--seconds", "0"}, "--seconds"}, {[]string{"--dead=-1"}, "--dead"},
		{[]string{"--rate", "0"}, "--rate"}, {[]string{"--whep", "http://127.0.0.1:1/whep/x"}, "--pid"}, {[]string{"--pid", "1"}, "--whep"},
		{[]string{"--whip", "http://127.0.0.1:1/whip/x"}, "--whep"},
	} {
		if out, err := banyan(t, append([]string{"bench", "fanout"}, c.args...)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %q, %v; want an error with %q", c.args, out, err, c.want)
		}
	}
	if _, err := banyan(t, "bench", "abr", "--trace", "5G"); err == nil || !strings.Contains(err.Error(), "a tenth lost") {
		t.Errorf("an unknown trace: %v", err)
	}
	if _, err := banyan(t, "bench", "serve", "--engine", "fast"); err == nil || !strings.Contains(err.Error(), server.Native) {
		t.Errorf("an unknown way to send: %v", err)
	}
}
