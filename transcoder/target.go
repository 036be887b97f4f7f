package transcoder

import (
	"fmt"
	"strconv"
	"strings"

	"banyan/relay/media"
)

// Target is what the name of a format asks for. The grammar is
//
//	source | opus | aac | <height>p[<fps>][-<codec>]     720p  1080p60  480p-vp8
//
// where the codec is h264 if not named, else one of h264, h265, vp8, vp9, av1.
type Target struct {
	Format media.Format
	Kind   media.Kind
	Codec  media.Codec // none for source
	Height int         // video: at most so many lines
	FPS    int         // video: at most so many frames per second; zero for as many as the source has
}

// withHeight is t with other lines, and the name that goes with them. Fewer than a format can ask for stay unsaid.
func (t Target) withHeight(lines int) Target {
	if lines < minHeight {
		return t
	}
	_, manner, _ := strings.Cut(string(t.Format), "p") // frame rate and codec
	t.Format, t.Height = media.Format(strconv.Itoa(lines)+"p"+manner), lines
	return t
}

// Bounds of what a format may ask for.
const (
	minHeight = 16
	maxHeight = 4320
	minFPS    = 5
	maxFPS    = 60
)

// ParseTarget reads the name of a format.
func ParseTarget(name string) (Target, error) {
	format, err := media.ParseFormat(name)
	if err != nil {
		return Target{}, err
	}
	switch name {
	case string(media.Source):
		return Target{Format: format}, nil
	case string(media.Opus), string(media.AAC):
		return Target{Format: format, Kind: media.Audio, Codec: media.Codec(name)}, nil
	}
	return parseVideo(format)
}

func parseVideo(format media.Format) (Target, error) {
	size, codec, named := strings.Cut(string(format), "-")
	if !named {
		codec = string(media.H264)
	}
	if media.Codec(codec).Kind() != media.Video {
		return Target{}, fmt.Errorf("format %q: %q is no codec to make: write h264, h265, vp8, vp9 or av1 after the \"-\", such as 480p-vp8", format, codec)
	}
	lines, rate, found := strings.Cut(size, "p")
	height, err := plainNumber(lines)
	if !found || err != nil || height < minHeight || height > maxHeight {
		return Target{}, fmt.Errorf("format %q is none: write source, opus, aac, or a height of %d to %d lines such as 720p, 1080p60 or 480p-vp8",
			format, minHeight, maxHeight)
	}
	t := Target{Format: format, Kind: media.Video, Codec: media.Codec(codec), Height: height}
	if rate == "" {
		return t, nil
	}
	if t.FPS, err = plainNumber(rate); err != nil || t.FPS < minFPS || t.FPS > maxFPS {
		return Target{}, fmt.Errorf("format %q: what stands after the \"p\" is the frame rate, %d to %d: write a format such as 720p, 1080p60 or 480p-vp8",
			format, minFPS, maxFPS)
	}
	return t, nil
}

// plainNumber is Atoi without signs and leading zeros, so that a format has one spelling.
func plainNumber(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err == nil && strconv.Itoa(n) != s {
		err = fmt.Errorf("%q is not a plain number", s)
	}
	return n, err
}

// parseTargets reads a ladder.
func parseTargets(names []string) ([]Target, error) {
	targets := make([]Target, 0, len(names))
	for _, name := range names {
		t, err := ParseTarget(name)
		if err != nil {
			return nil, err
		}
		targets = append(targets, t)
	}
	return targets, nil
}
