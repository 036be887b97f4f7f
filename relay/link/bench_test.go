package link

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"syscall"
	"testing"
	"time"

	"banyan/relay/log"
	"banyan/relay/media"
)

// A picture of 2.5 Mbit/s at 30 Hz.
const (
	benchPackets = 9
	benchPayload = 1152
	benchPicture = benchPackets * benchPayload
)

// BenchmarkLink replicates a track of 2.5 Mbit/s from node to node, picture by picture: the next is written when the
// replica has the one before, so that each wakes both ends, as it does in life. Beside it, the same bytes go through a
// plain TLS connection in the same way. Both ends are in this process, so both are counted.
func BenchmarkLink(b *testing.B) {
	link, plain := linkLine(b), tlsLine(b)
	for range 200 { // handshakes and slow start
		link()
		plain()
	}
	b.ResetTimer()
	measure := func(line func()) float64 {
		before := cpu()
		for range b.N {
			line()
		}
		return (cpu() - before).Seconds() / (float64(b.N) * benchPicture * 8 / 1e9)
	}
	l, p := measure(link), measure(plain)
	b.ReportMetric(l, "link-cpu-s/Gbit")
	b.ReportMetric(p, "tls-cpu-s/Gbit")
	b.ReportMetric(l/p, "ratio")
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// linkLine makes two nodes, and returns what takes one picture across.
func linkLine(b *testing.B) func() {
	original, copied := newReplica(videoID, birth, "ingest"), newReplica(videoID, 0)
	ctx, cancel := context.WithCancel(context.Background())
	run := func(name string, source Source) *Node {
		identity, err := NewIdentity(key, name, time.Now())
		if err != nil {
			b.Fatal(err)
		}
		n, err := New(Config{Node: name, Identity: identity, Source: source, Addr: "127.0.0.1:0", Limits: patient,
			Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- n.Run(ctx) }()
		b.Cleanup(func() { cancel(); <-done })
		return n
	}
	parent, child := run("ingest", shelve(original)), run("relay", nil)
	p := child.Peer("ingest", parent.Addr())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = p.Follow(ctx, videoID, birth, nil, copied) }()
	b.Cleanup(func() { cancel(); <-ended; p.Close() })

	if err := original.Begin(media.Params{Codec: media.H264, ClockRate: 90000}); err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, benchPayload)
	next, picture := int64(birth), 0
	cursor := copied.Log().Cursor(log.Live())
	return func() {
		for i := range benchPackets {
			packet := media.Packet{Offset: next, Ticks: int64(picture) * 3000, Payload: payload, Arrived: media.TimeOf(time.Now())}
			if i == 0 && picture%60 == 0 {
				packet.Flags = media.Keyframe
			}
			if err := original.Write(packet); err != nil {
				b.Fatal(err)
			}
			next++
		}
		picture++
		for copied.Log().Head() < next {
			if _, _, err := cursor.Read(ctx); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// tlsLine is the plain copy.
func tlsLine(b *testing.B) func() {
	identity, err := NewIdentity(key, "tls", time.Now())
	if err != nil {
		b.Fatal(err)
	}
	config := identity.config(func(error) {})
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		b.Fatal(err)
	}
	came := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		for buffer := make([]byte, benchPicture); ; {
			if _, err := io.ReadFull(conn, buffer); err != nil {
				return
			}
			came <- struct{}{}
		}
	}()
	var conn net.Conn
	if conn, err = tls.Dial("tcp", listener.Addr().String(), config); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close(); listener.Close(); <-ended })
	picture := make([]byte, benchPicture)
	return func() {
		if _, err := conn.Write(picture); err != nil {
			b.Fatal(err)
		}
		<-came
	}
}
