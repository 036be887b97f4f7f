package link

import (
	"crypto"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// MinKeyBytes is how long a cluster key must be at least.
const MinKeyBytes = 16

// Identity is what nodes of one cluster recognise each other by. Whoever has the cluster key can make one.
type Identity struct {
	node string
	leaf tls.Certificate
	cas  *x509.CertPool
}

// NewIdentity derives the cluster's certificate authority from its key (HKDF-SHA256, Ed25519) and signs a fresh
// certificate for the node with it, whose private key never leaves this process. Identities made of other keys are
// accepted as well if these are given as also: to roll the key of a cluster, give the new one as also everywhere,
// then as key, then drop the old one.
//
// Certificates have no time of their own: clocks of nodes need not agree, and what bounds the life of an identity is
// the cluster key. now stands in the certificate for people to read.
func NewIdentity(key []byte, node string, now time.Time, also ...[]byte) (*Identity, error) {
	if err := checkNode(node); err != nil {
		return nil, fmt.Errorf("make the link identity of node %q: %w", node, err)
	}
	id := &Identity{node: node, cas: x509.NewCertPool()}
	for _, other := range also {
		ca, _, err := authority(other)
		if err != nil {
			return nil, err
		}
		id.cas.AddCert(ca)
	}
	ca, signer, err := authority(key)
	if err != nil {
		return nil, err
	}
	id.cas.AddCert(ca)
	if id.leaf, err = issue(ca, signer, node, now); err != nil {
		return nil, fmt.Errorf("make the link identity of node %q: %w", node, err)
	}
	return id, nil
}

// forever is the end of certificates without one (RFC 5280 section 4.1.2.5), beginning that of time.
var (
	beginning = time.Unix(0, 0).UTC()
	forever   = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
)

// authority is the same on every node with the key: the seed is derived, and Ed25519 signs deterministically.
func authority(key []byte) (*x509.Certificate, crypto.Signer, error) {
	if len(key) < MinKeyBytes {
		return nil, nil, fmt.Errorf("the cluster key has %d bytes: use at least %d random ones", len(key), MinKeyBytes)
	}
	seed, err := hkdf.Key(sha256.New, key, nil, "banyan link authority 1", ed25519.SeedSize)
	if err != nil {
		return nil, nil, fmt.Errorf("derive the link authority: %w", err)
	}
	signer := ed25519.NewKeyFromSeed(seed)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Banyan cluster"},
		NotBefore: beginning, NotAfter: forever,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		return nil, nil, fmt.Errorf("make the link authority: %w", err)
	}
	ca, err := x509.ParseCertificate(der)
	return ca, signer, err
}

func issue(ca *x509.Certificate, signer crypto.Signer, node string, now time.Time) (tls.Certificate, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: node},
		NotBefore: later(now.UTC(), beginning), NotAfter: forever,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, ca, public, signer)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, nil
}

// config is used on both sides. The standard checks look for a host name and at the clock, so they are replaced by
// verify, on each connection: there is no resumption, so keys are fresh each time. refused hears of peers that were
// turned away.
func (id *Identity) config(refused func(error)) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{id.leaf}, MinVersion: tls.VersionTLS13, NextProtos: []string{protocolName},
		ClientAuth: tls.RequestClientCert, InsecureSkipVerify: true, SessionTicketsDisabled: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := id.verify(state)
			if err != nil {
				refused(err)
			}
			return err
		},
	}
}

// verify returns the name of the node on the other side of a connection.
func (id *Identity) verify(state tls.ConnectionState) (node string, err error) {
	if len(state.PeerCertificates) == 0 {
		return "", errors.New("the peer has no certificate")
	}
	leaf := state.PeerCertificates[0]
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots: id.cas, CurrentTime: leaf.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return "", fmt.Errorf("the peer's certificate was not made with this cluster's key; give all nodes the same cluster.key: %w", err)
	}
	if leaf.IsCA {
		return "", errors.New("the peer shows the cluster's authority for its own certificate")
	}
	node = leaf.Subject.CommonName
	return node, checkNode(node)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
