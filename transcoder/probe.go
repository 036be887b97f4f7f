package transcoder

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"banyan/relay/media"
)

// autoEncoder asks to choose.
const autoEncoder = "auto"

// knownEncoder tells whether Config.Encoder may be name.
func knownEncoder(name string) bool {
	return slices.ContainsFunc(h264Encoders(DefaultPreset), func(e encoder) bool { return e.name == name })
}

// Of a probe: a few frames of a picture that every encoder takes.
const (
	probeWidth, probeHeight = 320, 180
	probeFrames             = 3
	probeLimit              = 10 * time.Second // a machine under load, a driver that wakes a card
	probeOutput             = 4 << 20          // bytes
)

// probe finds an encoder for each of the codecs by encoding with it: that FFmpeg lists one says
// nothing about the hardware. Codecs without one are left out; H.264 must have one.
func probe(c Config, wanted []media.Codec) (map[media.Codec]encoder, error) {
	found := map[media.Codec]encoder{}
	var failures []string
	for _, codec := range wanted {
		for _, e := range candidates(codec, c) {
			err := try(c, codec, e)
			if err == nil {
				found[codec] = e
				break
			}
			failures = append(failures, fmt.Sprintf("%s: %v", e.name, err))
		}
	}
	_, ok := found[media.H264]
	if !ok && c.Encoder != autoEncoder {
		return nil, fmt.Errorf("transcoder.encoder: %s is configured and does not work here: set auto to take what works, or mend its driver (%s)",
			c.Encoder, strings.Join(failures, "; "))
	}
	if !ok {
		return nil, fmt.Errorf("no encoder of H.264 works with %q: install an FFmpeg that has libx264 (%s)",
			c.FFmpeg, strings.Join(failures, "; "))
	}
	if len(failures) > 0 {
		c.Logger.Debug("encoders that do not work here", "failures", failures)
	}
	return found, nil
}

// Trial is how an encoder of H.264 did when it was tried.
type Trial struct {
	Encoder string
	Err     error // nil if it works
}

// TryEncoders encodes a few pictures with each encoder of H.264 that config.Encoder may name, in the order in which
// "auto" takes them. It may take some seconds.
func TryEncoders(config Config) []Trial {
	config = config.withDefaults()
	var trials []Trial
	for _, e := range h264Encoders(config.Preset) {
		trials = append(trials, Trial{e.name, try(config, media.H264, e)})
	}
	return trials
}

func candidates(codec media.Codec, c Config) []encoder {
	if codec != media.H264 {
		return []encoder{softwareEncoder(codec, c.Preset)}
	}
	all := h264Encoders(c.Preset)
	if c.Encoder == autoEncoder {
		return all
	}
	return slices.DeleteFunc(all, func(e encoder) bool { return e.name != c.Encoder })
}

// try encodes a few black frames, or a moment of silence, just as a worker would.
func try(c Config, codec media.Codec, e encoder) error {
	p := plan{Encoder: e, Segment: c.Segment}
	var input []byte
	if codec.Kind() == media.Video {
		p.Out = media.Params{Codec: codec, Width: probeWidth, Height: probeHeight, FPS: 30, Bitrate: 300_000}
		p.In = p.Out
		input = make([]byte, probeFrames*probeWidth*probeHeight*3/2)
	} else {
		p.In = media.Params{Codec: media.PCMU, ClockRate: 8000, Channels: 1}
		p.Out = media.Params{Codec: codec, Channels: 1, Bitrate: 48_000}
		input = make([]byte, 8000)
	}
	out, err := runOnce(c.FFmpeg, probeArgs(p), limitsFor(c, e), input, probeLimit, probeOutput)
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("it wrote nothing")
	}
	return err
}

// probeArgs is args with plain pictures for input.
func probeArgs(p plan) []string {
	a := args(p)
	if p.Out.Codec.Kind() != media.Video {
		return a
	}
	from := slices.Index(a, "-threads")
	to := slices.Index(a, "-i")
	raw := []string{"-f", "rawvideo", "-pix_fmt", "yuv420p", "-r", "30",
		"-s", fmt.Sprintf("%dx%d", probeWidth, probeHeight)}
	return slices.Replace(a, from, to, raw...)
}

// limitsFor bounds a process. Drivers of hardware map far more than they use.
func limitsFor(c Config, e encoder) limits {
	l := limits{memory: c.Memory, nice: 5}
	if e.hardware {
		l.memory = 0
	}
	return l
}
