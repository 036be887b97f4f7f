package abr

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"sync"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/formats/mpegts"

	"banyan/relay"
	"banyan/relay/frame"
	"banyan/relay/log"
	"banyan/relay/media"
)

// A show is a stream at real rates: pictures with noise, encoded for a rate, with keyframes two seconds apart that
// all formats have at the same instants, and sound.
const (
	showFPS   = 30
	showTicks = media.VideoClockRate / showFPS
	showGroup = 2 * showFPS
)

// picture is an access unit of H.264.
type picture [][]byte

// silence is 20 ms of it in Opus.
var silence = []byte{0xf8, 0xff, 0xfe}

// Best is the width of the source's pictures, and Lowest that of the lowest format, in pixels.
const Best, Lowest = 640, 320

// showFormats are the source, and what is made of it when somebody asks, by rate in bit/s.
var showFormats = []struct {
	format media.Format
	size   string
	rate   int
}{
	{media.Source, "640x360", 2_400_000},
	{"mid", "480x270", 1_100_000},
	{"low", "320x180", 300_000},
}

var showPictures = sync.OnceValues(func() (map[media.Format][]picture, error) {
	made := map[media.Format][]picture{}
	for _, f := range showFormats {
		rate := fmt.Sprint(f.rate)
		out, err := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=rate=30:duration=4:size="+f.size+",noise=alls=40:allf=t",
			"-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-profile:v", "baseline", "-pix_fmt", "yuv420p",
			"-b:v", rate, "-maxrate", rate, "-bufsize", rate, "-g", "60", "-keyint_min", "60", "-sc_threshold", "0", "-f", "mpegts", "-").Output()
		if err != nil {
			return nil, err
		}
		r := &mpegts.Reader{R: bytes.NewReader(out)}
		if err := r.Initialize(); err != nil {
			return nil, err
		}
		r.OnDataH264(r.Tracks()[0], func(_, _ int64, au [][]byte) error {
			p := make(picture, len(au))
			for i, unit := range au {
				p[i] = bytes.Clone(unit)
			}
			made[f.format] = append(made[f.format], p)
			return nil
		})
		for r.Read() == nil {
		}
		if n := len(made[f.format]); n != 2*showGroup {
			return nil, fmt.Errorf("FFmpeg made %d pictures", n)
		}
	}
	return made, nil
})

// Publish publishes a show under a name of the hub's, and supplies its formats, until it is stopped. It returns when there is
// something to see.
func Publish(ctx context.Context, hub *relay.Hub, name media.Name) (stop func(), err error) {
	pictures, err := showPictures()
	if err != nil {
		return nil, fmt.Errorf("encode test pictures with FFmpeg: %w", err)
	}
	hub.AddSupplier(&studio{pictures})
	publication, err := hub.Publish(name, "show")
	if err != nil {
		return nil, err
	}
	picture, err := writer(publication, media.Video, media.Params{Codec: media.H264, ClockRate: media.VideoClockRate})
	if err != nil {
		publication.Close()
		return nil, err
	}
	sound, err := writer(publication, media.Audio, media.Params{Codec: media.Opus, ClockRate: 48000, Channels: 2, SampleRate: 48000})
	if err != nil {
		publication.Close()
		return nil, err
	}
	life, cancel := context.WithCancel(context.Background())
	var writers sync.WaitGroup
	writers.Go(func() { roll(life, picture, pictures[media.Source]) })
	writers.Go(func() { hum(life, sound) })
	stop = func() { cancel(); writers.Wait(); publication.Close() }
	if err := begun(ctx, hub, name); err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

func writer(p *relay.Publication, kind media.Kind, params media.Params) (*frame.Writer, error) {
	track, err := p.Source(kind)
	if err != nil {
		return nil, err
	}
	w, err := frame.NewWriter(track, params)
	if err != nil {
		return nil, err
	}
	w.OnParams = func(media.Params) { p.Announce() }
	return w, nil
}

// begun waits for a second of video.
func begun(ctx context.Context, hub *relay.Hub, name media.Name) error {
	stream, err := hub.Stream(name)
	if err != nil {
		return err
	}
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		for _, t := range stream.Tracks() {
			if t.ID.Kind == media.Video && t.Params != nil && t.Log != nil && t.Log.Stats().WindowSpan > time.Second {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// roll writes pictures in real time, from the last keyframe on, which with what follows it comes at once.
func roll(ctx context.Context, w *frame.Writer, list []picture) {
	ticker := time.NewTicker(time.Second / showFPS / 2)
	defer ticker.Stop()
	now := func() int64 { return media.TicksOf(media.TimeOf(time.Now()), media.VideoClockRate) / showTicks }
	for n := now() / showGroup * showGroup; ; {
		for ; n <= now(); n++ {
			if w.Write(frame.Frame{Ticks: n * showTicks, Arrived: media.TimeOf(time.Now()), Units: list[n%int64(len(list))]}) != nil {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// hum writes sound in real time.
func hum(ctx context.Context, w *frame.Writer) {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	packet := append(bytes.Clone(silence), make([]byte, 117)...)
	now := func() int64 { return media.TicksOf(media.TimeOf(time.Now()), 48000) / 960 }
	for n := now(); ; {
		for ; n <= now(); n++ {
			if w.Write(frame.Frame{Ticks: n * 960, Arrived: media.TimeOf(time.Now()), Units: [][]byte{packet}}) != nil {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// studio makes the lower formats.
type studio struct{ pictures map[media.Format][]picture }

func (*studio) Offers(*relay.Stream) (offers []relay.Offer) {
	for i, f := range showFormats[1:] {
		offers = append(offers, relay.Offer{Format: f.format, Kind: media.Video, Params: media.Params{
			Codec: media.H264, ClockRate: media.VideoClockRate, Height: 270 - 90*i, Bitrate: f.rate,
		}})
	}
	return offers
}

func (s *studio) Supply(ctx context.Context, _ *relay.Stream, offer relay.Offer, w *log.Writer) error {
	writer, err := frame.NewWriter(w, offer.Params)
	if err != nil {
		return err
	}
	roll(ctx, writer, s.pictures[offer.Format])
	return nil
}
