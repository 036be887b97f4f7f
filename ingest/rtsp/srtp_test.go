package rtsp

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"
	"github.com/bluenviron/gortsplib/v4/pkg/mikey"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"banyan/relay/log"
	"banyan/relay/media"
)

// secureNode has RTSPS besides RTSP; url and dial go by RTSPS.
func secureNode(t *testing.T) *node {
	n := newNode(t, func(c *Config) { c.TLSAddr, c.TLS = "127.0.0.1:0", selfSigned() })
	n.secure = true
	return n
}

// TestPushWithSRTP has gortsplib's client publish, which encrypts its media also inside TLS (R22).
func TestPushWithSRTP(t *testing.T) {
	t.Parallel()
	n := secureNode(t)
	c := n.record(t, gortsplib.TransportTCP, &format.H264{PayloadTyp: 96, SPS: sps, PPS: pps, PacketizationMode: 1})
	if !c.media.Secure {
		t.Error("the client does not use SRTP")
	}
	c.send(keySlices...)
	for range 150 { // the lead-in waits for 200 ms
		c.send(interSlices...)
	}
	for i, f := range frames(t, readFrom(n.track("cam", media.Video), log.KeyframeBefore(0)), 60) {
		if f.Lost || len(pictureUnits(f)) != 2 {
			t.Fatalf("frame %d is damaged: %+v", i, f)
		}
	}
	c.client.Close()
	eventually(t, "the session to be gone", func() bool { return n.server.Stats().Publishers == 0 })
	if s := n.server.Stats(); s.Undecodable != 0 {
		t.Errorf("%d packets could not be read", s.Undecodable)
	}
}

// srtpCamera is a camera that speaks SRTP, by gortsplib's server.
type srtpCamera struct{ stream *gortsplib.ServerStream }

func (c *srtpCamera) OnDescribe(*gortsplib.ServerHandlerOnDescribeCtx) (*base.Response, *gortsplib.ServerStream, error) {
	return ok(), c.stream, nil
}

func (c *srtpCamera) OnSetup(*gortsplib.ServerHandlerOnSetupCtx) (*base.Response, *gortsplib.ServerStream, error) {
	return ok(), c.stream, nil
}

func (c *srtpCamera) OnPlay(*gortsplib.ServerHandlerOnPlayCtx) (*base.Response, error) {
	return ok(), nil
}

// TestPullWithSRTP fetches from a camera that encrypts its media with keys by MIKEY (R22).
func TestPullWithSRTP(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"tcp", "udp"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			handler := &srtpCamera{}
			server := &gortsplib.Server{Handler: handler, TLSConfig: selfSigned(), RTSPAddress: "127.0.0.1:0"}
			listening := make(chan net.Addr, 1)
			server.Listen = func(network, address string) (net.Listener, error) {
				l, err := net.Listen(network, address)
				if err == nil {
					listening <- l.Addr()
				}
				return l, err
			}
			rtpConn, rtcpConn, err := listenPair("127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			server.UDPRTPAddress, server.UDPRTCPAddress = rtpConn.LocalAddr().String(), rtcpConn.LocalAddr().String()
			server.ListenPacket = func(_, address string) (net.PacketConn, error) {
				if address == server.UDPRTPAddress {
					return rtpConn, nil
				}
				return rtcpConn, nil
			}
			if err := server.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(server.Close)
			m := &description.Media{Type: description.MediaTypeVideo, Formats: []format.Format{&format.H264{PayloadTyp: 96, SPS: sps, PPS: pps, PacketizationMode: 1}}}
			handler.stream = &gortsplib.ServerStream{Server: server, Desc: &description.Session{Medias: []*description.Media{m}}}
			if err := handler.stream.Initialize(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(handler.stream.Close)
			run(t, func(ctx context.Context) error { return playPictures(ctx, handler.stream, m) })
			n := newNode(t, func(c *Config) {
				c.Pull = []Pull{{Stream: "copy", URL: "rtsps://" + (<-listening).String() + "/cam/", Transport: transport}}
			})
			for i, f := range frames(t, readFrom(n.track("copy", media.Video), log.KeyframeBefore(0)), 30) {
				if f.Lost || len(pictureUnits(f)) != 1 {
					t.Fatalf("frame %d is damaged: %+v", i, f)
				}
			}
		})
	}
}

