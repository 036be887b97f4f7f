package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"text/tabwriter"
	"time"

	"banyan/deploy/bench/fanout"
	"banyan/deploy/bench/fanout/server"
)

// benchCommand measures. None of its commands needs a configuration.
type benchCommand struct {
	Fanout fanoutCommand      `cmd:"" help:"Have many viewers watch one stream, and print what each costs the server in CPU time and memory."`
	Abr    abrCommand         `cmd:"" help:"Have a viewer watch through networks that change, and print what it saw."`
	Serve  benchServerCommand `cmd:"" hidden:"" help:"Be the server that fanout measures, until standard input ends."`
}

// fanoutCommand measures a server from outside, by package fanout: one of ours that it starts as a process of its own, or
// any that speaks WHEP.
type fanoutCommand struct {
	Viewers []int    `default:"50,200" placeholder:"N,…" help:"How many viewers watch. A list is measured one after another."`
	Seconds float64  `default:"5" help:"How long to measure, after a warm-up of 2 s."`
	Engine  []string `default:"native,pion" placeholder:"WAY,…" help:"How this server sends: native is its own engine, plain its connections of the pion stack (rtc.engine: pion), pion that stack with its defaults, sendmmsg and one-by-one the engine without its help from the kernel."`
	Rate    float64  `default:"2500" help:"Bit rate of the video in kbit/s. Sound comes beside it."`
	Offload bool     `help:"Have viewers take what was sent in one message in one piece, as a network card with segmentation offload does, where loopback cuts it up at the sender's expense."`
	Mute    bool     `help:"No sound beside the video."`
	Dead    int      `help:"Further viewers who connect, and then neither read nor answer."`
	WHEP    string   `name:"whep" placeholder:"URL" help:"Measure another server: where to watch there."`
	PID     int      `name:"pid" placeholder:"PID" help:"The process of that server, on this machine, whose CPU time and memory are read."`
	WHIP    string   `name:"whip" placeholder:"URL" help:"Where FFmpeg publishes a test picture of 720p30 at 2 Mbit/s on that server. Without it, a stream must be live there."`
	Token   string   `help:"Bearer token for --whip."`
}

