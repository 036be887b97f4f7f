package transcoder

import (
	"fmt"
	"strconv"
	"time"

	"banyan/relay/media"
)

// plan says what one FFmpeg process is to do. It holds numbers and names of our own making only:
// nothing that a user chose ever reaches a command line.
type plan struct {
	In  media.Params // the source's epoch
	Out media.Params // codec, size, frame rate, bit rate, channels

	Encoder encoder
	Segment time.Duration // between keyframes of video

	// Base is where the process's clock begins, in whole seconds since the Unix epoch: a whole
	// multiple of the segment duration, before every frame of the run.
	Base int64
	// From is where output begins, in frames of video or samples of audio since Base; what is before
	// is decoded and dropped. Never negative.
	From int64
	// Pad says that the source's audio hardly begins before From, if not after it: what is missing
	// is made up with silence.
	Pad bool
}

// threads bounds the threads of each decoder, filter graph and encoder.
const threads = "2"

// args is the command line for p, without the name of the program.
func args(p plan) []string {
	a := []string{
		"-nostdin", "-hide_banner", "-loglevel", "warning", "-protocol_whitelist", "pipe",
	}
	a = append(a, p.Encoder.device...)
	a = append(a, inputArgs(p.In)...)
	if p.Out.Codec.Kind() == media.Video {
		a = append(a, "-map", "0:v:0", "-vf", videoFilter(p))
		a = append(a, videoArgs(p)...)
	} else {
		a = append(a, "-map", "0:a:0", "-af", audioFilter(p))
		a = append(a, audioArgs(p)...)
	}
	return append(a, outputArgs(p.Out.Codec)...)
}

// inputArgs reads stdin. Probing is kept short: the container and the codec are known, and what is
// still missing comes with the first frame. Threads work on slices, as frame threads hold frames back.
func inputArgs(in media.Params) []string {
	a := []string{
		"-threads", threads, "-thread_type", "slice", "-copyts",
		"-probesize", "500000", "-analyzeduration", "1", "-fpsprobesize", "0",
	}
	if in.Codec.Kind() == media.Video {
		a = append(a, "-max_pixels", strconv.Itoa(maxSourcePixels))
	}
	switch {
	case in.Codec == media.AV1:
		// dav1d counts its frame threads by itself; AV1 has no reordering that this would break.
		a = append(a, "-flags", "low_delay", "-f", "ivf")
	case in.Codec == media.H264:
		a = append(a, "-f", "ivf", "-c:v", "h264")
	case in.Codec == media.H265:
		a = append(a, "-f", "ivf", "-c:v", "hevc") // not every release knows it in IVF by itself
	case in.Codec.Kind() == media.Video:
		a = append(a, "-f", "ivf")
	case isG711(in.Codec):
		a = append(a, "-f", "s16le", "-ar", strconv.Itoa(in.ClockRate), "-ac", strconv.Itoa(max(1, in.Channels)))
	default:
		a = append(a, "-f", "mpegts")
	}
	return append(a, "-i", "pipe:0")
}

// videoFilter puts frames on the grid, from the start on, and scales them. The fps filter rounds each
// time to the nearest multiple of 1/fps and repeats or drops frames where needed; its start_time makes
// the first frame that comes out the one we count from.
func videoFilter(p plan) string {
	f := ""
	if interlaced(p.In) {
		f = "yadif=mode=send_frame:deint=interlaced,"
	}
	fps := int64(p.Out.FPS)
	f += fmt.Sprintf("fps=fps=%d:start_time=%s", fps, strconv.FormatFloat(float64(p.From)/float64(fps), 'f', 6, 64))
	if p.In.Width > 0 && p.In.Height > 0 {
		f += fmt.Sprintf(",scale=w=%d:h=%d:flags=bicubic", p.Out.Width, p.Out.Height)
	} else {
		f += fmt.Sprintf(",scale=w=-2:h='trunc(min(ih,%d)/2)*2':flags=bicubic", p.Out.Height)
	}
	return f + ",setsar=1,format=" + p.Encoder.pixels()
}

