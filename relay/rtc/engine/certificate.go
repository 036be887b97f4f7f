package engine

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"
)

// certificates makes the certificate that all sessions share, and a new one when half of its life is over, so that it
// outlasts every session that was begun with it. Media keys are fresh per session all the same: every handshake has its
// own ephemeral exchange. It is safe for concurrent use.
type certificates struct {
	mu      sync.Mutex // guards all below
	current *certificate
}

// certificate is one, with how a description pins it (RFC 8122).
type certificate struct {
	tls.Certificate
	fingerprint string
	expires     time.Time
}

const certificateLife = 28 * 24 * time.Hour

// at is the certificate for a session that begins now.
func (c *certificates) at(now time.Time) (*certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current != nil && c.current.expires.After(now.Add(certificateLife/2)) {
		return c.current, nil
	}
	fresh, err := newCertificate(now)
	if err != nil {
		return nil, fmt.Errorf("make a DTLS certificate: %w", err)
	}
	c.current = fresh
	return fresh, nil
}

func newCertificate(now time.Time) (*certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "WebRTC"},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(certificateLife), // clocks differ
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &certificate{
		Certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		fingerprint: fingerprint("sha-256", der), expires: template.NotAfter,
	}, nil
}

// fingerprint pins a certificate as descriptions do: "sha-256 4A:AD:…"; "" for a hash that does not count.
func fingerprint(hash string, der []byte) string {
	var digest []byte
	switch hash {
	case "sha-256":
		sum := sha256.Sum256(der)
		digest = sum[:]
	case "sha-384":
		sum := sha512.Sum384(der)
		digest = sum[:]
	case "sha-512":
		sum := sha512.Sum512(der)
		digest = sum[:]
	default:
		return ""
	}
	var b strings.Builder
	b.WriteString(hash)
	for i, octet := range digest {
		fmt.Fprintf(&b, "%c%02X", " :"[min(i, 1)], octet)
	}
	return b.String()
}

var errFingerprint = errors.New("the peer's certificate is not the one of its description")

// pinned is a check of a peer's certificate against the fingerprint of its description, which is all that vouches for
// it (RFC 8827 section 6.5).
func pinned(want string) func(raw [][]byte, _ [][]*x509.Certificate) error {
	hash, _, _ := strings.Cut(want, " ")
	return func(raw [][]byte, _ [][]*x509.Certificate) error {
		if len(raw) == 0 || want == "" || fingerprint(hash, raw[0]) != want {
			return errFingerprint
		}
		return nil
	}
}