func (c *fanoutCommand) Run(ctx context.Context, console console) error {
	if err := c.check(); err != nil {
		return err
	}
	table := tabwriter.NewWriter(console.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(cells ...string) { _, _ = fmt.Fprintln(table, strings.Join(cells, "\t")+"\t") } // Flush tells
	row("server", "viewers", "CPU-s/Gbit", "Mbit/s each", "KiB each", "p50 ms", "p99 ms", "inside p99 ms", "waited %", "lost", "broken")
	measure := func(name string, viewers int, url, delays string, pid int) error {
		console.note("%s, %d viewers", name, viewers)
		r, err := fanout.Run(ctx, fanout.Options{
			URL: url, PID: pid, Delays: delays, Viewers: viewers, Dead: c.Dead, Offload: c.Offload, Measure: time.Duration(c.Seconds * float64(time.Second)),
		})
		if err != nil {
			return fmt.Errorf("%s, %d viewers: %w", name, viewers, err)
		}
		row(cells(name, r)...)
		return nil
	}
	err := c.all(ctx, console, measure)
	return errors.Join(err, table.Flush()) // what was measured before an error is worth seeing
}

func (c *fanoutCommand) check() error {
	for _, n := range c.Viewers {
		if n < 1 {
			return fmt.Errorf("--viewers: %d is not a number of viewers: give 1 or more", n)
		}
	}
	switch {
	case c.Seconds <= 0:
		return errors.New("--seconds must be more than 0")
	case c.Dead < 0:
		return errors.New("--dead must not be negative")
	case c.Rate <= 0:
		return errors.New("--rate must be more than 0")
	case (c.WHEP == "") != (c.PID == 0):
		return errors.New("--whep and --pid go together: where to watch, and the process whose CPU time counts")
	case c.WHIP != "" && c.WHEP == "":
		return errors.New("--whip says where to publish on another server: give --whep and --pid, too")
	}
	return nil
}

// all measures each server with each number of viewers.
func (c *fanoutCommand) all(ctx context.Context, console console, measure func(name string, viewers int, url, delays string, pid int) error) error {
	if c.WHEP != "" {
		stop := c.publish(ctx, console)
		defer stop()
		for _, n := range c.Viewers {
			if err := measure(c.WHEP, n, c.WHEP, "", c.PID); err != nil {
				return err
			}
		}
		return nil
	}
	for _, n := range c.Viewers {
		for _, way := range c.Engine {
			url, pid, stop, err := startServer(ctx, way, c.Rate, c.Mute, console.stderr)
			if err == nil {
				err = measure(way, n, url, server.DelaysOf(way, url), pid)
				stop()
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// publish publishes a test picture, if asked to, until stop is called.
func (c *fanoutCommand) publish(ctx context.Context, console console) (stop func()) {
	if c.WHIP == "" {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		camera := demoCamera{stream: "bench", picture: demoCameras[0].picture, tone: demoCameras[0].tone}
		d := &demo{ffmpeg: "ffmpeg", log: slog.New(slog.NewTextHandler(console.stderr, nil))}
		if err := d.push(ctx, camera, c.WHIP, c.Token); err != nil && ctx.Err() == nil {
			console.note("publishing has ended: %v", err)
		}
	}()
	const settle = 3 * time.Second // until a server that is asked for the stream has it
	select {
	case <-time.After(settle):
	case <-ctx.Done():
	}
	return func() { cancel(); <-done }
}

// startServer runs this program as a server, whose process does nothing else.
func startServer(ctx context.Context, way string, rate float64, mute bool, logs io.Writer) (url string, pid int, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return "", 0, nil, err
	}
	cmd := exec.CommandContext(ctx, self, "bench", "serve", "--engine", way, "--rate", fmt.Sprint(rate), fmt.Sprintf("--mute=%v", mute))
	cmd.Stderr = logs
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", 0, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", 0, nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", 0, nil, err
	}
	stop = func() {
		_ = in.Close()
		_ = cmd.Wait() // it was told to end
	}
	if url, err = bufio.NewReader(out).ReadString('\n'); err != nil {
		stop()
		return "", 0, nil, fmt.Errorf("the server to be measured has not started: %w", err)
	}
	return strings.TrimSpace(url), cmd.Process.Pid, stop, nil
}

// cells are what is printed of a result.
func cells(name string, r *fanout.Result) []string {
	delay := func(d time.Duration) string {
		if d == 0 {
			return "-" // the stream does not tell when it was sent, or the server when it sent it
		}
		return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000)
	}
	return []string{
		name, fmt.Sprint(r.Viewers), fmt.Sprintf("%.3f", r.PerGigabit()),
		fmt.Sprintf("%.2f", float64(r.Bytes)*8/1e6/r.Elapsed.Seconds()/float64(r.Viewers)), fmt.Sprint(r.PerViewer() >> 10),
		delay(r.Delay(0.5)), delay(r.Delay(0.99)), delay(r.Inside.At(0.99)), fmt.Sprintf("%.0f", 100*r.Waited), fmt.Sprint(r.Lost), fmt.Sprint(r.Broken),
	}
}

// benchServerCommand is the process that fanout measures.
type benchServerCommand struct {
	Engine string  `default:"native" help:"How to send; see fanout."`
	Rate   float64 `default:"2500" help:"Bit rate of the video in kbit/s."`
	Mute   bool    `help:"No sound beside it."`
}

func (c *benchServerCommand) Run(ctx context.Context, console console) error {
	keepLittle() // as a node does that is an edge alone
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // it ends with the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	logger := slog.New(slog.NewTextHandler(console.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return server.Serve(ctx, server.Options{Way: c.Engine, Rate: 1000 * c.Rate, Mute: c.Mute, Logger: logger}, func(url string) {
		_, _ = fmt.Fprintln(console.stdout, url) // whoever reads it notices
	})
}
