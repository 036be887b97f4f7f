package engine

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/srtp/v3"

	"banyan/relay/media"
	"banyan/relay/rtc"
	"banyan/relay/rtc/engine/seal"
	"banyan/relay/rtc/sdp"
)

// BenchmarkFanOut is a turn of the shard: a frame of ten packets, and a packet of sound, for each of 200 viewers that
// read nothing. An operation is one packet to one viewer.
func BenchmarkFanOut(b *testing.B) {
	for _, p := range []srtp.ProtectionProfile{srtp.ProtectionProfileAeadAes128Gcm, srtp.ProtectionProfileAes128CmHmacSha1_80} {
		b.Run(p.String(), func(b *testing.B) { benchmarkFanOut(b, p) })
	}
}

func benchmarkFanOut(b *testing.B, profile srtp.ProtectionProfile) {
	const viewers, packets, size = 200, 10, 1152
	w := newWorld(b, Config{Shards: 1})
	s := newShard(w.engine)
	for range viewers {
		v := mute(b, w, s, profile)
		s.attach(v, w.reader(v))
		defer s.detach(v)
	}
	b.ReportAllocs()
	b.SetBytes(size)
	per := viewers * (packets + 1)
	for n := 0; b.Loop(); n++ {
		if n%per == 0 {
			b.StopTimer()
			w.video.frame(n == 0, packets, size)
			w.audio.frame(true, 1, 120)
			for _, v := range s.viewers {
				s.mark(v, All)
			}
			b.StartTimer()
			s.turn(time.Now())
			s.batch.Flush()
		}
	}
}

// mute is a viewer on the shard s that was never negotiated with, whose packets go to a socket that nobody reads.
func mute(b *testing.B, w *world, s *shard, profile srtp.ProtectionProfile) *Viewer {
	b.Helper()
	sink, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { sink.Close() })
	_ = sink.SetReadBuffer(4096) // full at once
	v := &Viewer{engine: w.engine, shard: s, config: rtc.ViewerConfig{}}
	for _, c := range []sdp.Codec{
		{Codec: media.H264, PayloadType: 96, ClockRate: 90000, FMTP: "packetization-mode=1;profile-level-id=42e01f"},
		{Codec: media.Opus, PayloadType: 111, ClockRate: 48000, Channels: 2},
	} {
		v.tracks = append(v.tracks, newTrack(v, &sdp.Media{Kind: c.Codec.Kind()}, []sdp.Codec{c}))
	}
	route, err := w.engine.socket.Route(sink.LocalAddr().(*net.UDPAddr).AddrPort())
	if err != nil {
		b.Fatal(err)
	}
	v.path.Store(&path{route: route})
	key := make([]byte, 32)
	if n, _ := profile.KeyLen(); n > 0 {
		key = key[:n]
	}
	salt, _ := profile.SaltLen()
	if v.media, err = seal.New(profile, seal.Keys{
		LocalMasterKey: key, LocalMasterSalt: make([]byte, salt), RemoteMasterKey: key, RemoteMasterSalt: make([]byte, salt),
	}); err != nil {
		b.Fatal(err)
	}
	return v
}
