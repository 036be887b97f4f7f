package doctor

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"banyan/deploy/config"
	"banyan/transcoder"
)

// ffmpegTime is for one call of FFmpeg that only lists what it has. A cold disk needs a second or two.
const ffmpegTime = 10 * time.Second

// A need is a list that FFmpeg prints and what must be, or had better be, on it.
type need struct {
	option string // that makes FFmpeg print the list
	must   []string
	better []string // streams with other codecs are passed on, but not transcoded
}

// needs is all but the encoder of H.264, which is tried.
var needs = []need{
	{"-encoders", []string{"aac", "libopus"}, nil},
	{"-decoders", []string{"h264", "hevc", "aac", "opus"}, []string{"vp8", "vp9", "av1", "pcm_alaw", "pcm_mulaw"}},
	{"-muxers", []string{"mpegts", "ivf"}, nil},
	{"-demuxers", []string{"mpegts", "ivf"}, nil},
}

func examineFFmpeg(ctx context.Context, c config.Config) []Finding {
	f := examineBuild(ctx, c.Transcoder.FFmpeg)
	if f.Status == Fail {
		return []Finding{f}
	}
	return []Finding{f, examineEncoder(c)}
}

// examineEncoder tries what FFmpeg has for H.264, as a build lists encoders whose hardware is not there.
func examineEncoder(c config.Config) Finding {
	const check = "transcoder.encoder"
	wanted := c.Transcoder.Encoder
	var working, failures []string
	for _, trial := range transcoder.TryEncoders(transcoder.Config{FFmpeg: c.Transcoder.FFmpeg, Preset: c.Transcoder.Preset}) {
		switch {
		case trial.Err == nil && (trial.Encoder == wanted || wanted == "auto"):
			return good(check, "%s works, %s is configured", trial.Encoder, wanted)
		case trial.Err == nil:
			working = append(working, trial.Encoder)
		case trial.Encoder == wanted || wanted == "auto":
			failures = append(failures, fmt.Sprintf("%s: %v", trial.Encoder, trial.Err))
		}
	}
	if len(working) == 0 {
		return Finding{check, Fail, "no encoder of H.264 works: " + strings.Join(failures, "; "),
			"install an FFmpeg with libx264 (Debian's package ffmpeg is one), or set transcoder.ffmpeg to one"}
	}
	return Finding{check, Fail, fmt.Sprintf("%s is configured and does not work here, %s does (%s)",
		wanted, strings.Join(working, " and "), strings.Join(failures, "; ")),
		"set transcoder.encoder to auto or to " + strings.Join(working, " or ") + ", or install the driver that " + wanted + " needs"}
}

// examineBuild looks at what is built into FFmpeg.
func examineBuild(ctx context.Context, program string) Finding {
	const check = "ffmpeg"
	version, err := ffmpeg(ctx, program, "-version")
	if errors.Is(err, exec.ErrNotFound) {
		return Finding{check, Fail, program + " is not installed", "install it (apt-get install ffmpeg), or set transcoder.ffmpeg to its path"}
	}
	if err != nil {
		return Finding{check, Fail, fmt.Sprintf("%s does not run: %v", program, err), "reinstall it, or set transcoder.ffmpeg to another one"}
	}
	var missing, wanting []string
	for _, need := range needs {
		list, err := ffmpeg(ctx, program, need.option)
		if err != nil {
			return Finding{check, Fail, fmt.Sprintf("%s %s does not run: %v", program, need.option, err), "reinstall it"}
		}
		kind := strings.TrimSuffix(strings.TrimPrefix(need.option, "-"), "s")
		missing = append(missing, absent(list, kind, need.must)...)
		wanting = append(wanting, absent(list, kind, need.better)...)
	}
	found := ffmpegVersion(version)
	switch {
	case tooOld(found):
		return Finding{check, Fail, found + " is too old", "install FFmpeg 5.1 or newer (Debian 12 has it), or set transcoder.ffmpeg to one"}
	case len(missing) > 0:
		return Finding{check, Fail, found + " lacks " + strings.Join(missing, ", "),
			"install a full build (Debian's package ffmpeg is one), or set transcoder.ffmpeg to one"}
	case len(wanting) > 0:
		return Finding{check, Warn, found + " lacks " + strings.Join(wanting, ", "),
			"streams of these codecs will not be transcoded; install a full build for them"}
	}
	return good(check, "%s, with all codecs and containers that are needed", found)
}

func ffmpeg(ctx context.Context, program, option string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, ffmpegTime)
	defer cancel()
	command := exec.CommandContext(ctx, program, "-hide_banner", option)
	command.WaitDelay = time.Second // for a child that keeps the pipe open
	out, err := command.Output()
	if ctx.Err() != nil {
		return "", fmt.Errorf("no answer within %v", ffmpegTime)
	}
	return string(out), err
}

// ffmpegVersion takes "5.1.9" out of "ffmpeg version 5.1.9-0+deb12u1 Copyright …".
func ffmpegVersion(text string) string {
	fields := strings.Fields(text)
	if len(fields) < 3 || fields[1] != "version" {
		return "an FFmpeg of unknown version"
	}
	number, _, _ := strings.Cut(fields[2], "-")
	return "version " + number
}

// tooOld tells of a version before 5.1, which lacks options that the transcoder uses. One that cannot be read, such as
// that of a nightly build, is taken for new.
func tooOld(version string) bool {
	var major, minor int
	n, _ := fmt.Sscanf(version, "version %d.%d", &major, &minor)
	return n == 2 && (major < 5 || major == 5 && minor < 1)
}

// absent returns those of names that list does not have. A line of a list is flags, names joined by commas, and
// a description.
func absent(list, kind string, names []string) []string {
	var present []string
	for line := range strings.Lines(list) {
		if fields := strings.Fields(line); len(fields) >= 2 {
			present = append(present, strings.Split(fields[1], ",")...)
		}
	}
	var missing []string
	for _, name := range names {
		if !slices.Contains(present, name) {
			missing = append(missing, "the "+kind+" "+name)
		}
	}
	return missing
}
