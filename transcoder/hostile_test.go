package transcoder

import (
	"bytes"
	"fmt"
	bitlen "math/bits"
	"math/rand/v2"
	"os"
	"slices"
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
		{"2 frames a second", "160x90", "2", []string{"-g", "2", "-bf", "0"}, 86, 48, 2},
		{"odd sides", "95x51", "15", []string{"-pix_fmt", "yuv444p", "-g", "30"}, 90, 48, 15},
		{"tiny", "16x16", "15", []string{"-g", "30"}, 16, 16, 15},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fx := newFixture(t, Config{Ladders: []Rule{{Match: "**", Formats: []string{"48p"}}}})
			fx.play(8, video(t, media.H264, c.size, c.rate, "6", c.options...).from(fx.epoch))
			format := media.Format(fmt.Sprintf("%dp", c.height)) // named by what there is where that is less than 48 lines
			fx.offered(format)
			got := fx.watch(format, media.Video).until(fx.epoch.Add(4 * time.Second))
			wantGrid(t, got, 2*time.Second)
			if p := got[0].Params; p.Width != c.width || p.Height != c.height || p.FPS != c.fps {
				t.Errorf("%s at %s came out as %dx%d at %v, want %dx%d at %v", c.size, c.rate, p.Width, p.Height, p.FPS, c.width, c.height, c.fps)
			}
		})
	}
}

// A frame in ten seconds, as some sources of still pictures send: the time between is filled.
func TestSlowSource(t *testing.T) {
	t.Parallel()
	fx := newFixture(t, Config{Ladders: onlySmall})
	fx.play(20, video(t, media.H264, "160x90", "1/10", "60", "-g", "1").from(fx.epoch))
	fx.offered("48p")
	wantGrid(t, fx.watch("48p", media.Video).until(fx.epoch.Add(40*time.Second)), 2*time.Second)
}

// hugeSPS claims a picture of 16384 by 16384 (ITU-T H.264, section 7.3.2.1.1).
func hugeSPS() []byte {
	var b bits
	ue := func(v uint) { n := bitlen.Len(v + 1); b.put(0, n-1); b.put(v+1, n) }
	b.put(0x67, 8)
	b.put(66, 8) // baseline
	b.put(0, 8)
	b.put(62, 8)                           // level 6.2
	for _, v := range []uint{0, 0, 2, 1} { // id, frame_num of 4 bits, order type, reference frames
		ue(v)
	}
	b.put(0, 1)
	ue(1023)          // macroblocks across
	ue(1023)          // and down
	b.put(0b11001, 5) // frames only, direct 8x8, no cropping, no VUI, stop
	return b.bytes
}

// A parameter set claims a picture that nobody could hold in memory: nothing is made of it, no process
// is the worse for it, and formats go on when the source comes to its senses.
func TestHugePicture(t *testing.T) {
	t.Parallel()
	fx := newFixture(t, Config{Ladders: onlySmall})
	source := small(t, "2").repeat(3)
	for i := 30; i < 60; i++ {
		f := &source.frames[i]
		f.Units = slices.Clone(f.Units)
		for n, unit := range f.Units {
			if unit[0]&0x1f == 7 {
				f.Units[n] = hugeSPS()
			}
		}
	}
	source = source.from(fx.epoch)
	huge := clip{params: source.params, frames: source.frames[30:60]}
	fx.send(huge)
	if p := fx.source(media.Video).Params(); p.Width != 16384 || p.Height != 16384 {
		t.Fatalf("the source is taken for %dx%d", p.Width, p.Height)
	}
	if offers := fx.transcoder.Offers(fx.stream); len(offers) != 0 {
		t.Errorf("%d formats of it are offered, want none", len(offers))
	}
	fx.publication.Close()
	fx.publishAs("cup/cam2", "test")
	fx.play(4, source)
	fx.offered("48p")
	got := fx.watch("48p", media.Video).until(fx.epoch.Add(5500 * time.Millisecond))
	for len(got) > 0 && got[0].Time() < fx.epoch.Add(4*time.Second) {
		got = got[1:]
	}
	wantGrid(t, got, 2*time.Second)
	if w := fx.worker("48p", func(Worker) bool { return true }); w.Trouble != "" || w.Dropped < 30 {
		t.Errorf("the worker says %+v, want 30 frames dropped and no trouble", w)
	}
}

// What claims less than it is, FFmpeg refuses by itself.
func TestDecoderRefusesHugePicture(t *testing.T) {
	t.Parallel()
	target, err := ParseTarget("48p")
	if err != nil {
		t.Fatal(err)
	}
	in := media.Params{Codec: media.H264, ClockRate: media.VideoClockRate, Width: 160, Height: 90, FPS: 15}
	p := plan{In: in, Out: videoParams(target, Source{Params: in}), Encoder: x264(DefaultPreset), Segment: 2 * time.Second}
	var pipe bytes.Buffer
	input, err := newInput(&pipe, in, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range small(t, "2").frames {
		for n, unit := range f.Units {
			if unit[0]&0x1f == 7 {
				f.Units = slices.Clone(f.Units)
				f.Units[n] = hugeSPS()
			}
		}
		f.Ticks, f.Params = int64(i)*6000, &in
		if err := input.write(&f); err != nil {
			t.Fatal(err)
		}
	}
	out, err := runOnce("ffmpeg", args(p), limits{memory: 512 << 20}, pipe.Bytes(), probeLimit, probeOutput)
	if err == nil {
		t.Errorf("%d bytes were made of it", len(out))
	} else if strings.Contains(err.Error(), "memory") {
		t.Errorf("it was refused for want of memory: %v", err)
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
		{"times that go backwards", func(_ *rand.Rand, i int, f *frame.Frame) { f.Ticks -= int64(i%30) * 12000 }},
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
			fx.play(8, good.from(fx.epoch))
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
			fx.play(8, c.source.from(fx.epoch))
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
	fx.play(1, small(t, "4").repeat(4).from(fx.epoch))
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

// bits is a string of bits, the first of them the highest of the first byte.
type bits struct {
	bytes []byte
	n     int
}

func (b *bits) put(value uint, width int) {
	for i := width - 1; i >= 0; i-- {
		if b.n%8 == 0 {
			b.bytes = append(b.bytes, 0)
		}
		b.bytes[b.n/8] |= byte(value>>i&1) << (7 - b.n%8)
		b.n++
	}
}
