package transcoder

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"banyan/relay/frame"
	"banyan/relay/log"
	"banyan/relay/media"
)

func TestBreaker(t *testing.T) {
	var b breaker
	now := time.Unix(1000, 0)
	crash := func(ran time.Duration) time.Duration {
		started := now
		now = now.Add(ran)
		b.crashed(started, now)
		return b.wait(now)
	}
	within := func(got, want time.Duration) bool { return got >= want && got <= want+want/5 }
	for i, ms := range []int{100, 200, 400, 800} {
		want := time.Duration(ms) * time.Millisecond
		if got := crash(time.Second); !within(got, want) || b.open {
			t.Errorf("after crash %d: wait %v, open %v; want about %v and closed", i+1, got, b.open, want)
		}
	}
	if got := crash(time.Second); !within(got, openFor) || !b.open {
		t.Errorf("after five crashes in a minute: wait %v, open %v; want about %v and open", got, b.open, openFor)
	}
	now = now.Add(openFor)
	if got := crash(time.Second); !within(got, openFor) || !b.open {
		t.Errorf("when the attempt after that crashes: wait %v, open %v; want open again", got, b.open)
	}
	now = now.Add(openFor)
	if got := crash(healthyAfter); !within(got, firstBackoff) || b.open {
		t.Errorf("when the attempt after that held: wait %v, open %v; want it as new", got, b.open)
	}
	for range 20 {
		if got := crash(20 * time.Second); got > mostBackoff || b.open {
			t.Fatalf("crashes 20 s apart: wait %v, open %v; want short waits", got, b.open)
		}
	}
}

func TestProgress(t *testing.T) {
	const ms = time.Millisecond
	start := time.Unix(1000, 0)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	media := func(d time.Duration) media.Time { return media.TimeOf(start.Add(d)) }
	feed := func(p *progress, from, to, step time.Duration) {
		for d := from; d < to; d += step {
			p.fed(media(d), at(d))
			p.taken()
		}
	}
	hung := func(p *progress, now time.Time) bool { return p.verdict(now) == verdictHung }
	fresh := func() *progress { return &progress{patience: 900 * ms, grace: 5000 * ms, hold: 130 * ms} }

	p := fresh()
	feed(p, 0, 4900*ms, 33*ms)
	if hung(p, at(4900*ms)) {
		t.Error("given up within the grace of its first output")
	}
	feed(p, 4900*ms, 5500*ms, 33*ms)
	if !hung(p, at(5500*ms)) {
		t.Error("not given up after the grace")
	}

	p = fresh()
	p.made(start)
	feed(p, 0, 1000*ms, 33*ms)
	if hung(p, at(1000*ms)) || !hung(p, at(1100*ms)) {
		t.Error("want it given up 900 ms after enough was fed to show something")
	}
	p.made(at(1100 * ms))
	if hung(p, at(1101*ms)) {
		t.Error("given up right after it showed something")
	}

	p = fresh()
	p.made(start)
	for d := time.Duration(0); d < 5500*ms; d += 33 * ms {
		feed(p, d, d+1, 33*ms)
		p.worked(activity{used: int64(d)}, at(d))
		if want := d >= 132*ms+5000*ms; hung(p, at(d)) != want {
			t.Fatalf("busy, but without output for %v: given up is %v, want %v", d, !want, want)
		}
	}

	// One that has not shown anything, and waits for the processor.
	p = fresh()
	for d := time.Duration(0); d < 21000*ms; d += 33 * ms {
		feed(p, d, d+1, 33*ms)
		p.worked(activity{runnable: true}, at(d))
		want := verdictFine
		switch {
		case d >= 132*ms+20000*ms:
			want = verdictHung
		case d >= 132*ms+5000*ms:
			want = verdictSlow
		}
		if got := p.verdict(at(d)); got != want {
			t.Fatalf("without a first output for %v: verdict %v, want %v", d, got, want)
		}
	}

	// What it used before the first look at its processor time counts as used then.
	p = fresh()
	p.made(start)
	feed(p, 0, 200*ms, 33*ms)
	const due = 132 * ms
	if p.owes(at(due+50*ms)) || !p.owes(at(due+60*ms)) {
		t.Error("want its processor time looked at once it has owed output for more than a few frames")
	}
	p.worked(activity{used: 1}, at(due+60*ms))
	feed(p, 200*ms, 1100*ms, 33*ms)
	if p.worked(activity{used: 1}, at(1050*ms)); hung(p, at(due+959*ms)) || !hung(p, at(due+960*ms)) {
		t.Error("want it given up 900 ms after it was last seen to do something")
	}

	p = fresh()
	p.made(start)
	feed(p, 0, 200*ms, 33*ms)
	if hung(p, at(time.Hour)) {
		t.Error("given up although nothing is fed any more")
	}

	p = fresh()
	p.made(start)
	feed(p, 0, 165*ms, 33*ms)
	p.fed(media(165*ms), at(165*ms)) // and the pipe is full
	if !hung(p, at(time.Hour)) {
		t.Error("not given up although it does not take what it is fed")
	}

	p = fresh()
	p.made(start)
	feed(p, 0, 100*ms, 20*ms)
	if hung(p, at(999*ms)) {
		t.Error("given up with less fed than it may hold back")
	}

	// The first frame is more than a pipe holds.
	p = fresh()
	p.fed(media(0), at(0))
	if hung(p, at(4999*ms)) || !p.owes(at(4999*ms)) || !hung(p, at(5000*ms)) {
		t.Error("want it given up after the grace, as it does not take its first frame")
	}

	// It has shown something of what is in the pipe, which is full again.
	p = fresh()
	feed(p, 0, 200*ms, 33*ms)
	p.fed(media(200*ms), at(200*ms))
	p.made(at(300 * ms))
	if hung(p, at(1199*ms)) || !hung(p, at(1200*ms)) {
		t.Error("want it given up 900 ms after its last output, as it takes nothing")
	}
	p.taken()
	if p.owes(at(time.Hour)) || hung(p, at(time.Hour)) {
		t.Error("given up although it took what there was")
	}
}

