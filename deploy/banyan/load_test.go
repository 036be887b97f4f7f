package main

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"banyan/relay"
	"banyan/relay/log"
	"banyan/relay/media"
	"banyan/relay/tree"
	"banyan/transcoder"
)

func TestLineSpeed(t *testing.T) {
	dir := t.TempDir()
	if got := lineSpeed(dir); got != 0 {
		t.Errorf("without a card: %v bit/s, want none", got)
	}
	for card, speed := range map[string]string{"lo": "-1\n", "eth0": "1000\n", "eth1": "25000\n", "odd": "fast\n"} {
		if err := os.Mkdir(filepath.Join(dir, card), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, card, "speed"), []byte(speed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := lineSpeed(dir); got != 25e9 {
		t.Errorf("%v bit/s, want those of the fastest card", got)
	}
}

func TestParseStat(t *testing.T) {
	got, err := parseStat([]byte("42 (ff) mpeg) S 1 42 42 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 99"))
	if err != nil || got != 3*time.Second {
		t.Errorf("%v, %v; want 3s", got, err)
	}
	for _, bad := range []string{"", "42 (ffmpeg) S 1", "42 (ffmpeg) S 1 42 42 0 -1 4194560 1 0 0 0 x 50 0"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// TestEgress lets a track of 1 Mbit/s be read, and counts what leaves the node.
func TestEgress(t *testing.T) {
	l := log.New(media.TrackID{Stream: "cup/cam1", Format: "720p", Kind: media.Video}, 1, log.Config{})
	w := l.Writer()
	if err := w.Begin(media.Params{Codec: media.H264, ClockRate: 90000}); err != nil {
		t.Fatal(err)
	}
	for i := range int64(201) { // two seconds, a hundred packets of 1250 bytes in each
		err := w.Write(media.Packet{Offset: 1 + i, Ticks: i * 900, Flags: media.Keyframe | media.FrameEnd, Payload: make([]byte, 1250)})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		readers, hls int
		want         float64
	}{{0, 0, 0}, {1, 0, 1e6}, {5, 0, 5e6}, {1, 10, 11e6}} {
		track := relay.Track{ID: l.ID(), Log: l, Readers: c.readers}
		if got := egress([]relay.Track{track, {ID: l.ID()}}, c.hls); math.Abs(got-c.want) > 0.02*c.want {
			t.Errorf("%d readers and %d by HLS: %.0f bit/s, want %.0f", c.readers, c.hls, got, c.want)
		}
	}
}

func TestLoadsAreApart(t *testing.T) {
	m := newMeter(0, t.TempDir(), 4, 0)
	m.cores = 1e6 // so that this process is nothing beside them
	jobs := []transcoder.Worker{{PID: os.Getpid()}, {PID: -1}, {PID: os.Getpid()}}
	if got := m.loads(nil, jobs, time.Now()); got != (loads{0, 0.75}) {
		t.Errorf("three encoders of four: %+v, want 0.75 of the encoders and nothing of the line", got)
	}
	if got := m.loads(nil, make([]transcoder.Worker, 9), time.Now()); got != (loads{0, 1}) {
		t.Errorf("more than there may be: %+v, want 1", got)
	}
}

// What is not known turns nobody away.
func TestAGuessedLineIsNeverFull(t *testing.T) {
	if m := newMeter(0, t.TempDir(), 0, 0); !m.guessed || m.line != usualLine || guessed >= tree.Full {
		t.Errorf("without a card that tells: %+v", m)
	}
	if m := newMeter(5e6, t.TempDir(), 0, 0); m.guessed || m.line != 5e6 {
		t.Errorf("as configured: %+v", m)
	}
}
