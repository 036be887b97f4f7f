package transcoder

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"banyan/relay/media"
)

// Source is what the ladder needs to know of a source track.
type Source struct {
	Params    media.Params
	Bitrate   float64 // measured, bits per second, of sound where it is loudest; zero where not known yet, or all is silence
	FrameRate float64 // measured, frames per second; zero where not known yet
}

// Rung is a format that is worth making of a source, and what it will be like.
type Rung struct {
	Target Target
	Params media.Params
}

// audioRate is the clock and the sample rate of all audio that is made, in Hz.
const audioRate = 48000

// Ladder lists the formats to offer for a source out of the targets of its ladder, by these rules:
//
//   - never larger than the source in width, height, frame rate or bit rate; the aspect is kept. A rung is not left
//     out for it, as a picture that stands still and a voice that is silent for a moment have next to no rate, and
//     players would lose a format that they are soon to need: what is asked for is never more than the source has down
//     to where FFmpeg's encoders cannot do with less (see leastRate and leastSound; of sound channels are given up
//     first). A format that was made small goes on larger when its source has grown (see run.outgrown);
//   - rungs taller than the source are left out; where all are, one is made at the source's size, in the
//     manner of the smallest and named by the lines that it really has;
//   - nothing is made of pictures larger than 8K;
//   - no two rungs are equal, and none is equal to a source that passes through: H.264 on the grid,
//     Opus or AAC that every viewer takes;
//   - a source off the grid that stands out above the ladder gets a stand-in on the grid, named by its
//     height, so that players who need aligned segments get the full picture too.
func Ladder(targets []Target, source Source) []Rung {
	switch source.Params.Codec.Kind() {
	case media.Video:
		return videoLadder(targets, source)
	case media.Audio:
		return audioLadder(targets, source)
	}
	return nil
}

// maxSourcePixels bounds the pictures that are decoded, at 8K: what a parameter set claims costs memory
// before there is a picture.
const maxSourcePixels = 8192 * 4320

func tooLarge(p *media.Params) bool { return p.Width*p.Height > maxSourcePixels }

func videoLadder(targets []Target, source Source) []Rung {
	if tooLarge(&source.Params) {
		return nil
	}
	var rungs []Rung
	add := func(t Target) {
		r := Rung{Target: t, Params: videoParams(t, source)}
		same := func(o Rung) bool { return samePicture(&o.Params, &r.Params) }
		if !passesThrough(&source.Params, &r.Params) && !slices.ContainsFunc(rungs, same) {
			rungs = append(rungs, r)
		}
	}
	wanted := slices.DeleteFunc(slices.Clone(targets), func(t Target) bool { return t.Kind != media.Video })
	for _, t := range wanted {
		if fits(t, source) {
			add(t)
		}
	}
	if len(wanted) > 0 && !slices.ContainsFunc(wanted, func(t Target) bool { return fits(t, source) }) {
		add(slices.MinFunc(wanted, func(a, b Target) int { return cmp.Compare(a.Height, b.Height) }).withHeight(source.Params.Height &^ 1))
	}
	if top, ok := standIn(targets, wanted, source); ok {
		add(top)
	}
	return rungs
}

// fits tells whether the source is tall enough for t. One of unknown height is taken to be.
func fits(t Target, source Source) bool {
	return source.Params.Height == 0 || t.Height <= source.Params.Height
}

// standOut is how much taller than the ladder a source must be to be worth another rung.
const standOut = 1.1

// maxStandIn is the tallest stand-in, in lines: what a common machine still encodes in real time.
const maxStandIn = 1080

// standIn is the rung that takes the place of a source off the grid, where the ladder lists the
// source and nothing that comes close to it.
func standIn(targets, wanted []Target, source Source) (Target, bool) {
	listed := slices.ContainsFunc(targets, func(t Target) bool { return t.Format == media.Source })
	if !listed || source.Params.Aligned || source.Params.Height < minHeight {
		return Target{}, false
	}
	height := min(source.Params.Height, maxStandIn) &^ 1
	for _, t := range wanted {
		if t.Codec == media.H264 && fits(t, source) && float64(height) < standOut*float64(t.Height) {
			return Target{}, false
		}
	}
	if len(wanted) > 0 && !slices.ContainsFunc(wanted, func(t Target) bool { return fits(t, source) }) {
		return Target{}, false // the smallest rung has the source's size already
	}
	format := media.Format(fmt.Sprintf("%dp", height))
	return Target{Format: format, Kind: media.Video, Codec: media.H264, Height: height}, true
}

func samePicture(a, b *media.Params) bool {
	return a.Codec == b.Codec && a.Width == b.Width && a.Height == b.Height && a.FPS == b.FPS
}

// passesThrough tells whether viewers may as well have the source instead of an encoding like made.
func passesThrough(source, made *media.Params) bool {
	if source.Codec != made.Codec || source.Reordered {
		return false
	}
	switch source.Codec {
	case media.H264:
		return source.Aligned && source.Width == made.Width && source.Height == made.Height &&
			gridRate(source.FPS, 0) == int(made.FPS)
	case media.Opus:
		return source.Channels <= 2
	case media.AAC:
		return source.Channels <= 2 && (source.SampleRate == audioRate || source.SampleRate == 44100)
	}
	return false
}

// videoParams is what t comes to for a source.
func videoParams(t Target, source Source) media.Params {
	width, height := fitPicture(t.Height, source.Params.Width, source.Params.Height)
	fps := gridRate(sourceRate(source), t.FPS)
	return media.Params{
		Codec: t.Codec, ClockRate: media.VideoClockRate, Aligned: true,
		Width: width, Height: height, FPS: float64(fps),
		Bitrate: capRate(videoBitrate(t.Codec, width, height, fps), source.Bitrate),
	}
}

