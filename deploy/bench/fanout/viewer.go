//go:build linux

package fanout

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/fingerprint"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
	"github.com/pion/stun/v4"
	"golang.org/x/sys/unix"
)

// identity is what all viewers show in their handshakes.
type identity struct {
	certificate tls.Certificate
	fingerprint string
}

func newIdentity(certificate tls.Certificate) (identity, error) {
	parsed, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		return identity{}, err
	}
	print, err := fingerprint.Fingerprint(parsed, crypto.SHA256)
	return identity{certificate, print}, err
}

const (
	ufrag    = "benchviewer"
	password = "benchviewerbenchviewer"
)

// viewer is one receiver.
type viewer struct {
	conn   *net.UDPConn // while it connects
	fd     int          // the same socket afterwards, out of reach of Go's poller, which the sender would pay for
	server netip.AddrPort
	remote struct{ ufrag, password string }

	context  *srtp.Context // of the sample; nil where packets are only counted
	overhead int           // bytes of SRTP's tag
	whole    bool          // messages come as they were sent; see Options.Offload

	count Count
	last  map[uint32]uint16 // highest sequence number by SSRC, of the sample
}

// Count is what viewers received.
type Count struct {
	Packets, Bytes int64 // of RTP, without SRTP's tag
	Lost           int64 // of the sample: numbers that were passed over and never came
	Broken         int64 // of the sample: packets that do not open
	Sampled        int64
	Delays         []time.Duration // of the sample, where payloads tell
}

func (c *Count) add(d Count) {
	c.Packets += d.Packets
	c.Bytes += d.Bytes
	c.Lost += d.Lost
	c.Broken += d.Broken
	c.Sampled += d.Sampled
	c.Delays = append(c.Delays, d.Delays...)
}

// offerText is the offer of a browser, as far as servers look at it, but that it takes the DTLS client's part upon itself.
func offerText(fingerprint string) string {
	transport := "c=IN IP4 0.0.0.0\r\na=ice-ufrag:" + ufrag + "\r\na=ice-pwd:" + password + "\r\na=ice-options:trickle\r\n" +
		"a=fingerprint:sha-256 " + strings.ToUpper(fingerprint) + "\r\na=setup:active\r\na=recvonly\r\na=rtcp-mux\r\na=rtcp-rsize\r\n"
	return "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=msid-semantic: WMS\r\n" +
		"m=video 9 UDP/TLS/RTP/SAVPF 102 103\r\n" + transport + "a=mid:0\r\na=rtpmap:102 H264/90000\r\n" +
		"a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n" +
		"a=rtcp-fb:102 nack\r\na=rtcp-fb:102 nack pli\r\na=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\n" +
		"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n" + transport + "a=mid:1\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n"
}

// watch makes a viewer of what is served at a WHEP URL.
func watch(ctx context.Context, url string, who identity, sample, whole bool) (*viewer, error) {
	v := &viewer{last: map[uint32]uint16{}, whole: whole}
	if err := v.negotiate(ctx, url, who); err != nil {
		return nil, err
	}
	var err error
	if v.conn, err = net.ListenUDP("udp4", nil); err != nil {
		return nil, err
	}
	defer func() { _ = v.conn.Close() }() // it may be closed already
	_ = v.conn.SetReadBuffer(1 << 20)     // a keyframe comes at once
	if v.fd, err = duplicate(v.conn); err != nil {
		return nil, err
	}
	if err := v.connect(ctx, who, sample); err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

// duplicate opens the socket of c a second time.
func duplicate(c *net.UDPConn) (fd int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	if failed := raw.Control(func(s uintptr) { fd, err = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0) }); failed != nil {
		return 0, failed
	}
	return fd, err
}

// close lets the socket go, without a word to the server.
func (v *viewer) close() { _ = unix.Close(v.fd) }

func (v *viewer) negotiate(ctx context.Context, url string, who identity) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(offerText(who.fingerprint)))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/sdp")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusCreated {
		return fmt.Errorf("POST %s: %s: %.200s", url, response.Status, answer)
	}
	return v.read(string(answer))
}

