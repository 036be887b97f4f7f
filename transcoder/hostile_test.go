package transcoder

import (
	"bytes"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"banyan/relay/frame"
	"banyan/relay/media"
)

// Odd, but legal: it comes out on the grid as anything else.
func TestOddSources(t *testing.T) {
	for _, c := range []struct {
		name          string
		size, rate    string
		options       []string
		width, height int
		fps           float64
	}{
		{"10 bits", "160x90", "15", []string{"-pix_fmt", "yuv420p10le", "-g", "30"}, 86, 48, 15},
		{"4:4:4", "160x90", "15", []string{"-pix_fmt", "yuv444p", "-g", "30"}, 86, 48, 15},
		{"every frame a keyframe", "160x90", "15", []string{"-g", "1"}, 86, 48, 15},
		{"interlaced", "160x96", "25", []string{"-flags", "+ildct+ilme", "-x264opts", "tff=1", "-g", "25"}, 80, 48, 25},
		{"240 frames a second", "64x48", "240", []string{"-g", "240", "-bf", "0"}, 64, 48, 60},
		{"2 frames a second", "160x90", "2", []string{"-g", "2", "-bf", "0"}, 86, 48, 5},
		{"odd sides", "95x51", "15", []string{"-pix_fmt", "yuv444p", "-g", "30"}, 90, 48, 15},
		{"tiny", "16x16", "15", []string{"-g", "30"}, 16, 16, 15},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fx := newFixture(t, Config{Ladders: []Rule{{Match: "**", Formats: []string{"48p"}}}})
			fx.play(video(t, media.H264, c.size, c.rate, "6", c.options...).from(fx.epoch), 8)
			fx.offered("48p")
			got := fx.watch("48p", media.Video).until(fx.epoch.Add(4 * time.Second))
			wantGrid(t, got, 2*time.Second)
			if p := got[0].Params; p.Width != c.width || p.Height != c.height || p.FPS != c.fps {
				t.Errorf("%s at %s came out as %dx%d at %v, want %dx%d at %v", c.size, c.rate, p.Width, p.Height, p.FPS, c.width, c.height, c.fps)
			}
		})
	}
}

