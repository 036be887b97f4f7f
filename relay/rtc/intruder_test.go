package rtc

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/selfsign"
	"github.com/pion/ice/v4"
	"github.com/pion/webrtc/v4"

	"banyan/relay/media"
	"banyan/relay/rtc/sdp"
)

// intruder is a peer of which every byte can be chosen. It has a session, for which it was let in, and goes as far as a
// test likes: through ICE (newIntruder), through DTLS (handshake), and on to SRTP, which it seals by hand.
type intruder struct {
	testing.TB
	network   *Network
	publisher *Publisher // one of them
	viewer    *Viewer
	peer      *Peer

	certificate     tls.Certificate
	conn            *ice.Conn
	dtls            *dtls.Conn
	rtp, rtcp       cipher.AEAD
	salts           [2][]byte   // of RTP, of RTCP
	index           uint32      // of SRTCP packets
	heard           chan []byte // of DTLS, once it listens
	retried, served bool        // it has got a cookie, and a ServerHello
	sequence        uint16      // of RTP packets

	mu  sync.Mutex // guards got
	got map[string]int
}

// SSRCs and payload types that a publishing intruder declares.
const (
	ssrcVideo, ssrcRTX          = 0x11111111, 0x22222222
	typeVideo, typeRTX, typeFEC = 96, 97, 99
)

const (
	publishingMedia = "m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendonly\r\na=rtcp-mux\r\n" +
		"a=msid:- camera\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\n" +
		"a=fmtp:97 apt=96\r\na=rtpmap:98 red/90000\r\na=rtpmap:99 ulpfec/90000\r\na=ssrc-group:FID 286331153 572662306\r\n" +
		"a=ssrc:286331153 cname:x\r\na=ssrc:572662306 cname:x\r\n"
	playingMedia = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=recvonly\r\na=rtcp-mux\r\n" +
		"a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 ccm fir\r\n"
)

// newIntruder gets a session and connects as far as ICE. In DTLS it is the client, who speaks first.
func newIntruder(t testing.TB, n *Network, role sdp.Role) *intruder {
	t.Helper()
	x := &intruder{TB: t, network: n, got: map[string]int{}, sequence: 1000}
	var err error
	if x.certificate, err = selfsign.GenerateSelfSigned(); err != nil {
		t.Fatal(err)
	}
	agent, err := ice.NewAgentWithOptions(ice.WithIncludeLoopback(), ice.WithNetworkTypes([]ice.NetworkType{ice.NetworkTypeUDP4}),
		ice.WithCandidateTypes([]ice.CandidateType{ice.CandidateTypeHost}), ice.WithMulticastDNSMode(ice.MulticastDNSModeDisabled),
		ice.WithInterfaceFilter(func(name string) bool { return name == "lo" }),
		ice.WithLoggerFactory(logAdapter{slog.New(slog.DiscardHandler)}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = agent.GracefulClose() })
	x.join(agent, role)
	return x
}

