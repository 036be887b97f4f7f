package transcoder

import (
	"banyan/relay/media"
)

// encoder is one of FFmpeg's, with the options that make it behave alike: no reordering, no
// look-ahead, keyframes only where they are forced, parameter sets in front of each.
type encoder struct {
	name     string
	device   []string // global options that open the hardware
	upload   bool     // frames go to the hardware through a filter
	nv12     bool     // takes NV12 from memory
	options  []string
	hardware bool
}

// pixels ends the filter graph with what the encoder takes.
func (e encoder) pixels() string {
	switch {
	case e.upload:
		return "nv12,hwupload"
	case e.nv12:
		return "nv12"
	}
	return "yuv420p"
}

// DefaultPreset is libx264's and libx265's preset where none is configured.
const DefaultPreset = "veryfast"

// presets lists what Config.Preset may be.
var presets = []string{"ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"}

// h264Encoders lists the encoders of H.264 in the order in which they are tried.
func h264Encoders(preset string) []encoder {
	return []encoder{
		{name: "h264_nvenc", hardware: true, options: []string{
			"-preset", "p3", "-tune", "ull", "-rc", "cbr", "-zerolatency", "1", "-delay", "0",
			"-forced-idr", "1", "-no-scenecut", "1", "-strict_gop", "1", "-profile:v", "baseline"}},
		{name: "h264_qsv", hardware: true, nv12: true,
			device: []string{"-init_hw_device", "qsv=hw", "-filter_hw_device", "hw"},
			options: []string{
				"-preset", "veryfast", "-forced_idr", "1", "-async_depth", "1", "-look_ahead", "0",
				"-profile:v", "baseline"}},
		{name: "h264_vaapi", hardware: true, upload: true,
			device: []string{"-vaapi_device", "/dev/dri/renderD128"},
			options: []string{
				"-profile:v", "constrained_baseline", "-rc_mode", "CBR", "-async_depth", "1", "-idr_interval", "0"}},
		x264(preset),
	}
}

// x264 is the encoder that works everywhere. Baseline is what every WebRTC peer takes.
func x264(preset string) encoder {
	return encoder{name: "libx264", options: []string{
		"-preset", preset, "-tune", "zerolatency", "-profile:v", "baseline",
		"-sc_threshold", "0", "-keyint_min", "1", "-forced-idr", "1",
		"-x264-params", "repeat-headers=1"}}
}

// softwareEncoder is the encoder of every codec but H.264.
func softwareEncoder(c media.Codec, preset string) encoder {
	switch c {
	case media.H265:
		return encoder{name: "libx265", options: []string{
			"-preset", preset, "-tune", "zerolatency", "-forced-idr", "1",
			"-x265-params", "repeat-headers=1:scenecut=0:bframes=0:open-gop=0:log-level=error:pools=" + threads}}
	case media.VP8:
		return encoder{name: "libvpx", options: []string{
			"-deadline", "realtime", "-cpu-used", "8", "-lag-in-frames", "0", "-auto-alt-ref", "0",
			"-error-resilient", "1", "-keyint_min", "0"}}
	case media.VP9:
		return encoder{name: "libvpx-vp9", options: []string{
			"-deadline", "realtime", "-cpu-used", "8", "-lag-in-frames", "0", "-row-mt", "1", "-keyint_min", "0"}}
	case media.AV1:
		// SVT-AV1 is faster, but does not place keyframes where it is told to.
		return encoder{name: "libaom-av1", options: []string{
			"-usage", "realtime", "-cpu-used", "8", "-lag-in-frames", "0", "-row-mt", "1", "-keyint_min", "0"}}
	case media.Opus:
		return encoder{name: "libopus", options: []string{
			"-application", "audio", "-frame_duration", "20", "-vbr", "on"}}
	case media.AAC:
		return encoder{name: "aac", options: []string{"-profile:a", "aac_low"}}
	}
	return encoder{}
}