// Damage: whatever happens in between, the format goes on with the good frames after it.
func TestDamagedSources(t *testing.T) {
	noise := func(r *rand.Rand, n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	for _, c := range []struct {
		name   string
		damage func(r *rand.Rand, i int, f *frame.Frame)
	}{
		{"noise for slices", func(r *rand.Rand, _ int, f *frame.Frame) { f.Units = [][]byte{append([]byte{0x41}, noise(r, 500)...)} }},
		{"noise for keyframes", func(r *rand.Rand, _ int, f *frame.Frame) { f.Units = [][]byte{append([]byte{0x65}, noise(r, 500)...)} }},
		{"unknown units", func(r *rand.Rand, _ int, f *frame.Frame) { f.Units = [][]byte{append([]byte{0x1f}, noise(r, 100)...)} }},
		{"empty units", func(_ *rand.Rand, _ int, f *frame.Frame) { f.Units = append([][]byte{{}}, f.Units...) }},
		{"a megabyte of SEI", func(_ *rand.Rand, i int, f *frame.Frame) {
			if i%10 == 0 {
				f.Units = append([][]byte{append([]byte{6, 5}, bytes.Repeat([]byte{255}, 1<<20)...)}, f.Units...)
			}
		}},
		{"flipped bits", func(r *rand.Rand, _ int, f *frame.Frame) {
			last := bytes.Clone(f.Units[len(f.Units)-1])
			for range 5 {
				last[1+r.IntN(len(last)-1)] ^= byte(1 << r.IntN(8))
			}
			f.Units = [][]byte{last}
		}},
		{"times that waver", func(r *rand.Rand, _ int, f *frame.Frame) { f.Ticks += r.Int64N(36000) - 18000 }},
		{"one time for all", func(_ *rand.Rand, i int, f *frame.Frame) { f.Ticks -= int64(i%30) * 6000 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fx := newFixture(t, Config{Ladders: onlySmall})
			good := small(t, "2").repeat(4)
			random := rand.New(rand.NewPCG(1, 2))
			for i := 30; i < 60; i++ {
				c.damage(random, i, &good.frames[i])
			}
			fx.play(good.from(fx.epoch), 8)
			fx.offered("48p")
			v := fx.watch("48p", media.Video)
			got := v.until(fx.epoch.Add(7 * time.Second))
			tail := got
			for len(tail) > 0 && tail[0].Time() < fx.epoch.Add(6*time.Second) {
				tail = tail[1:]
			}
			wantGrid(t, tail, 2*time.Second)
			for i := 1; i < len(got); i++ {
				if got[i].Ticks <= got[i-1].Ticks {
					t.Fatalf("time went back from %d to %d", got[i-1].Ticks, got[i].Ticks)
				}
			}
		})
	}
}

func TestOddSound(t *testing.T) {
	lie := tone(t, media.AAC, "5")
	lie.params.Sets = [][]byte{{0x14, 0x08}} // 16 kHz, mono
	lie.params.SampleRate, lie.params.Channels = 16000, 1
	burst := tone(t, media.Opus, "5", "-frame_duration", "60")
	silent := tone(t, media.AAC, "5")
	silent.frames = append(silent.frames[:60:60], silent.frames[160:]...)
	surround := tone(t, media.AAC, "5", "-ac", "8")
	surround.params.Channels, surround.params.Sets = 8, [][]byte{{0x11, 0xb8}}
	for _, c := range []struct {
		name   string
		source clip
		format media.Format
	}{
		{"AAC configuration that lies", lie, "opus"},
		{"Opus of 60 ms", burst, "aac"},
		{"two seconds missing", silent, "opus"},
		{"7.1", surround, "opus"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fx := newFixture(t, Config{})
			fx.play(c.source.from(fx.epoch), 8)
			fx.offered(c.format)
			got := fx.watch(c.format, media.Audio).until(fx.epoch.Add(4 * time.Second))
			length, _, _ := audioFrame(media.Codec(c.format))
			wantSteady(t, got, media.Codec(c.format), length)
		})
	}
}

// S12: a child is confined, and nothing of a stream's name is in its arguments.
func TestProcessIsConfined(t *testing.T) {
	t.Parallel()
	fx := newFixture(t, Config{Ladders: onlySmall})
	fx.play(small(t, "4").repeat(4).from(fx.epoch), 1)
	fx.offered("48p")
	fx.watch("48p", media.Video)
	w := fx.worker("48p", func(w Worker) bool { return w.Out > 0 })
	proc := "/proc/" + strconv.Itoa(w.PID)
	cmdline, err := os.ReadFile(proc + "/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	if s := string(cmdline); strings.Contains(s, "cup") || strings.Contains(s, "cam1") || !strings.Contains(s, "-protocol_whitelist\x00pipe\x00") {
		t.Errorf("the arguments are %q", strings.Split(s, "\x00"))
	}
	limits, err := os.ReadFile(proc + "/limits")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Max address space 4294967296", "Max file size 0", "Max core file size 0", "Max open files 256"} {
		if !strings.Contains(strings.Join(strings.Fields(string(limits)), " "), want) {
			t.Errorf("limits lack %q:\n%s", want, limits)
		}
	}
	environ, err := os.ReadFile(proc + "/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range strings.Split(strings.Trim(string(environ), "\x00"), "\x00") {
		name, _, _ := strings.Cut(pair, "=")
		if !strings.Contains(strings.Join(environment, " "), name) {
			t.Errorf("the child knows %q", name)
		}
	}
	open, err := os.ReadDir(proc + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range open {
		to, _ := os.Readlink(proc + "/fd/" + fd.Name())
		if strings.HasPrefix(to, "socket:") || strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "/dev/") {
			t.Errorf("the child holds %s open", to)
		}
	}
}
