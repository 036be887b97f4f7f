package rtsp

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"
	"github.com/bluenviron/gortsplib/v4/pkg/mikey"
	"github.com/pion/srtp/v3"

	"banyan/relay/media"
)

// Some publishers encrypt their media once more inside TLS: gortsplib's clients do wherever the URL is rtsps. They ask
// for the profile RTP/SAVP and send their keys by MIKEY (RFC 3830) in the header KeyMgmt (RFC 7826, appendix C.1.4.1).
// gortsplib's server understands it only where it ends TLS itself, which our listener does. So the SRTP of such a
// publisher is taken off its frames before gortsplib sees them; for gortsplib it is RTP/AVP. Nothing has to be
// encrypted, as gortsplib sends receiver reports over UDP alone.
const (
	profileSRTP  = "RTP/SAVP/TCP"
	profilePlain = "RTP/AVP/TCP"
)

// cipher is the one that is spoken: AES-128 in counter mode with HMAC-SHA1, as RFC 3711 demands of everybody.
const (
	cipher            = srtp.ProtectionProfileAes128CmHmacSha1_80
	keySize, saltSize = 16, 14 // bytes
	replayWindow      = 64     // packets
)

// mediaKeys are the keys of one track.
type mediaKeys struct {
	in     *srtp.Context  // for what the publisher sends; used by the connection's reader alone
	answer *mikey.Message // tells the publisher a key for what it is sent, which it insists on
}

// newMediaKeys reads the publisher's key from the header KeyMgmt, and makes one to answer with.
func newMediaKeys(header base.HeaderValue, now time.Time) (*mediaKeys, error) {
	var offer headers.KeyMgmt
	if err := offer.Unmarshal(header); err != nil {
		return nil, fmt.Errorf("the header KeyMgmt cannot be read: %w", err)
	}
	theirs, err := keyOf(offer.MikeyMessage)
	if err != nil {
		return nil, err
	}
	k := &mediaKeys{answer: reply(offer.MikeyMessage, now)}
	if k.in, err = srtp.CreateContext(theirs[:keySize], theirs[keySize:], cipher,
		srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(replayWindow)); err != nil {
		return nil, err
	}
	for _, source := range offer.MikeyMessage.Header.CSIDMapInfo {
		k.in.SetROC(source.SSRC, source.ROC)
	}
	return k, nil
}

// spoken are the values of a MIKEY policy (RFC 3830, section 6.10.1) that mean our cipher; those that are left away
// do so, too. The length of the authentication key is written as that of the tag by some.
var spoken = map[mikey.PayloadSPPolicyParamType][]byte{
	mikey.PayloadSPPolicyParamTypeEncrAlg:           {1},
	mikey.PayloadSPPolicyParamTypeSessionEncrKeyLen: {keySize},
	mikey.PayloadSPPolicyParamTypeAuthAlg:           {1},
	mikey.PayloadSPPolicyParamTypeSessionAuthKeyLen: {20, 10},
	mikey.PayloadSPPolicyParamTypeSessionSaltKeyLen: {saltSize},
	mikey.PayloadSPPolicyParamTypeSRTPPseudoRandFun: {0},
	mikey.PayloadSPPolicyParamTypeKeyDerRate:        {0},
	mikey.PayloadSPPolicyParamTypeSRTPEncrOffOn:     {1},
	mikey.PayloadSPPolicyParamTypeSenderFECOrder:    {0},
	mikey.PayloadSPPolicyParamTypeSRTPPrefixLen:     {0},
	mikey.PayloadSPPolicyParamTypeSRTCPEncrOffOn:    {1},
	mikey.PayloadSPPolicyParamTypeSRTPAuthOffOn:     {1},
	mikey.PayloadSPPolicyParamTypeAuthTagLen:        {10},
}