// join makes the session and runs ICE.
func (x *intruder) join(agent *ice.Agent, role sdp.Role) {
	x.Helper()
	ufrag, password, err := agent.GetLocalUserCredentials()
	if err != nil {
		x.Fatal(err)
	}
	digest := sha256.Sum256(x.certificate.Certificate[0])
	var octets []string
	for _, b := range digest {
		octets = append(octets, strings.ToUpper(hex.EncodeToString([]byte{b})))
	}
	section := map[sdp.Role]string{sdp.Publish: publishingMedia, sdp.Play: playingMedia}[role]
	offer := parse(x, "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n"+section+"a=setup:active\r\n"+
		"a=ice-ufrag:"+ufrag+"\r\na=ice-pwd:"+password+"\r\na=fingerprint:sha-256 "+strings.Join(octets, ":")+"\r\n", role)
	if role == sdp.Publish {
		x.publisher, err = x.network.NewPublisher(x.Context(), PeerConfig{Offer: offer, Stream: "cup/evil"}, x.read)
		if err == nil {
			x.peer = x.publisher.Peer
		}
	} else {
		x.viewer, err = x.network.NewViewer(x.Context(), ViewerConfig{
			PeerConfig: PeerConfig{Offer: offer, Stream: "cup/evil"}, Codecs: offer.Media[0].Codecs,
		})
		if err == nil {
			x.peer = x.viewer.Peer
		}
	}
	if err != nil {
		x.Fatal(err)
	}
	x.Cleanup(x.peer.Close)
	answer := sdp.Restart(x.peer.Answer())
	for _, text := range answer.Candidates {
		if !strings.Contains(text, " udp ") {
			continue
		}
		candidate, err := ice.UnmarshalCandidate(text)
		if err != nil {
			x.Fatal(err)
		}
		if err := agent.AddRemoteCandidate(candidate); err != nil {
			x.Fatal(err)
		}
	}
	if err := agent.OnCandidate(func(ice.Candidate) {}); err != nil {
		x.Fatal(err)
	}
	if err := agent.GatherCandidates(); err != nil {
		x.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(x.Context(), patience10)
	defer cancel()
	if x.conn, err = agent.Dial(ctx, answer.Ufrag, answer.Password); err != nil {
		x.Fatal(err)
	}
	x.Cleanup(func() { _ = x.conn.Close() })
}

// read notes the payloads that come through to whoever forwards them.
func (x *intruder) read(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
	const most = 100
	for failures := 0; failures < most; {
		p, _, err := track.ReadRTP()
		if err != nil {
			failures++
			continue
		}
		failures = 0
		x.mu.Lock()
		x.got[string(p.Payload)]++
		x.mu.Unlock()
	}
}

func (x *intruder) times(payload string) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.got[payload]
}

// send sends datagrams as they are.
func (x *intruder) send(datagrams ...[]byte) {
	for _, b := range datagrams {
		_, _ = x.conn.Write(b) // a session that has ended may not take it
	}
}

// packetConn is the conn for the DTLS of a client: what is not DTLS is passed over.
type packetConn struct{ *ice.Conn }

func (c packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, err := c.Read(b)
		if err != nil || n > 0 && b[0] >= 20 && b[0] < 64 {
			return n, c.RemoteAddr(), err
		}
	}
}

func (c packetConn) WriteTo(b []byte, _ net.Addr) (int, error) { return c.Write(b) }

// client makes the DTLS client.
func (x *intruder) client(options ...dtls.ClientOption) *dtls.Conn {
	x.Helper()
	options = append([]dtls.ClientOption{
		dtls.WithInsecureSkipVerify(true), dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
		dtls.WithLoggerFactory(logAdapter{slog.New(slog.DiscardHandler)}), dtls.WithFlightInterval(50 * time.Millisecond),
	}, options...)
	conn, err := dtls.ClientWithOptions(packetConn{x.conn}, x.conn.RemoteAddr(), options...)
	if err != nil {
		x.Fatal(err)
	}
	x.Cleanup(func() { _ = conn.Close() })
	return conn
}

var honest = []dtls.SRTPProtectionProfile{dtls.SRTP_AEAD_AES_128_GCM}

// handshake connects as a peer does who means well.
func (x *intruder) handshake() *intruder {
	x.Helper()
	x.dtls = x.client(dtls.WithCertificates(x.certificate), dtls.WithSRTPProtectionProfiles(honest...))
	ctx, cancel := context.WithTimeout(x.Context(), patience10)
	defer cancel()
	if err := x.dtls.HandshakeContext(ctx); err != nil {
		x.Fatal(err)
	}
	wait(x, x.peer.Connected(), "the connection")
	state, _ := x.dtls.ConnectionState()
	const key, salt = 16, 12 // AEAD_AES_128_GCM, RFC 7714 section 12
	material, err := state.ExportKeyingMaterial("EXTRACTOR-dtls_srtp", nil, 2*(key+salt))
	if err != nil {
		x.Fatal(err)
	}
	master, masterSalt := material[:key], material[2*key:2*key+salt] // the client's
	for i, out := range []*cipher.AEAD{&x.rtp, &x.rtcp} {
		const rtcpLabels = 3
		block, err := aes.NewCipher(derive(x, master, masterSalt, byte(i*rtcpLabels), key))
		if err != nil {
			x.Fatal(err)
		}
		if *out, err = cipher.NewGCM(block); err != nil {
			x.Fatal(err)
		}
		x.salts[i] = derive(x, master, masterSalt, byte(i*rtcpLabels+2), salt)
	}
	return x
}

