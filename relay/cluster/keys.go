package cluster

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// minKey is how short a cluster key may be, in bytes. Whoever can guess it is a member.
const minKey = 16

// maxKeys bounds the keys that are accepted at one time: the old, the new, and one that was forgotten. Each costs a
// trial decryption for every foreign packet.
const maxKeys = 4

// key is what is derived from one cluster key.
type key struct {
	packets []byte             // from which each session's packet key is derived
	streams ed25519.PrivateKey // by which nodes recognise each other on streams
}

func deriveKeys(secrets [][]byte) ([]key, error) {
	if len(secrets) > maxKeys {
		return nil, fmt.Errorf("cluster: %d keys are given, and at most %d can be in use: remove those that no node encrypts with any more", len(secrets), maxKeys)
	}
	keys := make([]key, 0, len(secrets))
	for _, secret := range secrets {
		if len(secret) < minKey {
			return nil, fmt.Errorf("cluster.key has %d bytes, and guards the whole cluster: write at least %d random ones, such as `openssl rand -hex 32` prints", len(secret), minKey)
		}
		packets, err := hkdf.Key(sha256.New, secret, nil, "banyan gossip packets 1", 32)
		if err != nil {
			return nil, err
		}
		seed, err := hkdf.Key(sha256.New, secret, nil, "banyan gossip streams 1", ed25519.SeedSize)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key{packets: packets, streams: ed25519.NewKeyFromSeed(seed)})
	}
	return keys, nil
}

// sealer makes the cipher of a session. A session never uses a nonce twice, for it counts its packets, and no two
// sessions share a key, for each has a random ID of 16 bytes.
func (k key) sealer(s session) cipher.AEAD {
	sub, err := hkdf.Key(sha256.New, k.packets, s[:], "session", 32)
	if err != nil {
		panic(err) // only for lengths that are out of range
	}
	block, err := aes.NewCipher(sub)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}

// streamTLS is how nodes talk over streams: TLS 1.3, in which either side proves that it holds the private key which
// follows from the cluster key. There are no names in it and no dates, so no clock matters; TLS brings fresh keys for
// each connection, and with them that a recording is worth nothing.
func streamTLS(keys []key) (*tls.Config, error) {
	var known []ed25519.PublicKey
	for _, k := range keys {
		known = append(known, k.streams.Public().(ed25519.PublicKey))
	}
	certificate := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280 section 4.1.2.5: no expiry
	}
	der, err := x509.CreateCertificate(rand.Reader, certificate, certificate, known[0], keys[0].streams)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: keys[0].streams}},
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{"banyan-gossip/1"},
		ClientAuth:   tls.RequireAnyClientCert,
		// There is no chain of trust to verify: VerifyConnection compares the peer's public key with those that follow
		// from our cluster keys, and the handshake has proved that the peer holds the private one.
		InsecureSkipVerify:     true,
		SessionTicketsDisabled: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 1 && s.NegotiatedProtocol != "" {
				for _, k := range known {
					if k.Equal(s.PeerCertificates[0].PublicKey) {
						return nil
					}
				}
			}
			return errWrongKey
		},
	}, nil
}

var errWrongKey = errors.New("the other node has another cluster key: give all nodes the same cluster.key")
