package peertest

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/selfsign"
	"github.com/pion/ice/v4"
	"github.com/pion/logging"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"banyan/relay/rtc/sdp"
)

// Intruder is a peer of which every byte can be chosen. It has a session, for which it was let in, and goes as far as a
// test likes: through ICE (NewIntruder), through DTLS (Handshake), and on to SRTP, which it seals by hand.
type Intruder struct {
	testing.TB
	Answer string
	// Ended waits until the server has ended the session. Whoever made the session sets it.
	Ended func()

	server          string // its UDP address
	certificate     tls.Certificate
	conn            *ice.Conn
	dtls            *dtls.Conn
	rtp, rtcp       cipher.AEAD
	salts           [2][]byte   // of RTP, of RTCP
	Secret          string      // of the session, once there is one
	index           uint32      // of SRTCP packets
	heard           chan []byte // of DTLS, once it listens
	retried, served bool        // it has got a cookie, and a ServerHello
	Sequence        uint16      // of RTP packets

	mu  sync.Mutex // guards all below
	in  *srtp.Context
	got []*rtp.Packet
}

// SSRCs and payload types of Publishing.
const (
	VideoSSRC, RTXSSRC          = 0x11111111, 0x22222222
	VideoType, RTXType, FECType = 96, 97, 99
)

// The m-lines that intruders offer.
const (
	Publishing = "m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendonly\r\na=rtcp-mux\r\n" +
		"a=msid:- camera\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\n" +
		"a=fmtp:97 apt=96\r\na=rtpmap:98 red/90000\r\na=rtpmap:99 ulpfec/90000\r\na=ssrc-group:FID 286331153 572662306\r\n" +
		"a=ssrc:286331153 cname:x\r\na=ssrc:572662306 cname:x\r\n"
	Watching = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=recvonly\r\na=rtcp-mux\r\n" +
		"a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 ccm fir\r\n"
)

// NewIntruder makes a session by open, which is given an offer of these m-lines, and connects as far as ICE to a server
// on loopback. In DTLS it is the client, who speaks first.
func NewIntruder(t testing.TB, server, media string, open func(offer string) (answer string)) *Intruder {
	t.Helper()
	x := &Intruder{TB: t, server: server, Sequence: 1000}
	var err error
	if x.certificate, err = selfsign.GenerateSelfSigned(); err != nil {
		t.Fatal(err)
	}
	agent, err := ice.NewAgentWithOptions(ice.WithIncludeLoopback(), ice.WithNetworkTypes([]ice.NetworkType{ice.NetworkTypeUDP4}),
		ice.WithCandidateTypes([]ice.CandidateType{ice.CandidateTypeHost}), ice.WithMulticastDNSMode(ice.MulticastDNSModeDisabled),
		ice.WithInterfaceFilter(func(name string) bool { return name == "lo" }), ice.WithLoggerFactory(quiet()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = agent.GracefulClose() })
	x.join(agent, media, open)
	return x
}

func quiet() logging.LoggerFactory {
	factory := logging.NewDefaultLoggerFactory()
	factory.Writer = io.Discard
	return factory
}

// join makes the session and runs ICE.
func (x *Intruder) join(agent *ice.Agent, media string, open func(string) string) {
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
	x.Answer = open("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n" + media + "a=setup:active\r\n" +
		"a=ice-ufrag:" + ufrag + "\r\na=ice-pwd:" + password + "\r\na=fingerprint:sha-256 " + strings.Join(octets, ":") + "\r\n")
	answer := sdp.Restart(x.Answer)
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
	ctx, cancel := context.WithTimeout(x.Context(), patience)
	defer cancel()
	if x.conn, err = agent.Dial(ctx, answer.Ufrag, answer.Password); err != nil {
		x.Fatal(err)
	}
	x.Cleanup(func() { _ = x.conn.Close() })
}

// Send sends datagrams as they are.
func (x *Intruder) Send(datagrams ...[]byte) {
	for _, b := range datagrams {
		_, _ = x.conn.Write(b) // a session that has ended may not take it
	}
}

// packetConn is the conn for the DTLS of a client, who notes the media that comes in between.
type packetConn struct{ *Intruder }

func (c packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, err := c.conn.Read(b)
		if err != nil || n > 0 && b[0] >= 20 && b[0] < 64 {
			return n, c.conn.RemoteAddr(), err
		}
		c.note(b[:n])
	}
}

func (c packetConn) WriteTo(b []byte, _ net.Addr) (int, error) { return c.conn.Write(b) }
func (c packetConn) Close() error                              { return c.conn.Close() }
func (c packetConn) LocalAddr() net.Addr                       { return c.conn.LocalAddr() }
func (c packetConn) SetDeadline(t time.Time) error             { return c.conn.SetDeadline(t) }
func (c packetConn) SetReadDeadline(t time.Time) error         { return c.conn.SetReadDeadline(t) }
func (c packetConn) SetWriteDeadline(t time.Time) error        { return c.conn.SetWriteDeadline(t) }

