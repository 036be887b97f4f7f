// Package stun is the lite half of ICE connectivity checks: it reads binding requests and writes the answers
// (RFC 8489; RFC 8445 sections 7.3 and 2.5). It knows no socket, sends nothing of its own accord and keeps nothing.
//
//	 0                   1                   2                   3
//	+---+-------------+---------------------------------------------+
//	|0 0|    type     |  length of all attributes, whole words      |
//	+---+-------------+---------------------------------------------+
//	|                     magic cookie 2112A442                     |
//	+---------------------------------------------------------------+
//	|                  transaction id, three words                  |
//	+---------------------------------------------------------------+
//	|  attributes: type, length, value padded to a whole word       |
//
// A request that counts has USERNAME, MESSAGE-INTEGRITY over all before it, and maybe FINGERPRINT as the last
// attribute. Of what follows MESSAGE-INTEGRITY only FINGERPRINT is looked at, as nobody vouches for it.
package stun

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
)

// Sizes and numbers of RFC 8489 sections 5 and 14.
const (
	headerSize      = 20
	attributeHeader = 4
	integritySize   = sha1.Size
	cookie          = 0x2112A442
	fingerprintMask = 0x5354554e
	maxUsername     = 513

	bindingRequest = 0x0001
	bindingSuccess = 0x0101
	bindingError   = 0x0111
)

// Types of attributes (RFC 8489 section 18.3, RFC 8445 section 16.1).
const (
	attrUsername         = 0x0006
	attrIntegrity        = 0x0008
	attrErrorCode        = 0x0009
	attrUnknown          = 0x000a
	attrXORMappedAddress = 0x0020
	attrPriority         = 0x0024
	attrUseCandidate     = 0x0025
	attrFingerprint      = 0x8028
	attrControlled       = 0x8029
	attrControlling      = 0x802a
	optional             = 0x8000 // and above may be ignored when unknown
)

// Why a message is no request that counts.
var (
	ErrFormat   = errors.New("not a STUN message")
	ErrType     = errors.New("not a binding request")
	ErrUnsigned = errors.New("no user name or no integrity")
	ErrCRC      = errors.New("the fingerprint does not match")
)

// Request is a binding request. It refers to the bytes that it was read from.
type Request struct {
	// Username is "ours:theirs", the two ICE user name fragments (RFC 8445 section 7.2.2).
	Username []byte
	// UseCandidate tells that the peer nominates the path that the request came by.
	UseCandidate bool
	// Controlled tells that the peer takes itself for the controlled side, as is a lite agent, always.
	Controlled bool
	// Unknown is the first attribute that must be understood and is not; zero where there is none.
	Unknown uint16

	message   []byte
	integrity int // where MESSAGE-INTEGRITY begins
}

// Is tells whether b may be a STUN message: what else shares a WebRTC port begins with other bytes (RFC 7983).
func Is(b []byte) bool {
	return len(b) >= headerSize && b[0] < 4 && binary.BigEndian.Uint32(b[4:]) == cookie
}

// Parse reads a binding request. It does not vouch for anything in it before Verify does.
func Parse(b []byte) (Request, error) {
	if !Is(b) || len(b)%4 != 0 || int(binary.BigEndian.Uint16(b[2:])) != len(b)-headerSize {
		return Request{}, ErrFormat
	}
	if binary.BigEndian.Uint16(b) != bindingRequest {
		return Request{}, ErrType
	}
	r := Request{message: b}
	for at := headerSize; at < len(b); {
		kind, value, next := attribute(b, at)
		if next > len(b) {
			return Request{}, ErrFormat
		}
		if kind == attrFingerprint {
			if next != len(b) || len(value) != 4 || binary.BigEndian.Uint32(value) != fingerprint(b[:at]) {
				return Request{}, ErrCRC
			}
		} else if r.integrity == 0 {
			if err := r.read(kind, value, at); err != nil {
				return Request{}, err
			}
		}
		at = next
	}
	if r.integrity == 0 || len(r.Username) == 0 {
		return Request{}, ErrUnsigned
	}
	return r, nil
}

// attribute is the one at offset at of b, and where the next begins, which is beyond b where it is cut short.
func attribute(b []byte, at int) (kind uint16, value []byte, next int) {
	kind = binary.BigEndian.Uint16(b[at:]) // whole words: there are at least four bytes
	size := int(binary.BigEndian.Uint16(b[at+2:]))
	next = at + attributeHeader + (size+3)&^3
	if next <= len(b) {
		value = b[at+attributeHeader:][:size]
	}
	return kind, value, next
}