// read takes what is needed from an answer.
func (v *viewer) read(answer string) error {
	for line := range strings.Lines(answer) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch key {
		case "a=ice-ufrag":
			v.remote.ufrag = value
		case "a=ice-pwd":
			v.remote.password = value
		case "a=candidate":
			f := strings.Fields(value)
			if len(f) < 8 || !strings.EqualFold(f[2], "udp") || v.server.IsValid() {
				continue
			}
			if addr, err := netip.ParseAddrPort(net.JoinHostPort(f[4], f[5])); err == nil && addr.Addr().Is4() {
				v.server = addr
			}
		}
	}
	if !v.server.IsValid() || v.remote.ufrag == "" {
		return errors.New("the answer has no candidate by UDP and IPv4, or no credentials")
	}
	return nil
}

// check is a connectivity check that nominates.
func (v *viewer) check() []byte {
	return stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewUsername(v.remote.ufrag+":"+ufrag),
		stun.RawAttribute{Type: stun.AttrUseCandidate}, stun.RawAttribute{Type: stun.AttrPriority, Value: []byte{110, 0, 0, 255}},
		stun.RawAttribute{Type: stun.AttrICEControlling, Value: make([]byte, 8)},
		stun.NewShortTermIntegrity(v.remote.password), stun.Fingerprint).Raw
}

// reply answers a check of the server's; nil where it is none.
func (v *viewer) reply(b []byte) []byte {
	m := &stun.Message{Raw: append([]byte{}, b...)}
	if m.Decode() != nil || m.Type != stun.BindingRequest {
		return nil
	}
	return stun.MustBuild(m, stun.BindingSuccess, &stun.XORMappedAddress{IP: v.server.Addr().AsSlice(), Port: int(v.server.Port())},
		stun.NewShortTermIntegrity(password), stun.Fingerprint).Raw
}

// connect goes through ICE and DTLS.
func (v *viewer) connect(ctx context.Context, who identity, sample bool) error {
	conn, err := dtls.ClientWithOptions(&demux{v}, net.UDPAddrFromAddrPort(v.server),
		dtls.WithCertificates(who.certificate), dtls.WithInsecureSkipVerify(true),
		dtls.WithSRTPProtectionProfiles(dtls.SRTP_AES128_CM_HMAC_SHA1_80, dtls.SRTP_AEAD_AES_256_GCM, dtls.SRTP_AEAD_AES_128_GCM))
	if err != nil {
		return err
	}
	if _, err := v.conn.WriteToUDPAddrPort(v.check(), v.server); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("DTLS: %w", err)
	}
	profile, _ := conn.SelectedSRTPProtectionProfile()
	state, ok := conn.ConnectionState()
	if !ok {
		return errors.New("DTLS: no state")
	}
	config := srtp.Config{Profile: srtp.ProtectionProfile(profile)}
	if err := config.ExtractSessionKeysFromDTLS(&state, true); err != nil {
		return err
	}
	aead, _ := config.Profile.AEADAuthTagLen()
	tag, _ := config.Profile.AuthTagRTPLen()
	v.overhead = aead + tag
	if sample {
		if err := unix.SetsockoptInt(v.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
			return err
		}
		v.context, err = srtp.CreateContext(config.Keys.RemoteMasterKey, config.Keys.RemoteMasterSalt, config.Profile, srtp.SRTPReplayProtection(512))
		if err != nil {
			return err
		}
	}
	if v.whole {
		if err := unix.SetsockoptInt(v.fd, unix.SOL_UDP, unix.UDP_GRO, 1); err != nil {
			return err
		}
	}
	_ = v.conn.Close() // first, so that no goodbye gets out
	return ignoreClosed(conn.Close())
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// demux gives the handshake its packets, and answers checks.
type demux struct{ *viewer }

func (d *demux) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := d.conn.ReadFromUDPAddrPort(b)
		switch {
		case err != nil:
			return 0, nil, err
		case n > 0 && b[0] < 4:
			if reply := d.reply(b[:n]); reply != nil {
				_, _ = d.conn.WriteToUDPAddrPort(reply, from) // it asks again
			}
		case n > 0 && b[0] >= 20 && b[0] <= 63:
			return n, net.UDPAddrFromAddrPort(from), nil
		}
	}
}

