package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/pion/dtls/v3"
	"github.com/pion/srtp/v3"

	"banyan/relay/rtc/engine/seal"
)

// profiles are what we protect media with, the cheapest first: AES-GCM costs a server CPU a seventh of the other.
var profiles = []dtls.SRTPProtectionProfile{
	dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AEAD_AES_256_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80,
}

// errProfile is why a handshake fails that succeeded in all but what it is for.
var errProfile = errors.New("the peer accepts none of the ways to protect media that are known here")

const replayWindow = 64 // records of DTLS that may come out of order

// prepare makes the DTLS connection of a session, on which the handshake has not begun.
func prepare(p *pipe, c *certificate, peer description) (*dtls.Conn, error) {
	options := []dtls.Option{
		dtls.WithCertificates(c.Certificate),
		dtls.WithSRTPProtectionProfiles(profiles...),
		dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
		dtls.WithReplayProtectionWindow(replayWindow),
		// Nobody but the fingerprint vouches for a peer's certificate; pinned is all there is to verify.
		dtls.WithInsecureSkipVerify(true),
		dtls.WithVerifyPeerCertificate(pinned(peer.fingerprint)),
	}
	if peer.passive {
		var client []dtls.ClientOption
		for _, o := range options {
			client = append(client, o)
		}
		return dtls.ClientWithOptions(p, p.local, client...)
	}
	// The peer's address has been proved by a check; a cookie would prove it once more, for a round trip.
	server := []dtls.ServerOption{dtls.WithClientAuth(dtls.RequireAnyClientCert), dtls.WithInsecureSkipVerifyHello(true)}
	for _, o := range options {
		server = append(server, o)
	}
	return dtls.ServerWithOptions(p, p.local, server...)
}

// errState is why a session ends whose connection does not tell its state, as each does after its handshake.
var errState = errors.New("DTLS: the connection left no state")

// revive makes a connection of the state that one before was in.
func revive(state *dtls.State, p *pipe, c *certificate) (*dtls.Conn, error) {
	conn, err := dtls.ResumeWithOptions(state, p, p.local, dtls.WithCertificates(c.Certificate), dtls.WithReplayProtectionWindow(replayWindow))
	if err != nil {
		return nil, fmt.Errorf("DTLS: take up the connection again: %w", err)
	}
	return conn, nil
}

// shake does the handshake and returns the session for media.
func shake(ctx context.Context, conn *dtls.Conn, client bool) (*seal.Session, error) {
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("DTLS: %w", err)
	}
	profile, ok := conn.SelectedSRTPProtectionProfile()
	if !ok {
		return nil, errProfile
	}
	state, ok := conn.ConnectionState()
	if !ok {
		return nil, errState
	}
	keys, err := seal.Export(srtp.ProtectionProfile(profile), &state, client)
	if err != nil {
		return nil, err
	}
	return seal.New(srtp.ProtectionProfile(profile), keys)
}
