// Package seal is SRTP for one who sends the same payloads to many: each packet is encrypted from the payload that all
// share to its place in the buffer that goes to the kernel, in one pass, with nothing copied or allocated.
//
// A Session holds both directions of one peer, made from the keys that its DTLS handshake exported (RFC 5764 section
// 4.2). Sealing RTP is ours under AES-GCM (RFC 7714), as it is the heart of the engine. The rest is pion/srtp's: AES-CM
// with HMAC-SHA1 for peers that have nothing better, which costs several times more whoever does it, and RTCP, of which
// there is little.
//
// The caller counts the packets: an index, the rollover counter and the sequence number as one, must never come again
// with other bytes (RFC 7714 section 8.4).
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// Overhead is how many bytes sealing adds to a packet of RTP at most: the tag of AES-GCM.
const Overhead = 16

// ControlOverhead is the same for RTCP, which carries its index too (RFC 3711 section 3.4).
const ControlOverhead = Overhead + 4

const (
	saltSize      = 12 // RFC 7714 section 8.1
	labelRTPKey   = 0  // RFC 3711 section 4.3.2
	labelRTPSalt  = 2
	controlWindow = 64 // packets of RTCP that may come out of order; older ones count as replayed
)

// ErrRoom is returned where the buffer is too small. It is a mistake of the caller.
var ErrRoom = errors.New("seal: no room for the packet in its buffer")

// Session seals what goes to a peer and opens what comes from it. It is not safe for concurrent use, but for Open beside
// the others.
type Session struct {
	aead  cipher.AEAD // nil where the profile is not AES-GCM
	salt  [saltSize]byte
	nonce [saltSize]byte // here, as what is passed to an interface goes to the heap

	out    *srtp.Context
	header rtp.Header // scratch
	in     *srtp.Context
}

// Keys are the master keys and salts of one direction each.
type Keys = srtp.SessionKeys

// Export reads the keys of a finished handshake, in which we were the client or not.
func Export(profile srtp.ProtectionProfile, from srtp.KeyingMaterialExporter, client bool) (Keys, error) {
	c := srtp.Config{Profile: profile}
	if err := c.ExtractSessionKeysFromDTLS(from, client); err != nil {
		return Keys{}, fmt.Errorf("take the media keys from the handshake: %w", err)
	}
	return c.Keys, nil
}

// New makes a session of exported keys.
func New(profile srtp.ProtectionProfile, keys Keys) (*Session, error) {
	s := &Session{}
	var err error
	if s.out, err = srtp.CreateContext(keys.LocalMasterKey, keys.LocalMasterSalt, profile); err != nil {
		return nil, fmt.Errorf("prepare to send by %v: %w", profile, err)
	}
	// A bare context has no protection against replay.
	s.in, err = srtp.CreateContext(keys.RemoteMasterKey, keys.RemoteMasterSalt, profile, srtp.SRTCPReplayProtection(controlWindow))
	if err != nil {
		return nil, fmt.Errorf("prepare to receive by %v: %w", profile, err)
	}
	switch profile {
	case srtp.ProtectionProfileAeadAes128Gcm, srtp.ProtectionProfileAeadAes256Gcm:
		err = s.useGCM(keys.LocalMasterKey, keys.LocalMasterSalt)
	}
	return s, err
}

func (s *Session) useGCM(key, salt []byte) error {
	session, err := derive(key, salt, labelRTPKey, len(key))
	if err != nil {
		return err
	}
	block, err := aes.NewCipher(session)
	if err != nil {
		return fmt.Errorf("use the session key: %w", err)
	}
	if s.aead, err = cipher.NewGCM(block); err != nil {
		return fmt.Errorf("use the session key: %w", err)
	}
	derived, err := derive(key, salt, labelRTPSalt, saltSize)
	copy(s.salt[:], derived)
	return err
}

// derive is the key derivation of RFC 3711 section 4.3 with a rate of zero: n bytes of AES in counter mode under the
// master key, from the master salt with the label at its eighth byte (RFC 7714 section 11 keeps it there).
func derive(master, salt []byte, label byte, n int) ([]byte, error) {
	block, err := aes.NewCipher(master)
	if err != nil {
		return nil, fmt.Errorf("use the master key: %w", err)
	}
	var counter [aes.BlockSize]byte
	copy(counter[:], salt)
	counter[7] ^= label
	out := make([]byte, n)
	cipher.NewCTR(block, counter[:]).XORKeyStream(out, out)
	return out, nil
}

// Seal completes a packet of RTP: packet is its header, with room behind it for the payload and Overhead; the payload
// may lie there already. index is the rollover counter and the header's sequence number, ssrc the header's.
func (s *Session) Seal(packet, payload []byte, ssrc uint32, index uint64) ([]byte, error) {
	header := len(packet)
	if cap(packet) < header+len(payload)+Overhead {
		return nil, ErrRoom
	}
	if s.aead == nil {
		return s.sealCM(packet, payload)
	}
	// RFC 7714 section 8.1: two zero bytes, SSRC, rollover counter and number, all XOR the salt.
	copy(s.nonce[:2], s.salt[:2])
	binary.BigEndian.PutUint32(s.nonce[2:], binary.BigEndian.Uint32(s.salt[2:])^ssrc)
	binary.BigEndian.PutUint32(s.nonce[6:], binary.BigEndian.Uint32(s.salt[6:])^uint32(index>>16))
	binary.BigEndian.PutUint16(s.nonce[10:], binary.BigEndian.Uint16(s.salt[10:])^uint16(index))
	sealed := s.aead.Seal(packet[header:header], s.nonce[:], payload, packet)
	return packet[:header+len(sealed)], nil
}

// sealCM seals in place; pion/srtp follows the rollover counter by itself, also for packets that are sent again.
func (s *Session) sealCM(packet, payload []byte) ([]byte, error) {
	whole := append(packet, payload...) // in place: Seal has checked that there is room
	return s.out.EncryptRTP(whole, whole, &s.header)
}

// SealControl seals a compound packet of RTCP in place. packet needs room for ControlOverhead.
func (s *Session) SealControl(packet []byte) ([]byte, error) {
	if cap(packet) < len(packet)+ControlOverhead {
		return nil, ErrRoom
	}
	return s.out.EncryptRTCP(packet, packet, nil)
}

// Open opens a packet of RTCP in place. It fails where that was forged, damaged, or has been opened before.
func (s *Session) Open(packet []byte) ([]byte, error) {
	return s.in.DecryptRTCP(packet, packet, &rtcp.Header{})
}
