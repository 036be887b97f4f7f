package api

import (
	"math"
	"time"

	"banyan/relay"
	"banyan/relay/media"
)

// Stream is a stream as the interface shows it.
type Stream struct {
	Name      media.Name     `json:"name"`
	Live      bool           `json:"live"`
	Since     *time.Time     `json:"since,omitempty"` // when its publisher came
	Via       string         `json:"via,omitempty"`   // by which door: whip, rtsp, pull
	Viewers   int            `json:"viewers"`
	Watching  map[string]int `json:"watching"` // viewers by transport
	Thumbnail string         `json:"thumbnail"`
	Formats   []Format       `json:"formats"`
}

// Format is one track of a stream. What is not known (yet) is left out.
type Format struct {
	Name       media.Format `json:"name"`
	Kind       media.Kind   `json:"kind"`
	Codec      media.Codec  `json:"codec,omitempty"`
	Width      int          `json:"width,omitempty"`
	Height     int          `json:"height,omitempty"`
	FPS        float64      `json:"fps,omitempty"`
	Bitrate    int          `json:"bitrate,omitempty"` // bits per second: measured while it runs, else nominal
	Channels   int          `json:"channels,omitempty"`
	SampleRate int          `json:"sample_rate,omitempty"`
	Running    bool         `json:"running"`
	Readers    int          `json:"readers"`
	WebRTC     bool         `json:"webrtc"`
	NoWebRTC   string       `json:"no_webrtc,omitempty"` // why not, where the track is at fault
	HLS        bool         `json:"hls"`
	NoHLS      string       `json:"no_hls,omitempty"` // the same
}

// Worker is one format that the transcoder makes, with its FFmpeg process.
type Worker struct {
	Stream    media.Name   `json:"stream"`
	Format    media.Format `json:"format"`
	Kind      media.Kind   `json:"kind"`
	State     string       `json:"state"`
	PID       int          `json:"pid,omitempty"` // absent while no process runs
	Since     time.Time    `json:"since"`         // of the state
	Encoder   string       `json:"encoder"`
	FramesIn  uint64       `json:"frames_in"`
	FramesOut uint64       `json:"frames_out"`
	Dropped   uint64       `json:"dropped"`
	Restarts  uint64       `json:"restarts"`
	LagMS     int64        `json:"lag_ms"` // from the source's newest frame back to the newest made
	Trouble   string       `json:"trouble,omitempty"`
}

func (a *api) describe(s *relay.Stream) Stream {
	out := Stream{
		Name: s.Name(), Watching: s.Viewers(),
		Thumbnail: "/thumbnails/" + string(s.Name()), Formats: []Format{},
	}
	if origin, since, ok := s.Publisher(); ok {
		out.Live, out.Since, out.Via = true, &since, door(origin)
	}
	for _, n := range out.Watching {
		out.Viewers += n
	}
	sent := sentKinds(s)
	for _, t := range s.Tracks() {
		if out.Live && t.Readers == 0 && len(sent) > 0 && !(t.Live && sent[t.ID.Kind]) {
			continue // what an earlier publisher sent, and what could be made of that
		}
		out.Formats = append(out.Formats, a.format(t))
	}
	return out
}

// sentKinds are the kinds of tracks that the publisher who is there now sends.
func sentKinds(s *relay.Stream) map[media.Kind]bool {
	kinds := map[media.Kind]bool{}
	for _, t := range s.Published() {
		if t.Live {
			kinds[t.ID.Kind] = true
		}
	}
	return kinds
}

// door is the first word of an origin: where a publisher stands is not everybody's business.
func door(origin string) string {
	for i := range len(origin) {
		if origin[i] == ' ' {
			return origin[:i]
		}
	}
	return origin
}

func (a *api) format(t relay.Track) Format {
	f := Format{Name: t.ID.Format, Kind: t.ID.Kind, Readers: t.Readers, Running: t.Log != nil && t.Live}
	if t.Params == nil {
		const silent = "the publisher has sent nothing of it yet"
		f.NoWebRTC, f.NoHLS = silent, silent
		return f
	}
	p := t.Params
	f.Codec, f.Width, f.Height, f.Channels, f.SampleRate = p.Codec, p.Width, p.Height, p.Channels, p.SampleRate
	f.FPS, f.Bitrate = p.FPS, p.Bitrate
	if a.WithoutWebRTC != nil {
		f.NoWebRTC = a.WithoutWebRTC(t)
		f.WebRTC = f.NoWebRTC == ""
	}
	if a.WithoutHLS != nil {
		f.NoHLS = a.WithoutHLS(t)
		f.HLS = f.NoHLS == ""
	}
	if t.Log == nil {
		return f
	}
	stats := t.Log.Stats()
	if stats.Bitrate > 0 {
		f.Bitrate = int(stats.Bitrate)
	}
	if stats.FrameRate > 0 && p.Codec.Kind() == media.Video {
		f.FPS = math.Round(stats.FrameRate*10) / 10
	}
	return f
}