func TestUnwrap(t *testing.T) {
	const span = 1 << 33
	var u unwrapper
	for i, c := range []struct{ in, want int64 }{
		{span - 585, -585}, {1215, 1215}, {1 << 32, 1 << 32}, {span - 1, span - 1}, {0, span}, {90000, span + 90000}, {89000, span + 89000},
	} {
		if got := u.unwrap(c.in); got != c.want {
			t.Errorf("time %d: %d came out as %d, want %d", i, c.in, got, c.want)
		}
	}
}

func TestTail(t *testing.T) {
	var s tail
	if s.take() != "" {
		t.Error("a line before any was said")
	}
	_, _ = s.Write([]byte("one\ntwo\x1b[31m\n"))
	if got := s.take(); got != "two [31m" {
		t.Errorf("took %q", got)
	}
	if got := s.take(); got != "" || s.last() != "two [31m" {
		t.Errorf("took %q again, the last is %q", got, s.last())
	}
	for range 100 {
		_, _ = s.Write([]byte(strings.Repeat("x", 999) + "\n"))
	}
	_, _ = s.Write([]byte(strings.Repeat("y", 3*tailBytes)))
	if len(s.buf) != tailBytes || len(s.take()) != 300 {
		t.Errorf("%d bytes are kept", len(s.buf))
	}
}

func TestConfigErrors(t *testing.T) {
	for _, c := range []struct {
		config Config
		says   string
	}{
		{Config{Segment: 1500 * time.Millisecond}, "segment"},
		{Config{Segment: time.Minute}, "segment"},
		{Config{Preset: "-i /etc/passwd"}, "preset"},
		{Config{Encoder: "libx264 -f null"}, "encoder"},
		{Config{MaxProcesses: -1}, "max processes"},
		{Config{Ladders: []Rule{{Match: "../x", Formats: DefaultLadder}}}, "ladder 1"},
		{Config{Ladders: []Rule{{Match: "**", Formats: []string{"movie=x"}}}}, "ladder 1"},
		{Config{FFmpeg: "/no/such/ffmpeg"}, "install"},
		{Config{FFmpeg: "/bin/false"}, "install"},
		{Config{FFmpeg: "/bin/true"}, "install"},
	} {
		if _, err := New(c.config); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("New(%+v): %v; want an error about %q", c.config, err, c.says)
		}
	}
}

func TestAudioGrid(t *testing.T) {
	for _, codec := range []media.Codec{media.Opus, media.AAC} {
		length, delay, warm := audioFrame(codec)
		for start := int64(48000 * 10); start < 48000*10+3000; start += 7 {
			from, floor := firstSample(codec, media.TimeAt(start, audioRate), 8)
			if floor%length != 0 || floor < start || floor >= start+length {
				t.Fatalf("%s from %d begins at %d", codec, start, floor)
			}
			// The encoder's first frame lies delay before its first sample; after the warm-up one is at floor.
			if first := 8*audioRate + from - delay; first+warm*length != floor {
				t.Fatalf("%s from %d: the encoder begins at %d", codec, start, first)
			}
		}
	}
}

