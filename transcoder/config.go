package transcoder

import (
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"banyan/relay/auth"
	"banyan/relay/media"
)

// Config says how formats are made. Zero means default.
type Config struct {
	// FFmpeg is the program, looked up in PATH where it has no slash. If empty, "ffmpeg".
	FFmpeg string
	// Encoder makes H.264: "auto" takes the first that works of h264_nvenc, h264_qsv, h264_vaapi and
	// libx264; or one of these. If empty, "auto".
	Encoder string
	// Preset is how hard libx264 and libx265 try, "ultrafast" to "slow". If empty, DefaultPreset.
	Preset string
	// Segment is the distance of keyframes in media time: whole seconds, 1 to 10. If zero, 2 s.
	Segment time.Duration
	// Ladders say which formats to make of which stream: the first whose pattern matches. A stream
	// that none matches gets DefaultLadder on demand.
	Ladders []Rule
	// Linger is how long a format is made after its last reader has left. If zero, 10 s.
	Linger time.Duration
	// MaxProcesses bounds the FFmpeg processes that run at once, thumbnails apart. Where more are
	// wanted, the dearest formats wait. If zero, 8 for each processor.
	MaxProcesses int
	// Capacity is how many processors formats may take together, by estimate. Where that is too little for all that are
	// read, those whose viewers lose least are not made (tree.Keep). If zero, all that the machine has.
	Capacity float64
	// Memory bounds the address space of a process with a software encoder, in bytes. If zero, 4 GiB.
	Memory uint64
	// Here tells whether a format of a stream is to be made on this node. One that is already being made goes on
	// as long as somebody reads it here; one that waits for room does not. If nil, all are.
	Here func(media.Name, media.Format) bool
	// Patience is how long a process that is fed may do nothing before it is taken for hung; it has
	// Grace for its first output. One that uses the processor meanwhile, or waits for it, has four times as long, and
	// Grace at least: it is slow. If zero, 800 ms and 5 s.
	Patience, Grace time.Duration

	// Metrics gets the package's collectors. If nil, there are none.
	Metrics prometheus.Registerer
	// Logger gets a line when a process is restarted or a format's circuit opens. If nil, slog.Default().
	Logger *slog.Logger
}

// Rule is a ladder for the streams that a pattern matches.
type Rule struct {
	Match   string   // a pattern over stream names, see auth.Glob
	Formats []string // see Target
	Always  bool     // make them while the stream is live, read or not
}

// DefaultLadder is what a stream gets that no rule matches.
var DefaultLadder = []string{"source", "720p", "360p", "opus", "aac"}

// Bounds and defaults of Config.
const (
	defaultSegment  = 2 * time.Second
	maxSegment      = 10 * time.Second
	defaultLinger   = 10 * time.Second
	defaultMemory   = 4 << 30
	defaultPatience = 800 * time.Millisecond
	defaultGrace    = 5 * time.Second
	perProcessor    = 8
	maxFormats      = 32 // of a ladder
)

func (c Config) withDefaults() Config {
	if c.FFmpeg == "" {
		c.FFmpeg = "ffmpeg"
	}
	if c.Encoder == "" {
		c.Encoder = autoEncoder
	}
	if c.Preset == "" {
		c.Preset = DefaultPreset
	}
	if c.Segment == 0 {
		c.Segment = defaultSegment
	}
	if c.Here == nil {
		c.Here = func(media.Name, media.Format) bool { return true }
	}
	if c.Linger <= 0 {
		c.Linger = defaultLinger
	}
	if c.MaxProcesses == 0 {
		c.MaxProcesses = perProcessor * runtime.NumCPU()
	}
	if c.Capacity == 0 {
		c.Capacity = float64(runtime.NumCPU())
	}
	if c.Memory == 0 {
		c.Memory = defaultMemory
	}
	if c.Patience <= 0 {
		c.Patience = defaultPatience
	}
	if c.Grace <= 0 {
		c.Grace = defaultGrace
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// ladder is a Rule that was checked.
type ladder struct {
	match   auth.Glob
	targets []Target
	always  bool
}

// check names the key that is wrong, and returns the ladders, the default one last.
func (c Config) check() ([]ladder, error) {
	switch {
	case c.Segment < time.Second || c.Segment > maxSegment || c.Segment%time.Second != 0:
		return nil, fmt.Errorf("transcoder: segment is %v: use whole seconds, 1 to %v", c.Segment, maxSegment)
	case !slices.Contains(presets, c.Preset):
		return nil, fmt.Errorf("transcoder: preset is %q: use one of %v", c.Preset, presets)
	case c.Encoder != autoEncoder && !knownEncoder(c.Encoder):
		return nil, fmt.Errorf("transcoder: encoder is %q: use auto, libx264, h264_nvenc, h264_qsv or h264_vaapi", c.Encoder)
	case c.Capacity < 0:
		return nil, fmt.Errorf("transcoder: capacity is %v processors: use more than none", c.Capacity)
	case c.MaxProcesses < 1:
		return nil, fmt.Errorf("transcoder: max processes is %d: use 1 or more", c.MaxProcesses)
	}
	ladders := make([]ladder, 0, len(c.Ladders)+1)
	for i, rule := range append(slices.Clone(c.Ladders), Rule{Match: "**", Formats: DefaultLadder}) {
		l, err := rule.check()
		if err != nil {
			return nil, fmt.Errorf("transcoder: ladder %d: %w", i+1, err)
		}
		ladders = append(ladders, l)
	}
	return ladders, nil
}

func (r Rule) check() (ladder, error) {
	match, err := auth.ParseGlob(r.Match)
	if err != nil {
		return ladder{}, err
	}
	if len(r.Formats) > maxFormats {
		return ladder{}, fmt.Errorf("%d formats: use at most %d", len(r.Formats), maxFormats)
	}
	targets, err := parseTargets(r.Formats)
	return ladder{match: match, targets: targets, always: r.Always}, err
}

// ladderOf is the first ladder that matches a stream.
func ladderOf(ladders []ladder, name media.Name) ladder {
	for _, l := range ladders {
		if l.match.Match(name) {
			return l
		}
	}
	return ladder{}
}