// playPictures sends keyframes at 30 Hz.
func playPictures(ctx context.Context, stream *gortsplib.ServerStream, m *description.Media) error {
	pace := time.NewTicker(time.Second / 30)
	defer pace.Stop()
	for i := 0; ; i++ {
		err := stream.WritePacketRTP(m, &rtp.Packet{
			Header:  rtp.Header{Version: 2, PayloadType: 96, SequenceNumber: uint16(i), Timestamp: uint32(i) * 3000, Marker: true},
			Payload: keySlices[0],
		})
		if err != nil {
			return err
		}
		select {
		case <-pace.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// keyMgmt is a publisher's header with a key, changed by change.
func keyMgmt(t *testing.T, change func(*mikey.Message)) string {
	t.Helper()
	m := &mikey.Message{Header: mikey.Header{Version: 1}, Payloads: []mikey.Payload{
		&mikey.PayloadT{},
		&mikey.PayloadSP{PolicyParams: []mikey.PayloadSPPolicyParam{
			{Type: mikey.PayloadSPPolicyParamTypeEncrAlg, Value: []byte{1}}, {Type: mikey.PayloadSPPolicyParamTypeSessionAuthKeyLen, Value: []byte{20}},
		}},
		&mikey.PayloadKEMAC{SubPayloads: []*mikey.SubPayloadKeyData{{Type: mikey.SubPayloadKeyDataKeyTypeTEK, KeyData: make([]byte, 30)}}},
	}}
	if change != nil {
		change(m)
	}
	value, err := headers.KeyMgmt{URL: "rtsps://h/x", MikeyMessage: m}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return "KeyMgmt: " + value[0]
}

func TestSRTPIsAgreedOrRefused(t *testing.T) {
	t.Parallel()
	n := secureNode(t)
	const secure = "Transport: RTP/SAVP/TCP;unicast;interleaved=0-1;mode=record"
	policy := func(p mikey.PayloadSPPolicyParam) func(*mikey.Message) {
		return func(m *mikey.Message) {
			m.Payloads[1].(*mikey.PayloadSP).PolicyParams = []mikey.PayloadSPPolicyParam{p}
		}
	}
	for _, c := range []struct {
		name, want string
		headers    []string
	}{
		{"AES_CM_128_HMAC_SHA1_80", "200", []string{secure, keyMgmt(t, nil)}},
		{"no key", "466", []string{secure}},
		{"no message", "466", []string{secure, `KeyMgmt: prot=mikey;uri="rtsps://h/x"`}},
		{"nonsense", "466", []string{secure, `KeyMgmt: prot=mikey;uri="rtsps://h/x";data="AQAF"`}},
		{"key of another size", "466", []string{secure, keyMgmt(t, func(m *mikey.Message) {
			m.Payloads[2].(*mikey.PayloadKEMAC).SubPayloads[0].KeyData = make([]byte, 46)
		})}},
		{"message without a key", "466", []string{secure, keyMgmt(t, func(m *mikey.Message) { m.Payloads = m.Payloads[:2] })}},
		{"null cipher", "466", []string{secure, keyMgmt(t, policy(mikey.PayloadSPPolicyParam{Type: mikey.PayloadSPPolicyParamTypeEncrAlg, Value: []byte{0}}))}},
		{"no authentication", "466", []string{secure, keyMgmt(t, policy(mikey.PayloadSPPolicyParam{Type: mikey.PayloadSPPolicyParamTypeSRTPAuthOffOn, Value: []byte{0}}))}},
		{"UDP", "461", []string{"Transport: RTP/SAVP;unicast;client_port=5000-5001;mode=record", keyMgmt(t, nil)}},
	} {
		r := n.announced(t, "cam")
		got := r.request("SETUP", n.url("cam/streamid=0"), "", c.headers...)
		if status(got) != c.want || (c.want == "200") != (strings.Contains(got, "RTP/SAVP/TCP") && strings.Contains(got, "KeyMgmt: prot=mikey")) {
			t.Errorf("%s: %s; want %s", c.name, got, c.want)
		}
		r.conn.Close()
	}
	push(t, n.url("live"), "tcp", picture, x264())
	n.track("live", media.Video)
	if got := n.dial(t).request("SETUP", n.url("live/trackID=0"), "", strings.TrimSuffix(secure, ";mode=record"), keyMgmt(t, nil)); status(got) != "461" || !strings.Contains(got, "Choose RTP/AVP/TCP") {
		t.Errorf("to play: %s; want 461 and what to do", got)
	}
	n.secure = false
	if got := n.announced(t, "cam").request("SETUP", n.url("cam/streamid=0"), "", secure, keyMgmt(t, nil)); status(got) != "461" {
		t.Errorf("without TLS: %s; want 461, as the key could be read", got)
	}
}

// TestForgedFramesAreDropped mixes SRTP with what is not the publisher's (S6).
func TestForgedFramesAreDropped(t *testing.T) {
	t.Parallel()
	header := strings.TrimPrefix(keyMgmt(t, nil), "KeyMgmt: ")
	keys, err := newMediaKeys(base.HeaderValue{header}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	sender, err := srtp.CreateContext(make([]byte, 16), make([]byte, 14), cipher)
	if err != nil {
		t.Fatal(err)
	}
	frame := func(channel byte, packet []byte) []byte {
		return append(binary.BigEndian.AppendUint16([]byte{'$', channel}, uint16(len(packet))), packet...)
	}
	var in, want []byte
	for i := range 20 {
		packet, err := (&rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: uint16(i), SSRC: 7}, Payload: bytes.Repeat([]byte{byte(i)}, 1+i*60)}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		report, err := rtcp.Marshal([]rtcp.Packet{&rtcp.SenderReport{SSRC: 7, PacketCount: uint32(i)}})
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := sender.EncryptRTP(nil, packet, nil)
		if err != nil {
			t.Fatal(err)
		}
		sealedReport, err := sender.EncryptRTCP(nil, report, nil)
		if err != nil {
			t.Fatal(err)
		}
		forged := bytes.Clone(sealed)
		forged[len(forged)-1] ^= 1
		for _, piece := range [][]byte{
			frame(0, forged), frame(0, sealed), frame(0, sealed), frame(0, packet), frame(1, report), frame(1, sealedReport), frame(1, sealedReport),
			frame(0, nil), frame(0, make([]byte, 65535)), frame(2, packet), []byte(options),
		} {
			in = append(in, piece...)
		}
		for _, piece := range [][]byte{frame(0, packet), frame(1, report), frame(2, packet), []byte(options)} {
			want = append(want, piece...)
		}
	}
	r := newRequestReader(iotest.HalfReader(bytes.NewReader(in)), func() bool { return true }, func(refusal) error { return nil })
	r.encrypted.Store(&map[byte]channel{0: {keys: keys}, 1: {keys: keys, rtcp: true}})
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes were passed on, %v; want %d: the publisher's own, once", len(got), err, len(want))
	}
	if n := r.unopened.Load(); n != 20*7 {
		t.Errorf("%d frames were counted as dropped; want %d", n, 20*7)
	}
}

// FuzzKeyMgmt feeds headers with keys.
func FuzzKeyMgmt(f *testing.F) {
	f.Add(`prot=mikey;uri="rtsps://h/x";data="AQAFAAAAAAAAAAoA"`)
	f.Fuzz(func(t *testing.T, header string) {
		keys, err := newMediaKeys(base.HeaderValue{header}, time.Unix(0, 0))
		if err == nil && (keys.in == nil) {
			t.Fatalf("%q makes no keys", header)
		}
	})
}
