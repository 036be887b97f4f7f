//go:build linux

package server

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"time"

	"banyan/deploy/bench/fanout"
	"banyan/relay"
	"banyan/relay/log"
	"banyan/relay/media"
)

// play publishes what an encoder and a publisher would make: 30 frames a second, every 60th a keyframe of eight times
// the size, in packets of at most 1152 bytes; and 50 packets of sound, unless it is mute.
func play(ctx context.Context, hub *relay.Hub, rate float64, mute bool) (stopped <-chan struct{}, err error) {
	p, err := hub.Publish("bench", "bench")
	if err != nil {
		return nil, err
	}
	video, err := p.Source(media.Video)
	if err != nil {
		return nil, err
	}
	audio, err := p.Source(media.Audio)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		video.Begin(media.Params{Codec: media.H264, ClockRate: 90000, Width: 1280, Height: 720, Sets: [][]byte{{0x67, 66, 0xe0, 31}, {0x68, 1}}}),
		audio.Begin(media.Params{Codec: media.Opus, ClockRate: 48000, Channels: 2, SampleRate: 48000}))
	if err != nil {
		return nil, err
	}
	p.Announce()
	done := make(chan struct{})
	go func() {
		defer close(done)
		pictures, sounds := time.NewTicker(time.Second/30), time.NewTicker(20*time.Millisecond)
		defer pictures.Stop()
		defer sounds.Stop()
		if mute {
			sounds.Stop()
		}
		random := rand.New(rand.NewPCG(1, 2))
		const soundTicks = 48000 / 50
		heard := media.TicksOf(media.TimeOf(time.Now()), 48000)
		for n := 0; ; {
			select {
			case <-ctx.Done():
				return
			case <-sounds.C:
				write(audio, heard, 160, media.Keyframe) // which counts its samples, whatever the clock does
				heard += soundTicks
			case now := <-pictures.C:
				size, flags := rate/8/30*60/67*math.Exp(random.NormFloat64()*0.3-0.045), media.Flags(0)
				if n%60 == 0 {
					size, flags = rate/8/30*60/67*8, media.Keyframe
				}
				write(video, media.TicksOf(media.TimeOf(now), 90000), int(size), flags)
				n++
			}
		}
	}()
	return done, nil
}

const largest = 1152 // bytes of payload: AES-GCM works in blocks of 128

// write appends a frame of the given size. Each packet tells when it was written.
func write(w *log.Writer, ticks int64, size int, flags media.Flags) {
	for left := max(size, 32); left > 0; left -= largest {
		payload := make([]byte, max(32, min(left, largest)))
		payload[0] = 0x61 // of a slice of H.264
		copy(payload[8:], fanout.Stamp)
		written := time.Now()
		binary.BigEndian.PutUint64(payload[8+len(fanout.Stamp):], uint64(written.UnixNano()))
		p := media.Packet{Offset: w.Next(), Ticks: ticks, Arrived: media.TimeOf(written), Flags: flags, Payload: payload}
		if left <= largest {
			p.Flags |= media.FrameEnd
		}
		flags = 0
		_ = w.Write(p) // this is the only writer
	}
}
