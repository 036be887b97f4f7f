package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"banyan/ingest/whip/push"
	"banyan/relay"
	"banyan/relay/auth"
	"banyan/relay/media"
)

// demo is two cameras that push over the same doors as real ones: the first by RTSP, straight from FFmpeg, the
// second by WHIP, through our own small publisher. Both show a clock of this machine's time of day (UTC) and sound a
// tone with a beep each second.
type demo struct {
	ffmpeg string
	guard  *auth.Guard
	hub    *relay.Hub
	rtsp   net.Addr // of our RTSP door
	http   net.Addr // of our HTTP door
	log    *slog.Logger
}

// demoCamera is one of the two.
type demoCamera struct {
	stream  media.Name
	picture string // lavfi source
	tone    int    // Hz
}

var demoCameras = [...]demoCamera{
	{stream: "cup/cam1", picture: "testsrc2=size=1280x720:rate=30", tone: 440},
	{stream: "cup/cam2", picture: "smptehdbars=size=1280x720:rate=30", tone: 330},
}

// demoPause is how long a camera that failed stays away.
const demoPause = time.Second

// run keeps both cameras going until ctx ends.
func (d *demo) run(ctx context.Context) error {
	var group errgroup.Group
	group.Go(func() error { d.keep(ctx, demoCameras[0], d.pushRTSP); return nil })
	group.Go(func() error { d.keep(ctx, demoCameras[1], d.pushWHIP); return nil })
	return group.Wait()
}

// keep starts a camera again whenever it ends, also where the operator has ended it, unless somebody else publishes
// under its name by then.
func (d *demo) keep(ctx context.Context, c demoCamera, film func(context.Context, demoCamera, string) error) {
	for d.giveWay(ctx, c.stream); ctx.Err() == nil; {
		// The token opens this one stream. Each start gets a fresh one, as FFmpeg's arguments can be seen by
		// other users of the machine.
		const life = 24 * time.Hour
		token, err := d.guard.Mint(auth.Grant{User: "demo", Publish: []string{string(c.stream)}, TTL: life})
		if err == nil {
			err = film(ctx, c, token)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(demoPause):
		}
		if !d.giveWay(ctx, c.stream) {
			d.log.Warn("demo camera stopped, starting it again", "stream", c.stream, "cause", err)
		}
	}
}

// giveWay waits while the stream has a publisher, and tells whether it had one.
func (d *demo) giveWay(ctx context.Context, name media.Name) (had bool) {
	for ; ; had = true {
		stream, err := d.hub.Stream(name)
		if err != nil { // nobody has published it lately
			return had
		}
		changed := stream.Changed()
		if !stream.Live() || ctx.Err() != nil {
			return had
		}
		if !had {
			d.log.Info("somebody publishes under the name of a demo camera, which waits until it is free", "stream", name)
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

func (d *demo) pushRTSP(ctx context.Context, c demoCamera, token string) error {
	url := "rtsp://" + localAddr(d.rtsp) + "/" + string(c.stream) + "?token=" + token
	cmd := d.command(ctx, c, "-c:a", "aac", "-b:a", "96k", "-f", "rtsp", "-rtsp_transport", "tcp", url)
	return explainExit(cmd, cmd.Run())
}

func (d *demo) pushWHIP(ctx context.Context, c demoCamera, token string) error {
	return d.push(ctx, c, "http://"+localAddr(d.http)+"/whip/"+string(c.stream), token)
}

// push publishes a camera by WHIP, anywhere.
func (d *demo) push(ctx context.Context, c demoCamera, url, token string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := d.command(ctx, c, "-c:a", "libopus", "-b:a", "64k", "-f", "mpegts", "-flush_packets", "1", "pipe:1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = push.Run(ctx, push.Config{URL: url, Token: token, Source: out, Logger: d.log})
	cancel() // whichever ended first takes the other along
	return errors.Join(err, explainExit(cmd, cmd.Wait()))
}

// command is FFmpeg making a camera's picture and sound in real time, with an output appended.
func (d *demo) command(ctx context.Context, c demoCamera, output ...string) *exec.Cmd {
	args := []string{
		"-nostdin", "-hide_banner", "-loglevel", "error",
		"-re", "-f", "lavfi", "-i", c.picture,
		"-re", "-f", "lavfi", "-i", "sine=frequency=" + strconv.Itoa(c.tone) + ":beep_factor=4:sample_rate=48000",
		"-map", "0:v", "-map", "1:a", "-vf", clock(string(c.stream)),
		"-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-profile:v", "baseline",
		"-pix_fmt", "yuv420p", "-g", "60", "-b:v", "2000k", "-maxrate", "2000k", "-bufsize", "1000k", "-ac", "2",
	}
	cmd := exec.CommandContext(ctx, d.ffmpeg, append(args, output...)...)
	cmd.Stderr = &lastLine{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	return cmd
}

// clock burns the stream's name and the time of day (UTC) into the picture. drawtext shows the time to the second
// only, but can compute with timestamps: for it, they are counted from midnight before the first frame.
func clock(name string) string {
	part := func(expression, digits string) string { return `%{eif\:` + expression + `\:d\:` + digits + `}` }
	text := name + "  " + part(`mod(floor(t/3600)\,24)`, "2") + `\:` + part(`mod(floor(t/60)\,60)`, "2") + `\:` +
		part(`mod(floor(t)\,60)`, "2") + "." + part(`mod(floor(t*1000)\,1000)`, "3")
	return `setpts=PTS+mod(RTCSTART/1000000\,86400)/TB,` +
		"drawtext=font=DejaVu Sans Mono:text='" + text + "':fontsize=52:fontcolor=white:" +
		"box=1:boxcolor=black@0.6:boxborderw=18:x=(w-text_w)/2:y=h-150," +
		"setpts=PTS-STARTPTS"
}

// explainExit adds the last words of a program to its error.
func explainExit(cmd *exec.Cmd, err error) error {
	if words, ok := cmd.Stderr.(*lastLine); ok && err != nil && words.text != "" {
		return fmt.Errorf("%w: %s", err, words.text)
	}
	return err
}

// lastLine keeps the last line written to it.
type lastLine struct{ text string }

func (l *lastLine) Write(p []byte) (int, error) {
	const most = 300
	lines := strings.Split(strings.TrimSpace(string(p)), "\n")
	l.text = lines[len(lines)-1]
	l.text = l.text[:min(len(l.text), most)]
	return len(p), nil
}