// videoArgs encodes. A keyframe is forced on the first frame and on the first frame of each segment;
// the encoder places none of its own. Frames come without gaps, so counting them (n) is exact, where
// time in that expression is relative to the first frame.
func videoArgs(p plan) []string {
	rate := strconv.Itoa(p.Out.Bitrate)
	segment := int64(p.Out.FPS) * int64(p.Segment/time.Second) // in frames
	a := []string{
		"-fps_mode", "passthrough",
		"-c:v", p.Encoder.name,
		"-b:v", rate, "-maxrate", rate, "-bufsize", rate,
		"-g", "1000000", "-bf", "0", "-threads", threads,
		"-force_key_frames", fmt.Sprintf("expr:eq(n,0)+not(mod(n+%d,%d))", p.From%segment, segment),
	}
	return append(append(a, p.Encoder.options...), levelArgs(p)...)
}

// levelArgs has libx264 write the level that playlists tell before there is a picture (see edge/hls), instead of the
// lowest one that the bit rate allows, too. Those of hardware are left to choose.
func levelArgs(p plan) []string {
	if p.Encoder.name != "libx264" || p.In.Width <= 0 || p.In.Height <= 0 {
		return nil
	}
	return []string{"-level", strconv.Itoa(media.H264Level(p.Out.Width, p.Out.Height, p.Out.FPS))}
}

// audioFilter resamples to the output's clock and lets it begin exactly at the start; it puts silence
// where there is a gap and drops what overlaps, so that counting samples stays in step with media time.
// The resampler pads well but trims only little (of seconds to trim nothing comes out at all), so
// trimming is a filter of its own.
func audioFilter(p plan) string {
	layout := "stereo"
	if p.Out.Channels == 1 {
		layout = "mono"
	}
	resample, trim := "", ""
	if p.Pad {
		resample = fmt.Sprintf(":first_pts=%d", p.From)
	} else {
		trim = fmt.Sprintf(",atrim=start_pts=%d", p.From)
	}
	return fmt.Sprintf("aresample=%d:async=1:min_hard_comp=0.03%s,aformat=sample_fmts=%s:channel_layouts=%s%s",
		audioRate, resample, audioSamples(p.Out.Codec), layout, trim)
}

func audioSamples(c media.Codec) string {
	if c == media.Opus {
		return "s16"
	}
	return "fltp"
}

func audioArgs(p plan) []string {
	a := []string{"-c:a", p.Encoder.name, "-b:a", strconv.Itoa(p.Out.Bitrate), "-threads", "1"}
	return append(a, p.Encoder.options...)
}

// outputArgs writes to stdout, each frame at once and with its own time.
func outputArgs(c media.Codec) []string {
	a := []string{"-copyts", "-avoid_negative_ts", "disabled", "-flush_packets", "1", "-map_metadata", "-1"}
	if writesIVF(c) {
		return append(a, "-f", "ivf", "pipe:1")
	}
	return append(a,
		"-muxdelay", "0", "-muxpreload", "0", "-mpegts_copyts", "1",
		"-omit_video_pes_length", "0", // or the end of a frame shows only when the next begins
		"-pes_payload_size", "0", // or frames of audio wait for company
		"-f", "mpegts", "pipe:1")
}

// thumbnailArgs makes one JPEG of the first picture of stdin.
func thumbnailArgs(in media.Params, width int) []string {
	a := []string{"-nostdin", "-hide_banner", "-loglevel", "warning", "-protocol_whitelist", "pipe"}
	a = append(a, inputArgs(in)...)
	return append(a, "-map", "0:v:0", "-frames:v", "1",
		"-vf", fmt.Sprintf("scale=w='min(iw,%d)':h=-2:flags=area,setsar=1,format=yuvj420p", width),
		"-c:v", "mjpeg", "-q:v", "5", "-threads", "1", "-map_metadata", "-1", "-f", "image2pipe", "pipe:1")
}