func (d *demux) WriteTo(b []byte, _ net.Addr) (int, error) {
	return d.conn.WriteToUDPAddrPort(b, d.server)
}
func (d *demux) Close() error                       { return nil }
func (d *demux) LocalAddr() net.Addr                { return d.conn.LocalAddr() }
func (d *demux) SetDeadline(t time.Time) error      { return d.conn.SetDeadline(t) }
func (d *demux) SetReadDeadline(t time.Time) error  { return d.conn.SetReadDeadline(t) }
func (d *demux) SetWriteDeadline(t time.Time) error { return d.conn.SetWriteDeadline(t) }

// poll reads what has come, without waiting. buffer is for one message.
func (v *viewer) poll(buffer []byte) error {
	var oob [64]byte // for the time at which the kernel got a message, of the sample, and for the size of its packets
	room := oob[:0]
	if v.context != nil || v.whole {
		room = oob[:]
	}
	for {
		n, extra, _, from, err := unix.Recvmsg(v.fd, buffer, room, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("read: %w", err)
		}
		arrived, segment := time.Time{}, n
		if extra > 0 {
			arrived, segment = beside(oob[:extra], n)
		}
		for rest := buffer[:min(n, len(buffer))]; len(rest) > 0; {
			packet := rest[:min(segment, len(rest))]
			rest = rest[len(packet):]
			v.take(packet, arrived, from)
		}
	}
}

// take does what a packet is for.
func (v *viewer) take(b []byte, arrived time.Time, from unix.Sockaddr) {
	switch {
	case b[0] < 4:
		if reply := v.reply(b); reply != nil {
			_ = unix.Sendto(v.fd, reply, unix.MSG_DONTWAIT, from) // it asks again
		}
	case len(b) > 12 && b[0] >= 128 && b[0] <= 191 && (b[1] < 192 || b[1] > 223):
		v.count.Packets++
		v.count.Bytes += int64(len(b) - v.overhead)
		if v.context != nil {
			v.examine(b, arrived)
		}
	}
}

// beside is what the kernel says beside a message of n bytes: when it got it, now where it does not tell, and the size of
// all packets in it but the last, which may be shorter.
func beside(oob []byte, n int) (arrived time.Time, segment int) {
	arrived, segment = time.Now(), n
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return arrived, segment
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16:
			s, ns := binary.NativeEndian.Uint64(m.Data), binary.NativeEndian.Uint64(m.Data[8:])
			arrived = time.Unix(int64(s), int64(ns))
		case m.Header.Level == unix.SOL_UDP && m.Header.Type == unix.UDP_GRO && len(m.Data) >= 4:
			if size := int(binary.NativeEndian.Uint32(m.Data)); size > 0 {
				segment = size
			}
		}
	}
	return arrived, segment
}

// examine opens a packet of the sample.
func (v *viewer) examine(b []byte, arrived time.Time) {
	v.count.Sampled++
	plain, err := v.context.DecryptRTP(nil, b, nil)
	if err != nil {
		v.count.Broken++
		return
	}
	var p rtp.Packet
	if err := p.Unmarshal(plain); err != nil {
		v.count.Broken++
		return
	}
	if last, ok := v.last[p.SSRC]; ok {
		switch d := int16(p.SequenceNumber - last); {
		case d > 1:
			v.count.Lost += int64(d - 1)
		case d < 0:
			v.count.Lost-- // it came late
			return
		}
	}
	v.last[p.SSRC] = p.SequenceNumber
	if i := strings.Index(string(p.Payload[:min(len(p.Payload), 64)]), Stamp); i >= 0 && len(p.Payload) >= i+len(Stamp)+8 {
		sent := time.Unix(0, int64(binary.BigEndian.Uint64(p.Payload[i+len(Stamp):])))
		v.count.Delays = append(v.count.Delays, arrived.Sub(sent))
	}
}

// consent says that the viewer still wants what it gets (RFC 7675).
func (v *viewer) consent() {
	to := &unix.SockaddrInet4{Port: int(v.server.Port()), Addr: v.server.Addr().As4()}
	_ = unix.Sendto(v.fd, v.check(), unix.MSG_DONTWAIT, to) // once more in a while
}
