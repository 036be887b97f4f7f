package transcoder

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"banyan/relay/frame"
	"banyan/relay/media"
)

// wantWhole checks that no frame is missing, repeated or off the grid, and that every segment begins
// with a keyframe. Unlike wantGrid it allows for more keyframes: each process begins with one.
func wantWhole(t *testing.T, frames []*frame.Frame, segment time.Duration) {
	t.Helper()
	for i, f := range frames {
		step := int64(media.VideoClockRate / f.Params.FPS)
		if i > 0 && f.Ticks != frames[i-1].Ticks+step {
			t.Fatalf("frame %d is %d ticks after the one before, want %d", i, f.Ticks-frames[i-1].Ticks, step)
		}
		if f.Ticks%step != 0 || f.Time().Floor(segment) == f.Time() && !f.Keyframe {
			t.Fatalf("frame %d at tick %d is off the grid, or begins a segment without being a keyframe", i, f.Ticks)
		}
	}
}

func small(t *testing.T, seconds string, options ...string) clip {
	return video(t, media.H264, "160x90", "15", seconds, append([]string{"-bf", "0", "-g", "30"}, options...)...)
}

var onlySmall = []Rule{{Match: "**", Formats: []string{"48p", "32p", "opus", "aac"}}}

// F4 and F5: a process that is killed, or hangs, is replaced; the log goes on without a frame missing
// or repeated, in the same epoch, and the other format does not notice.
func TestProcessIsReplaced(t *testing.T) {
	for _, c := range []struct {
		name   string
		signal syscall.Signal
	}{{"killed", syscall.SIGKILL}, {"stopped", syscall.SIGSTOP}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fx := newFixture(t, Config{Ladders: onlySmall, Patience: 1500 * time.Millisecond, Grace: 15 * time.Second})
			fx.waits = true
			fx.play(2, small(t, "4").repeat(8).from(fx.epoch))
			fx.offered("48p")
			hit, other := fx.watch("48p", media.Video), fx.watch("32p", media.Video)
			victim := fx.worker("48p", func(w Worker) bool { return w.Out > 20 })
			bystander := fx.worker("32p", func(w Worker) bool { return w.Out > 20 })
			if err := syscall.Kill(victim.PID, c.signal); err != nil {
				t.Fatal(err)
			}
			next := fx.worker("48p", func(w Worker) bool { return w.PID != 0 && w.PID != victim.PID && w.Out > victim.Out+40 })
			if next.Restarts == 0 || next.Trouble == "" {
				t.Errorf("after a crash the worker says %+v, want a restart and its reason", next)
			}
			end := hit.sub.Log().NewestTime()
			frames := hit.until(end)
			wantWhole(t, frames, 2*time.Second)
			if a, b := frames[0].Params.Epoch, frames[len(frames)-1].Params.Epoch; a != b {
				t.Errorf("the epoch went from %d to %d, want it to stay: nothing changed for a decoder", a, b)
			}
			wantGrid(t, other.until(end), 2*time.Second)
			if now := fx.worker("32p", func(Worker) bool { return true }); now.PID != bystander.PID || now.Restarts != 0 {
				t.Errorf("the other format went from process %d to %d", bystander.PID, now.PID)
			}
			wantGone(t, victim.PID)
		})
	}
}

// A process that uses the processor for longer than one may take that does nothing is slow, and not replaced.
func TestSlowProcessIsSpared(t *testing.T) {
	t.Parallel()
	const burn = `case "$*" in *:h=48:*)
	read now rest < /proc/uptime; end=$((${now%.*} + 5))
	while read now rest < /proc/uptime; [ "${now%.*}" -lt $end ]; do :; done;;
esac; exec ffmpeg "$@"`
	journal := &tail{}
	fx := newFixture(t, Config{FFmpeg: script(t, burn), Ladders: onlySmall, Patience: time.Second, Grace: 3 * time.Second,
		Logger: slog.New(slog.NewTextHandler(journal, nil))})
	fx.play(1, small(t, "4").repeat(10).from(fx.epoch))
	fx.offered("48p")
	fx.watch("48p", media.Video)
	first := fx.worker("48p", func(w Worker) bool { return w.PID != 0 })
	if w := fx.worker("48p", func(w Worker) bool { return w.Out > 0 || w.Restarts > 0 }); w.PID != first.PID || w.Restarts != 0 {
		t.Errorf("process %d became %d after %d restarts: %s", first.PID, w.PID, w.Restarts, w.Trouble)
	}
	var slow dto.Metric
	if err := fx.transcoder.metrics.slow.Write(&slow); err != nil || slow.GetCounter().GetValue() < 1 {
		t.Errorf("the processes that were slow are counted as %v, want one at least", &slow)
	}
	if n := bytes.Count(journal.buf, []byte("process is slow")); n != 1 {
		t.Errorf("%d lines say that it is slow, want one: %s", n, journal.buf)
	}
}

// wantGone waits until a process is no more.
func wantGone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if syscall.Kill(pid, 0) != nil {
			return
		}
	}
	t.Errorf("process %d is still there", pid)
}