func TestJudge(t *testing.T) {
	in := media.Params{Codec: media.H264, ClockRate: 90000, Width: 1280, Height: 720, FPS: 30}
	wider := in
	wider.Width = 1920
	const base = 1_700_000_000
	at := func(d time.Duration) media.Time { return media.Time(base * time.Second).Add(d) }
	for _, c := range []struct {
		name     string
		params   media.Params
		newest   time.Duration
		next     time.Duration
		begins   bool // an epoch
		key      bool
		running  time.Duration
		bitrate  int // of the output, where the source is unmeasured
		want     ending
		wantLeap bool
	}{
		{"the next frame", in, time.Second, 1033 * time.Millisecond, false, false, 0, 0, endNone, false},
		{"a frame that is shown earlier", in, time.Second, 900 * time.Millisecond, false, false, 0, 0, endNone, false},
		{"a gap", in, time.Second, 20 * time.Second, false, true, 0, 0, endNone, false},
		{"a gap too long to fill", in, time.Second, time.Hour, false, true, 0, 0, endJump, false},
		{"a leap back", in, time.Hour, time.Second, false, true, 0, 0, endJump, true},
		{"an epoch like the one before", in, time.Second, 1500 * time.Millisecond, true, true, 0, 0, endNone, false},
		{"an epoch after a pause", in, time.Second, 4 * time.Second, true, true, 0, 0, endJump, false},
		{"an epoch that goes back", in, 10 * time.Second, time.Second, true, true, 0, 0, endJump, true},
		{"other parameters", wider, time.Second, 1033 * time.Millisecond, true, true, 0, 0, endChange, false},
		{"other parameters, far back", wider, time.Hour, time.Second, true, true, 0, 0, endChange, true},
		{"old age", in, 13 * time.Hour, 13*time.Hour + time.Millisecond, false, true, 13 * time.Hour, 0, endAge, false},
		{"old age between keyframes", in, 13 * time.Hour, 13*time.Hour + time.Millisecond, false, false, 13 * time.Hour, 0, endNone, false},
		{"a richer source", in, 20 * time.Second, 20033 * time.Millisecond, false, true, 20 * time.Second, 100_000, endRate, false},
		{"a richer source, at once", in, time.Second, 1033 * time.Millisecond, false, true, time.Second, 100_000, endNone, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			target, err := ParseTarget("720p")
			if err != nil {
				t.Fatal(err)
			}
			j := &job{target: target, source: log.New(media.TrackID{}, 1, log.Config{})}
			r := &run{job: j, newest: at(c.newest), started: time.Now().Add(-c.running), plan: plan{In: in, Base: base}}
			r.plan.Out = videoParams(target, Source{Params: in})
			if c.bitrate > 0 {
				r.plan.Out.Bitrate = c.bitrate
			}
			f := &frame.Frame{Ticks: media.TicksOf(at(c.next), 90000), Params: &c.params, Keyframe: c.key, Discontinuity: c.begins}
			if got := r.judge(f); got != c.want || j.leapt != c.wantLeap {
				t.Errorf("%q, leapt %v; want %q, %v", got, j.leapt, c.want, c.wantLeap)
			}
		})
	}
}

// Every software encoder works here, as the other tests take for granted.
func TestProbe(t *testing.T) {
	t.Parallel()
	c := Config{Logger: slog.New(slog.DiscardHandler), Encoder: "libx264", Ladders: []Rule{{Match: "**", Formats: []string{
		"720p", "720p-h265", "720p-vp8", "720p-vp9", "720p-av1", "opus", "aac"}}}}
	tr, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, codec := range []media.Codec{media.H264, media.H265, media.VP8, media.VP9, media.AV1, media.Opus, media.AAC} {
		if got, want := tr.Encoder(codec), softwareEncoder(codec, DefaultPreset).name; codec != media.H264 && got != want || got == "" {
			t.Errorf("%s is made by %q, want %q", codec, got, want)
		}
	}
}

// TestAutoTakesTheFirstThatWorks gives "auto" FFmpegs that list encoders of hardware, as builds do on machines without
// it: the trial decides, in order, and libx264 is what is left.
func TestAutoTakesTheFirstThatWorks(t *testing.T) {
	t.Parallel()
	const works, fails, shows = `cat >/dev/null; echo coded`, `echo "Cannot load libcuda.so.1" >&2; exit 1`, `cat >/dev/null; exit 0`
	for _, c := range []struct {
		name              string
		nvenc, qsv, vaapi string // what FFmpeg does that is asked for it
		configured        string
		want, refused     string
	}{
		{"hardware works", works, fails, fails, "auto", "h264_nvenc", ""},
		{"the first fails", fails, works, works, "auto", "h264_qsv", ""},
		{"two fail", fails, fails, works, "auto", "h264_vaapi", ""},
		{"all fail", fails, fails, fails, "auto", "libx264", ""},
		{"hardware shows nothing", shows, shows, shows, "auto", "libx264", ""},
		{"hardware works and is not wanted", works, works, works, "libx264", "libx264", ""},
		{"what is configured fails", fails, works, works, "h264_nvenc", "", "Cannot load libcuda.so.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ffmpeg := script(t, `case " $* " in *" -encoders "*) echo " V....D h264_nvenc h264_qsv h264_vaapi libx264";;
*" h264_nvenc "*) `+c.nvenc+`;; *" h264_qsv "*) `+c.qsv+`;; *" h264_vaapi "*) `+c.vaapi+`;; *) exec ffmpeg "$@";; esac`)
			tr, err := New(Config{Logger: slog.New(slog.DiscardHandler), FFmpeg: ffmpeg, Encoder: c.configured,
				Ladders: []Rule{{Match: "**", Formats: []string{"720p"}}}})
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) || !strings.Contains(err.Error(), "transcoder.encoder") {
					t.Errorf("got %v, want an error that names the key and says %q", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := tr.Encoder(media.H264); got != c.want {
				t.Errorf("H.264 is made by %q, want %q", got, c.want)
			}
		})
	}
}
