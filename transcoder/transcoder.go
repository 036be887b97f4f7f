package transcoder

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"banyan/relay"
	"banyan/relay/log"
	"banyan/relay/media"
)

// Transcoder supplies formats. It implements relay.Supplier.
type Transcoder struct {
	config   Config
	ladders  []ladder
	encoders map[media.Codec]encoder // found to work; does not change
	slots    slots
	metrics  metrics

	mu   sync.Mutex
	jobs map[*job]struct{} // that Supply is busy with

	thumbs     singleflight.Group
	thumbSlots chan struct{} // holds one token for each thumbnail being made
	thumbCache thumbCache
}

// New checks the configuration and finds out what FFmpeg can do here, which takes a second or so.
// Errors say what to change or install.
func New(config Config) (*Transcoder, error) { return build(config, probe) }

// build makes a transcoder with the encoders that probe finds.
func build(config Config, probe func(Config, []media.Codec) (map[media.Codec]encoder, error)) (*Transcoder, error) {
	config = config.withDefaults()
	ladders, err := config.check()
	if err != nil {
		return nil, err
	}
	path, err := exec.LookPath(config.FFmpeg)
	if err != nil {
		return nil, fmt.Errorf("transcoder: FFmpeg is not there: install it (apt install ffmpeg) or set its path: %w", err)
	}
	if config.FFmpeg, err = filepath.Abs(path); err != nil {
		return nil, fmt.Errorf("transcoder: path of FFmpeg: %w", err)
	}
	t := &Transcoder{
		config: config, ladders: ladders,
		slots:      slots{most: config.MaxProcesses, capacity: config.Capacity},
		jobs:       map[*job]struct{}{},
		thumbSlots: make(chan struct{}, maxThumbnails),
	}
	if t.encoders, err = probe(config, wantedCodecs(ladders)); err != nil {
		return nil, fmt.Errorf("transcoder: %w", err)
	}
	t.metrics = newMetrics()
	if config.Metrics != nil {
		if err := config.Metrics.Register(collector{t}); err != nil {
			return nil, fmt.Errorf("transcoder: register metrics: %w", err)
		}
	}
	if os.Geteuid() == 0 {
		config.Logger.Warn("FFmpeg will run as root, as this server does: run the server as a user of its own")
	}
	return t, nil
}

// wantedCodecs lists the codecs of all ladders, and H.264 in any case.
func wantedCodecs(ladders []ladder) []media.Codec {
	wanted := []media.Codec{media.H264}
	for _, l := range ladders {
		for _, t := range l.targets {
			if t.Kind != 0 && !slices.Contains(wanted, t.Codec) {
				wanted = append(wanted, t.Codec)
			}
		}
	}
	return wanted
}

// Encoder is the name of FFmpeg's encoder that makes a codec here; empty where there is none.
func (t *Transcoder) Encoder(c media.Codec) string { return t.encoders[c].name }

// Offers lists the formats that could be made of a stream's source as it is now.
func (t *Transcoder) Offers(s *relay.Stream) []relay.Offer {
	l := ladderOf(t.ladders, s.Name())
	waits := t.waiting(s.Name(), time.Now())
	var offers []relay.Offer
	for _, track := range s.Published() {
		if track.ID.Format != media.Source || track.Params == nil {
			continue
		}
		for _, rung := range Ladder(l.targets, sourceOf(*track.Params, track.Log)) {
			if _, ok := t.encoders[rung.Target.Codec]; !ok || !t.config.Here(s.Name(), rung.Target.Format) {
				continue
			}
			offers = append(offers, relay.Offer{
				Format: rung.Target.Format, Kind: rung.Target.Kind, Params: rung.Params,
				Always: l.always, Linger: t.config.Linger, Waits: waits[rung.Target.Format],
			})
		}
	}
	return offers
}

// waitsLong is how long a format queues for a slot before others are told that it does, who may have room. It is longer
// than what is displaced takes to end.
const waitsLong = 5 * time.Second

// waiting lists the formats of a stream that have been queued for long.
func (t *Transcoder) waiting(stream media.Name, now time.Time) map[media.Format]bool {
	var list map[media.Format]bool
	t.mu.Lock()
	defer t.mu.Unlock()
	for j := range t.jobs {
		if j.stream.Name() != stream || j.account.queued(now) < waitsLong {
			continue
		}
		if list == nil {
			list = map[media.Format]bool{}
		}
		list[j.target.Format] = true
	}
	return list
}

// sourceOf is what is known of a source: parameters and what its log measured.
func sourceOf(p media.Params, l *log.Log) Source {
	if l == nil { // published on another node, and not read here yet
		return Source{Params: p, Bitrate: float64(p.Bitrate), FrameRate: p.FPS}
	}
	stats := l.Stats()
	if p.Codec.Kind() == media.Audio {
		return Source{Params: p, Bitrate: soundRate(l, stats.Bitrate, p.Channels)}
	}
	source := Source{Params: p, Bitrate: stats.Bitrate, FrameRate: stats.FrameRate}
	if source.FrameRate == 0 && p.FPS == 0 {
		source.FrameRate = stats.WindowFrameRate // of what was there before: the best guess where it says nothing itself
	}
	return source
}

// Supply makes a format until ctx ends. It returns earlier only where it can never go on: the source
// or the track to write is gone for good, or another node, which has room, makes the format now.
func (t *Transcoder) Supply(ctx context.Context, s *relay.Stream, offer relay.Offer, w *log.Writer) error {
	target, err := ParseTarget(string(offer.Format))
	if err != nil {
		return err
	}
	if target.Kind != offer.Kind {
		return fmt.Errorf("format %q is not one of %v", offer.Format, offer.Kind)
	}
	j := newJob(t, s, target, w)
	t.mu.Lock()
	t.jobs[j] = struct{}{}
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		delete(t.jobs, j)
		t.mu.Unlock()
	}()
	return j.run(ctx)
}

// Workers lists what is being made, by track.
func (t *Transcoder) Workers() []Worker {
	t.mu.Lock()
	list := make([]Worker, 0, len(t.jobs))
	for j := range t.jobs {
		list = append(list, j.snapshot())
	}
	t.mu.Unlock()
	slices.SortFunc(list, func(a, b Worker) int { return strings.Compare(a.Track.String(), b.Track.String()) })
	return list
}