// script makes an executable that does as told when it is run for FFmpeg.
func script(t *testing.T, then string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ffmpeg")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+then+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// F6: an FFmpeg that exits at once is tried five times and then left alone for a while; the source
// stays, and so does the subscription.
func TestCircuitOpens(t *testing.T) {
	t.Parallel()
	fx := newFixture(t, Config{FFmpeg: script(t, "echo 'Out of luck' >&2; exit 3"), Ladders: onlySmall})
	stop := fx.play(1, small(t, "4").repeat(10).from(fx.epoch))
	fx.offered("48p")
	v := fx.watch("48p", media.Video)
	w := fx.worker("48p", func(w Worker) bool { return w.State == Open })
	if w.Restarts != crashesToOpen || w.PID != 0 {
		t.Errorf("the circuit opened after %d crashes with process %d, want %d and none", w.Restarts, w.PID, crashesToOpen)
	}
	if want := "exit: exit status 3: Out of luck"; w.Trouble != want {
		t.Errorf("the trouble is %q, want %q", w.Trouble, want)
	}
	if v.sub.Log().Closed() {
		t.Error("the format's log was closed; want its readers to stay")
	}
	stop()
}

// F6: a child that eats memory gets no more than its limit: it fails, is tried again, and left alone
// for a while; the other format does not notice.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	const hog = "case \"$*\" in *:h=48:*) sleep 0.1; exec dd if=/dev/zero of=/dev/null bs=1G;; esac; exec ffmpeg \"$@\""
	fx := newFixture(t, Config{FFmpeg: script(t, hog), Ladders: onlySmall, Memory: 512 << 20})
	fx.play(1, small(t, "4").repeat(10).from(fx.epoch))
	fx.offered("48p")
	fx.watch("48p", media.Video)
	other := fx.watch("32p", media.Video)
	bystander := fx.worker("32p", func(w Worker) bool { return w.Out > 0 })
	// One that dies while it is being fed may be seen to be killed instead: its pipe breaks first.
	fx.worker("48p", func(w Worker) bool { return strings.Contains(w.Trouble, "memory exhausted") })
	if w := fx.worker("48p", func(w Worker) bool { return w.State == Open }); w.Restarts != crashesToOpen {
		t.Errorf("the circuit opened after %d crashes, the last by %q; want %d", w.Restarts, w.Trouble, crashesToOpen)
	}
	wantGrid(t, other.until(other.sub.Log().NewestTime()), 2*time.Second)
	if now := fx.worker("32p", func(Worker) bool { return true }); now.PID != bystander.PID || now.Restarts != 0 {
		t.Errorf("the other format went from process %d to %d", bystander.PID, now.PID)
	}
}

// A child that closes its pipes but lives on, and one that writes nonsense, are ended like any other. All live long enough to
// be seen.
func TestMisbehavingProcess(t *testing.T) {
	for _, c := range []struct{ name, then string }{
		{"closes stdout", "exec 1>&-; sleep 100"},
		{"writes nonsense", "sleep 0.1; head -c 100000 /dev/zero; sleep 100"},
		{"writes without end", "sleep 0.1; yes nonsense"},
		{"deaf and mute", "sleep 100 <&-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			started := t.TempDir() // a folder for each process: some live too short to be seen, and none may write files
			fx := newFixture(t, Config{FFmpeg: script(t, "mkdir '"+started+"'/$$; "+c.then), Ladders: onlySmall,
				Patience: 100 * time.Millisecond, Grace: 200 * time.Millisecond})
			stop := fx.play(1, small(t, "4").repeat(4).from(fx.epoch))
			fx.offered("48p")
			v := fx.watch("48p", media.Video)
			fx.worker("48p", func(w Worker) bool { return w.Restarts >= 2 })
			stop()
			v.sub.Close()
			wantAllGone(t, started)
		})
	}
}

// wantAllGone waits until the processes by whose numbers the entries of a folder are named are no more, of which there
// are at least two.
func wantAllGone(t *testing.T, folder string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) < 2 {
		t.Fatalf("%d processes were started, want at least 2", len(entries))
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		wantGone(t, pid)
	}
}

// A child that is run for a moment ends in any case, whether it does nothing or has too much to do.
func TestShortLivedProcessIsBounded(t *testing.T) {
	for _, c := range []struct{ name, then string }{{"idle", "exec sleep 100"}, {"busy", "while :; do :; done"}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if _, err := runOnce(script(t, c.then), nil, limits{}, nil, 100*time.Millisecond, 1); err == nil {
				t.Error("it came to an end by itself")
			}
		})
	}
}

func TestStartsOnDemandAndStopsAfterLinger(t *testing.T) {
	t.Parallel()
	fx := newFixture(t, Config{Ladders: onlySmall})
	fx.play(1, small(t, "4").repeat(4).from(fx.epoch))
	fx.offered("48p")
	if w := fx.transcoder.Workers(); len(w) != 0 {
		t.Fatalf("nobody reads and there are %d workers", len(w))
	}
	v := fx.watch("48p", media.Video)
	w := fx.worker("48p", func(w Worker) bool { return w.Out > 0 })
	v.sub.Close()
	wantGone(t, w.PID)
	for deadline := time.Now().Add(5 * time.Second); len(fx.transcoder.Workers()) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the worker outlived its linger")
		}
	}
}

func TestAlwaysRunsUnread(t *testing.T) {
	t.Parallel()
	fx := newFixture(t, Config{Ladders: []Rule{{Match: "cup/*", Formats: []string{"48p"}, Always: true}}})
	fx.play(1, small(t, "4").from(fx.epoch))
	fx.release()
	w := fx.worker("48p", func(w Worker) bool { return w.Out > 0 })
	fx.publication.Close()
	wantGone(t, w.PID)
}