// note opens a packet of media.
func (x *Intruder) note(b []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.in == nil || len(b) < 12 || b[0]>>6 != 2 || b[1] >= 192 && b[1] < 224 {
		return
	}
	plain, err := x.in.DecryptRTP(nil, b, nil)
	if err != nil {
		x.Errorf("a packet of media does not open: %v", err)
		return
	}
	p := &rtp.Packet{}
	if err := p.Unmarshal(plain); err != nil {
		x.Errorf("a packet of media cannot be read: %v", err)
		return
	}
	x.got = append(x.got, p)
}

// Vanish leaves without a word.
func (x *Intruder) Vanish() { _ = x.conn.Close() }

// Got is the media that came so far.
func (x *Intruder) Got() []*rtp.Packet {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.got[:len(x.got):len(x.got)]
}

// client makes the DTLS client.
func (x *Intruder) client(options ...dtls.ClientOption) *dtls.Conn {
	x.Helper()
	options = append([]dtls.ClientOption{
		dtls.WithInsecureSkipVerify(true), dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
		dtls.WithLoggerFactory(quiet()), dtls.WithFlightInterval(50 * time.Millisecond),
	}, options...)
	conn, err := dtls.ClientWithOptions(packetConn{x}, x.conn.RemoteAddr(), options...)
	if err != nil {
		x.Fatal(err)
	}
	x.Cleanup(func() { _ = conn.Close() })
	return conn
}

var honest = []dtls.SRTPProtectionProfile{dtls.SRTP_AEAD_AES_128_GCM}

// Handshake connects as a peer does who means well.
func (x *Intruder) Handshake() *Intruder {
	x.Helper()
	x.dtls = x.client(dtls.WithCertificates(x.certificate), dtls.WithSRTPProtectionProfiles(honest...))
	ctx, cancel := context.WithTimeout(x.Context(), patience)
	defer cancel()
	if err := x.dtls.HandshakeContext(ctx); err != nil {
		x.Fatal(err)
	}
	state, _ := x.dtls.ConnectionState()
	const key, salt = 16, 12 // AEAD_AES_128_GCM, RFC 7714 section 12
	material, err := state.ExportKeyingMaterial("EXTRACTOR-dtls_srtp", nil, 2*(key+salt))
	if err != nil {
		x.Fatal(err)
	}
	x.Secret = hex.EncodeToString(material)
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
	in, err := srtp.CreateContext(material[key:2*key], material[2*key+salt:], srtp.ProtectionProfileAeadAes128Gcm)
	if err != nil {
		x.Fatal(err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.in = in
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

// Seal makes an SRTP packet (RFC 7714 section 8) of a header, as many bytes as it may be, and what is behind it.
func (x *Intruder) Seal(header, rest []byte, rollovers uint32) []byte {
	nonce := make([]byte, 12)
	copy(nonce[2:], header[8:12])
	binary.BigEndian.PutUint32(nonce[6:], rollovers)
	copy(nonce[10:], header[2:4])
	for i := range nonce {
		nonce[i] ^= x.salts[0][i]
	}
	return x.rtp.Seal(append([]byte(nil), header...), nonce, rest, header)
}

// Header is the plain RTP header of the next packet.
func (x *Intruder) Header(ssrc uint32, payloadType byte) []byte {
	x.Sequence++
	h := []byte{0x80, payloadType}
	h = binary.BigEndian.AppendUint16(h, x.Sequence)
	h = binary.BigEndian.AppendUint32(h, uint32(x.Sequence)*3000)
	return binary.BigEndian.AppendUint32(h, ssrc)
}

// Packet is a sound SRTP packet.
func (x *Intruder) Packet(payload string) []byte {
	return x.Seal(x.Header(VideoSSRC, VideoType), []byte(payload), 0)
}

// Report makes an SRTCP packet (RFC 7714 section 9) of compound RTCP, as it may be.
func (x *Intruder) Report(plain []byte) []byte {
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

// Feedback is an RTCP feedback message of a viewer (RFC 4585 section 6.1): type 205 or 206, format, the source it is
// about, and what follows.
func Feedback(kind, format byte, ssrc uint32, rest []byte) []byte {
	b := []byte{0x80 | format, kind}
	b = binary.BigEndian.AppendUint16(b, uint16(2+len(rest)/4))
	b = binary.BigEndian.AppendUint32(b, 1) // whoever sends it
	b = binary.BigEndian.AppendUint32(b, ssrc)
	return append(b, rest...)
}