// read notes an attribute that the integrity covers, or the integrity itself.
func (r *Request) read(kind uint16, value []byte, at int) error {
	switch kind {
	case attrUsername:
		if len(value) == 0 || len(value) > maxUsername || r.Username != nil {
			return ErrFormat
		}
		r.Username = value
	case attrIntegrity:
		if len(value) != integritySize {
			return ErrFormat
		}
		r.integrity = at
	case attrUseCandidate:
		r.UseCandidate = true
	case attrControlled:
		r.Controlled = true
	case attrControlling, attrPriority:
	default:
		if kind < optional && r.Unknown == 0 {
			r.Unknown = kind
		}
	}
	return nil
}

// Verify tells whether whoever sent the request knows the password. It takes the same time for all wrong ones.
func (r *Request) Verify(password string) bool {
	value := r.message[r.integrity+attributeHeader:][:integritySize]
	var want [integritySize]byte
	return hmac.Equal(value, integrity(want[:0], r.message[:r.integrity], password))
}

// AppendSuccess appends the answer to r, which came from the given address, signed with the password.
func (r *Request) AppendSuccess(dst []byte, from netip.AddrPort, password string) []byte {
	dst, begin := r.appendHeader(dst, bindingSuccess)
	dst = appendAddress(dst, from, dst[begin+4:][:16])
	return sign(dst, begin, password)
}

// Errors that a lite agent answers with (RFC 8489 section 14.8, RFC 8445 section 7.3.1.1).
const (
	UnknownAttribute = 420
	RoleConflict     = 487
)

// AppendError appends a refusal of r, signed with the password.
func (r *Request) AppendError(dst []byte, code int, password string) []byte {
	dst, begin := r.appendHeader(dst, bindingError)
	dst = append(dst, 0, attrErrorCode, 0, 4, 0, 0, byte(code/100), byte(code%100))
	if code == UnknownAttribute {
		dst = append(dst, 0, attrUnknown, 0, 2)
		dst = binary.BigEndian.AppendUint16(dst, r.Unknown)
		dst = append(dst, 0, 0)
	}
	return sign(dst, begin, password)
}

func (r *Request) appendHeader(dst []byte, kind uint16) (out []byte, begin int) {
	begin = len(dst)
	dst = binary.BigEndian.AppendUint16(dst, kind)
	dst = append(dst, 0, 0) // length: sign knows
	return append(dst, r.message[4:headerSize]...), begin
}

// appendAddress appends XOR-MAPPED-ADDRESS (RFC 8489 section 14.2). mask is the cookie and the transaction id.
func appendAddress(dst []byte, a netip.AddrPort, mask []byte) []byte {
	ip, family := a.Addr().Unmap().AsSlice(), byte(1)
	if len(ip) != 4 {
		family = 2
	}
	dst = append(dst, 0, attrXORMappedAddress, 0, byte(4+len(ip)), 0, family)
	dst = binary.BigEndian.AppendUint16(dst, a.Port()^uint16(cookie>>16))
	for i, octet := range ip {
		dst = append(dst, octet^mask[i])
	}
	return dst
}

// sign ends the message that begins at begin with its integrity and fingerprint.
func sign(dst []byte, begin int, password string) []byte {
	value := integrity(nil, dst[begin:], password)
	dst = append(dst, 0, attrIntegrity, 0, integritySize)
	dst = append(dst, value...)
	const last = attributeHeader + 4
	binary.BigEndian.PutUint16(dst[begin+2:], uint16(len(dst)-begin-headerSize+last))
	sum := fingerprint(dst[begin:])
	dst = append(dst, attrFingerprint>>8, attrFingerprint&0xff, 0, 4)
	return binary.BigEndian.AppendUint32(dst, sum)
}

// integrity appends the MAC of a message up to where its MESSAGE-INTEGRITY begins. The length in the header counts as
// if that were the last attribute (RFC 8489 section 14.5).
func integrity(dst, message []byte, password string) []byte {
	var length [2]byte
	binary.BigEndian.PutUint16(length[:], uint16(len(message)-headerSize+attributeHeader+integritySize))
	mac := hmac.New(sha1.New, []byte(password))
	mac.Write(message[:2])
	mac.Write(length[:])
	mac.Write(message[4:])
	return mac.Sum(dst)
}

// fingerprint is that of a message whose header already counts the attribute itself (RFC 8489 section 14.7).
func fingerprint(message []byte) uint32 { return crc32.ChecksumIEEE(message) ^ fingerprintMask }