// derive is the key derivation of RFC 3711 section 4.3.
func derive(t testing.TB, master, salt []byte, label byte, size int) []byte {
	t.Helper()
	block, err := aes.NewCipher(master)
	if err != nil {
		t.Fatal(err)
	}
	iv := make([]byte, aes.BlockSize)
	copy(iv, salt)
	iv[7] ^= label
	out := make([]byte, size)
	cipher.NewCTR(block, iv).XORKeyStream(out, out)
	return out
}

// seal makes an SRTP packet (RFC 7714 section 8) of a header, as many bytes as it may be, and what is behind it.
func (x *intruder) seal(header, rest []byte, rollovers uint32) []byte {
	nonce := make([]byte, 12)
	copy(nonce[2:], header[8:12])
	binary.BigEndian.PutUint32(nonce[6:], rollovers)
	copy(nonce[10:], header[2:4])
	for i := range nonce {
		nonce[i] ^= x.salts[0][i]
	}
	return x.rtp.Seal(append([]byte(nil), header...), nonce, rest, header)
}

// header is the plain RTP header of the next packet.
func (x *intruder) header(ssrc uint32, payloadType byte) []byte {
	x.sequence++
	h := []byte{0x80, payloadType}
	h = binary.BigEndian.AppendUint16(h, x.sequence)
	h = binary.BigEndian.AppendUint32(h, uint32(x.sequence)*3000)
	return binary.BigEndian.AppendUint32(h, ssrc)
}

// packet is a sound SRTP packet.
func (x *intruder) packet(payload string) []byte {
	return x.seal(x.header(ssrcVideo, typeVideo), []byte(payload), 0)
}

// report makes an SRTCP packet (RFC 7714 section 9) of compound RTCP, as it may be.
func (x *intruder) report(plain []byte) []byte {
	x.index++
	nonce := make([]byte, 12)
	copy(nonce[2:], plain[4:8])
	binary.BigEndian.PutUint32(nonce[8:], x.index)
	for i := range nonce {
		nonce[i] ^= x.salts[1][i]
	}
	trailer := binary.BigEndian.AppendUint32(nil, 1<<31|x.index)
	aad := append(append([]byte(nil), plain[:8]...), trailer...)
	return append(x.rtcp.Seal(append([]byte(nil), plain[:8]...), nonce, plain[8:], aad), trailer...)
}

// lives wants the session of a publisher to go on: a sound packet, sent behind all else, comes through.
func (x *intruder) lives() {
	x.Helper()
	for n, deadline := 0, time.Now().Add(patience10); ; n++ {
		payload := fmt.Sprint("sound ", x.sequence)
		x.send(x.packet(payload))
		for range 20 {
			if x.times(payload) == 1 {
				return
			}
			time.Sleep(time.Millisecond)
		}
		if err := x.peer.Err(); err != nil || time.Now().After(deadline) {
			x.Fatalf("sound packets no longer come through: %v", err)
		}
	}
}

// watches wants the session of a viewer to go on: a request for a keyframe, sent behind all else, comes through.
func (x *intruder) watches() {
	x.Helper()
	for len(x.viewer.KeyframeRequests()) > 0 {
		<-x.viewer.KeyframeRequests()
	}
	for deadline := time.Now().Add(patience10); ; {
		x.send(x.report(x.feedback(206, 1, nil)))
		select {
		case <-x.viewer.KeyframeRequests():
			return
		case <-time.After(20 * time.Millisecond):
		}
		if err := x.peer.Err(); err != nil || time.Now().After(deadline) {
			x.Fatalf("requests for keyframes no longer come through: %v", err)
		}
	}
}

// feedback is an RTCP feedback message of a viewer (RFC 4585 section 6.1): type 205 or 206, format, and what follows.
func (x *intruder) feedback(kind, format byte, rest []byte) []byte {
	b := []byte{0x80 | format, kind}
	b = binary.BigEndian.AppendUint16(b, uint16(2+len(rest)/4))
	b = binary.BigEndian.AppendUint32(b, 1) // whoever sends it
	b = binary.BigEndian.AppendUint32(b, uint32(x.viewer.Track(media.Video).ssrc))
	return append(b, rest...)
}