// keyOf gives the master key and salt of a message, if its policy is one that is spoken.
func keyOf(message *mikey.Message) ([]byte, error) {
	var key []byte
	for _, payload := range message.Payloads {
		switch p := payload.(type) {
		case *mikey.PayloadSP:
			if !isSpoken(p) {
				return nil, errors.New("of the ciphers of SRTP, AES_CM_128_HMAC_SHA1_80 alone is spoken here")
			}
		case *mikey.PayloadKEMAC:
			if len(p.SubPayloads) != 1 || len(p.SubPayloads[0].KeyData) != keySize+saltSize || key != nil {
				return nil, fmt.Errorf("send one key of %d bytes and its salt of %d", keySize, saltSize)
			}
			key = p.SubPayloads[0].KeyData
		}
	}
	if key == nil {
		return nil, errors.New("the header KeyMgmt has no key")
	}
	return key, nil
}

func isSpoken(policy *mikey.PayloadSP) bool {
	return !slices.ContainsFunc(policy.PolicyParams, func(p mikey.PayloadSPPolicyParam) bool {
		return len(p.Value) != 1 || !slices.Contains(spoken[p.Type], p.Value[0])
	})
}

// reply is a message with a key of ours, under the policy of offer.
func reply(offer *mikey.Message, now time.Time) *mikey.Message {
	key, random := make([]byte, keySize+saltSize), make([]byte, 16)
	_, _ = rand.Read(key) // it does not fail
	_, _ = rand.Read(random)
	m := &mikey.Message{
		Header:   mikey.Header{Version: 1, CSBID: offer.Header.CSBID},
		Payloads: []mikey.Payload{&mikey.PayloadT{TSValue: media.TimeOf(now).NTP()}, &mikey.PayloadRAND{Data: random}},
	}
	for _, payload := range offer.Payloads {
		if policy, is := payload.(*mikey.PayloadSP); is {
			m.Payloads = append(m.Payloads, policy)
		}
	}
	m.Payloads = append(m.Payloads, &mikey.PayloadKEMAC{
		SubPayloads: []*mikey.SubPayloadKeyData{{Type: mikey.SubPayloadKeyDataKeyTypeTEK, KeyData: key}},
	})
	return m
}

// wantsSRTP takes SRTP out of the transport that a publisher asks for over TLS; it tells whether it was in.
func (c *client) wantsSRTP(req *base.Request) bool {
	transport := req.Header["Transport"]
	if req.Method != base.Setup || c.phase != announced || !c.conn.secure || len(transport) != 1 {
		return false
	}
	rest, is := strings.CutPrefix(transport[0], profileSRTP)
	if is {
		req.Header["Transport"] = base.HeaderValue{profilePlain + rest}
	}
	return is
}

// answerSRTP puts SRTP into the answer to SETUP, and takes it off the frames of the channels that it names.
func (c *client) answerSRTP(res *base.Response, transport headers.Transport) error {
	if transport.InterleavedIDs == nil {
		return errors.New("the transport has no channels")
	}
	header, err := headers.KeyMgmt{URL: c.request.URL.String(), MikeyMessage: c.keys.answer}.Marshal()
	if err != nil {
		return err
	}
	res.Header["KeyMgmt"] = header
	res.Header["Transport"] = base.HeaderValue{strings.Replace(res.Header["Transport"][0], profilePlain, profileSRTP, 1)}
	c.conn.decrypt(transport.InterleavedIDs[0], c.keys)
	return nil
}

// channel is an interleaved channel whose frames are SRTP or SRTCP.
type channel struct {
	keys *mediaKeys
	rtcp bool
}

// open decrypts a packet into space; it tells whether the packet is the publisher's, and new.
func (c channel) open(space, packet []byte) (plain []byte, opened bool) {
	var err error
	if c.rtcp {
		plain, err = c.keys.in.DecryptRTCP(space[:0], packet, nil)
	} else {
		plain, err = c.keys.in.DecryptRTP(space[:0], packet, nil)
	}
	return plain, err == nil
}
