package peertest

import (
	"encoding/binary"
	"slices"
	"time"
)

// DTLS 1.2 by hand (RFC 6347 section 4, RFC 5246 section 7.4), for what no DTLS stack would send.

// Types of handshake messages.
const (
	clientHello, serverHello, helloVerifyRequest = 1, 2, 3
	certificateMessage, clientKeyExchange        = 11, 16
)

// usual are cipher suites that are taken: ECDHE with ECDSA, AES-128 and AES-256 in GCM.
var usual = []uint16{0xc02b, 0xc02c}

// record is a DTLS record.
func record(kind byte, epoch uint16, sequence uint64, body []byte) []byte {
	b := binary.BigEndian.AppendUint64([]byte{kind, 0xfe, 0xfd}, uint64(epoch)<<48|sequence)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(body))), body...)
}

// fragment is part of a handshake message.
type fragment struct {
	kind     byte
	sequence uint16
	size     int // of the whole message; as long as bytes if zero
	offset   int
	bytes    []byte
}

func handshakeRecord(epoch uint16, sequence uint64, f fragment) []byte {
	size := f.size
	if size == 0 {
		size = len(f.bytes)
	}
	b := append([]byte{f.kind}, size24(size)...)
	b = binary.BigEndian.AppendUint16(b, f.sequence)
	b = append(append(b, size24(f.offset)...), size24(len(f.bytes))...)
	return record(22, epoch, sequence, append(b, f.bytes...))
}

func size24(n int) []byte { return []byte{byte(n >> 16), byte(n >> 8), byte(n)} }

// hello is a ClientHello.
type hello struct {
	ciphers []uint16
	profile uint16 // of SRTP; AEAD_AES_128_GCM if zero
	random  uint64
}

func (h hello) body(cookie []byte) []byte {
	b := append([]byte{0xfe, 0xfd}, make([]byte, 24)...)
	b = binary.BigEndian.AppendUint64(b, h.random)
	b = append(b, 0, byte(len(cookie))) // no session id
	b = append(b, cookie...)
	b = binary.BigEndian.AppendUint16(b, uint16(2*len(h.ciphers)))
	for _, c := range h.ciphers {
		b = binary.BigEndian.AppendUint16(b, c)
	}
	b = append(b, 1, 0) // no compression
	profile := h.profile
	if profile == 0 {
		profile = 0x0007
	}
	extensions := []byte{
		0, 10, 0, 4, 0, 2, 0, 29, // supported_groups: x25519
		0, 11, 0, 2, 1, 0, // ec_point_formats: uncompressed
		0, 13, 0, 4, 0, 2, 4, 3, // signature_algorithms: ECDSA with SHA-256
		0, 23, 0, 0, // extended_master_secret
		0xff, 1, 0, 1, 0, // renegotiation_info
		0, 14, 0, 5, 0, 2, byte(profile >> 8), byte(profile), 0, // use_srtp
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(extensions)))
	return append(b, extensions...)
}

// listen delivers what the server says in DTLS. The intruder cannot handshake any more.
func (x *Intruder) listen() <-chan []byte {
	if x.heard == nil {
		x.heard = make(chan []byte, 64)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				b := make([]byte, 2048)
				n, _, err := packetConn{x}.ReadFrom(b)
				if err != nil {
					return
				}
				select {
				case x.heard <- b[:n]:
				default: // nobody listens any more
				}
			}
		}()
		x.Cleanup(func() {
			_ = x.conn.Close()
			<-done
		})
	}
	return x.heard
}

// greet says hello, again with the cookie that is asked for (RFC 6347 section 4.2.1), and hears the server out. A hello
// of the usual ciphers must be answered, or what follows it proves nothing.
func (x *Intruder) greet(h hello) {
	x.Helper()
	most := 200 * time.Millisecond // it may have no answer to an odd one
	sound := slices.Equal(h.ciphers, usual) && h.profile == 0
	if sound {
		most = patience
	}
	x.Send(handshakeRecord(0, 0, fragment{kind: clientHello, bytes: h.body(nil)}))
	for deadline := time.After(most); !x.served; {
		select {
		case b := <-x.listen():
			x.answer(h, b)
		case <-deadline:
			if sound {
				x.Fatal("the server does not answer a sound hello")
			}
			return
		}
		if !sound && x.retried {
			break
		}
	}
	x.settle()
}

// answer deals with what the server says to a hello.
func (x *Intruder) answer(h hello, b []byte) {
	const kind, cookie = 13, 28 // where they stand
	switch {
	case len(b) <= kind || b[0] != 22:
	case b[kind] == serverHello:
		x.served = true
	case b[kind] == helloVerifyRequest && len(b) > cookie && !x.retried:
		x.retried = true
		x.Send(handshakeRecord(0, 1, fragment{kind: clientHello, sequence: 1, bytes: h.body(b[cookie:])}))
	}
}

// settle hears the server out. It proves nothing: it gives the server time to make a mistake.
func (x *Intruder) settle() {
	for most := time.After(200 * time.Millisecond); ; {
		select {
		case <-x.listen():
		case <-time.After(50 * time.Millisecond):
			return
		case <-most:
			return
		}
	}
}

// Hello is a sound ClientHello that begins a handshake; each n makes another.
func Hello(n uint64) []byte {
	return handshakeRecord(0, n, fragment{kind: clientHello, bytes: hello{ciphers: usual, random: n}.body(nil)})
}