// fitPicture scales a picture down to at most so many lines, with even sides and the same aspect. One
// of unknown size is taken as 16:9 and tall enough.
func fitPicture(lines, width, height int) (w, h int) {
	if width <= 0 || height <= 0 {
		return even(float64(lines) * 16 / 9), even(float64(lines))
	}
	h = even(float64(min(lines, height)))
	w = even(math.Round(float64(width)*float64(h)/float64(height)/2) * 2)
	return min(w, even(float64(width))), h
}

// even is the largest even number up to x, at least 2.
func even(x float64) int { return max(2, int(x)&^1) }

// grid lists the frame rates that are made. Each divides 90000 and, as segments last whole seconds,
// puts a frame on every segment's start, for which one frame a second is the least.
var grid = [...]int{1, 2, 3, 5, 10, 12, 15, 20, 24, 25, 30, 50, 60}

// overRate is how far above the source's rate the grid's may lie: measured rates waver, and
// 29.97 is 30 to everyone.
const overRate = 1.05

// gridRate is the rate of the grid that is nearest to rate but not above it, nor above most (zero for
// no such bound).
func gridRate(rate float64, most int) int {
	best := grid[0]
	for _, r := range grid {
		nearer := math.Abs(float64(r)-rate) < math.Abs(float64(best)-rate)
		if nearer && float64(r) <= rate*overRate && (most == 0 || r <= most) {
			best = r
		}
	}
	return best
}

// usualRate is the frame rate of a source that has said nothing yet.
const usualRate = 30

// sourceRate is the source's frame rate: as declared where what was measured bears it out, else as
// measured.
func sourceRate(s Source) float64 {
	declared, measured := s.Params.FPS, s.FrameRate
	switch {
	case measured <= 0 && declared <= 0:
		return usualRate
	case measured <= 0:
		return declared
	case declared > 0 && math.Abs(declared-measured) < 0.1*declared:
		return declared
	}
	return measured
}

// rates are usual bit rates of H.264 at 30 frames per second in 16:9, by height.
var rates = [...]struct{ height, bits float64 }{
	{0, 20e3}, {90, 100e3}, {180, 280e3}, {240, 400e3}, {360, 700e3}, {480, 1.2e6},
	{720, 2.5e6}, {1080, 4.5e6}, {1440, 8e6}, {2160, 16e6}, {4320, 40e6},
}

// videoBitrate is a sensible rate in bits per second for a picture.
func videoBitrate(codec media.Codec, width, height, fps int) int {
	like := math.Sqrt(float64(width) * float64(height) * 9 / 16) // height of a 16:9 picture of that area
	i := 1
	for i < len(rates)-1 && like > rates[i].height {
		i++
	}
	a, b := rates[i-1], rates[i]
	bits := a.bits + (b.bits-a.bits)*(like-a.height)/(b.height-a.height)
	bits *= math.Pow(float64(fps)/30, 0.75) // closer frames differ less
	switch codec {
	case media.H265, media.AV1:
		bits *= 0.65
	case media.VP9:
		bits *= 0.75
	}
	return int(bits) / 1000 * 1000
}

// leastRate is asked of encoders of video where the source hardly sends anything, in bits per second. Below it they show
// the same: frames that repeat the one before, and keyframes at their coarsest (libx264 takes 9 kbit/s for 640x360 at 30
// frames per second, whether it is asked for 1 or for 8).
const leastRate = 1000

// capRate keeps a bit rate at or below what the source was measured at.
func capRate(bits int, measured float64) int {
	if measured > 0 {
		bits = min(bits, int(measured)/1000*1000)
	}
	return max(bits, leastRate)
}

func audioLadder(targets []Target, source Source) []Rung {
	var rungs []Rung
	for _, t := range targets {
		if t.Kind != media.Audio {
			continue
		}
		r := Rung{Target: t, Params: audioParams(t, source)}
		same := func(o Rung) bool { return o.Params.Codec == t.Codec }
		if !passesThrough(&source.Params, &r.Params) && !slices.ContainsFunc(rungs, same) {
			rungs = append(rungs, r)
		}
	}
	return rungs
}

// leastSound are the rates below which encoders of sound do not go, in bits per second by channels. Opus has no smaller
// ones (RFC 6716, section 2.1.1); FFmpeg's encoder of AAC takes them whatever it is asked for. Every source gets its
// Opus and its AAC all the same, as browsers play nothing else by WebRTC and most players nothing else by HLS.
var leastSound = map[media.Codec][2]int{media.Opus: {6000, 12000}, media.AAC: {16000, 24000}}

// plainSound is the rate of a channel, in bits per second, from which on a source is taken as it is measured.
// Below it may be a poor one, or one that is silent much of the time.
const plainSound = 24000

func audioParams(t Target, source Source) media.Params {
	channels := min(max(source.Params.Channels, 1), 2)
	bits := 48000 * channels
	if t.Codec == media.AAC {
		bits = 64000 * channels
	}
	if source.Bitrate > 0 {
		bits = min(bits, int(source.Bitrate)/1000*1000)
	}
	least := leastSound[t.Codec]
	if channels == 2 && bits < least[1] {
		channels = 1
	}
	return media.Params{
		Codec: t.Codec, ClockRate: audioRate, SampleRate: audioRate, Channels: channels,
		Bitrate: max(bits, least[0]),
	}
}
