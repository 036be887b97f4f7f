package peertest

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/selfsign"
)

// Input is one of class D of the checklists.
type Input struct {
	Name string
	Try  func(*Intruder)
}

// Evil is a payload that nobody may get.
const Evil = "evil, of some length"

// DuringHandshake are inputs of a client that never connects.
var DuringHandshake = []Input{
	{"hello with null cipher", func(x *Intruder) { x.greet(hello{ciphers: []uint16{0x0000, 0x0001, 0xc006}}) }},
	{"hello of 1,000 ciphers", func(x *Intruder) {
		var all []uint16
		for i := range uint16(1000) {
			all = append(all, 0xfa00+i)
		}
		x.greet(hello{ciphers: all})
	}},
	{"hello split in 1-byte fragments", func(x *Intruder) {
		body := hello{ciphers: usual}.body(nil)
		for i := range body {
			x.Send(handshakeRecord(0, uint64(i), fragment{kind: clientHello, size: len(body), offset: i, bytes: body[i : i+1]}))
		}
		x.settle()
	}},
	{"fragment offset past length", func(x *Intruder) {
		x.Send(handshakeRecord(0, 0, fragment{kind: clientHello, size: 10, offset: 1000, bytes: make([]byte, 100)}),
			handshakeRecord(0, 1, fragment{kind: clientHello, size: 0xffffff, offset: 0xfffffe, bytes: make([]byte, 100)}))
		x.settle()
	}},
	{"overlapping fragments", func(x *Intruder) {
		body := hello{ciphers: usual}.body(nil)
		for i := range 20 {
			x.Send(handshakeRecord(0, uint64(i), fragment{kind: clientHello, size: len(body), offset: i, bytes: bytes.Repeat([]byte{byte(i)}, 30)}))
		}
		x.Send(handshakeRecord(0, 99, fragment{kind: clientHello, size: len(body), bytes: body}))
		x.settle()
	}},
	{"unfinished handshake x 10,000", func(x *Intruder) {
		stranger := x.Stranger()
		x.greet(hello{ciphers: usual})
		for i := range 10000 {
			b := handshakeRecord(0, uint64(i+10), fragment{kind: clientHello, sequence: uint16(i), bytes: hello{ciphers: usual, random: uint64(i)}.body(nil)})
			x.Send(b)
			_, _ = stranger.Write(b)
		}
		x.settle()
	}},
	{"certificate of 1 MiB", func(x *Intruder) {
		x.greet(hello{ciphers: usual})
		const size, step = 1 << 20, 1 << 10
		for i := 0; i < size; i += step {
			x.Send(handshakeRecord(0, uint64(10+i/step), fragment{kind: certificateMessage, sequence: 2, size: size, offset: i, bytes: make([]byte, step)}))
		}
		x.settle()
	}},
	{"wrong fingerprint", func(x *Intruder) {
		other, err := selfsign.GenerateSelfSigned()
		if err != nil {
			x.Fatal(err)
		}
		x.attempt(x.client(dtls.WithCertificates(other), dtls.WithSRTPProtectionProfiles(honest...)))
		x.Ended()
	}},
	{"client cert without verify", func(x *Intruder) {
		x.greet(hello{ciphers: usual})
		der := x.certificate.Certificate[0]
		list := append(size24(len(der)), der...)
		x.Send(handshakeRecord(0, 10, fragment{kind: certificateMessage, sequence: 2, bytes: append(size24(len(list)), list...)}),
			handshakeRecord(0, 11, fragment{kind: clientKeyExchange, sequence: 3, bytes: append([]byte{32}, make([]byte, 32)...)}),
			record(20, 0, 12, []byte{1}), record(22, 1, 0, make([]byte, 60)))
		x.settle()
	}},
	{"app data before Finished", func(x *Intruder) {
		x.greet(hello{ciphers: usual})
		x.Send(record(23, 0, 10, []byte(Evil)), record(23, 1, 10, []byte(Evil)))
		x.settle()
	}},
	{"use_srtp absent", func(x *Intruder) {
		x.attempt(x.client(dtls.WithCertificates(x.certificate)))
	}},
	{"unknown profile", func(x *Intruder) { x.greet(hello{ciphers: usual, profile: 0xfefe}) }},
	{"ECDHE_PSK key exchange crafted", func(x *Intruder) {
		x.greet(hello{ciphers: []uint16{0xc037, 0xd001, 0xd002, 0xd005}})
		x.Send(handshakeRecord(0, 10, fragment{kind: clientKeyExchange, sequence: 2, bytes: []byte{0xff, 0xff, 'i', 'd', 200, 1}}),
			handshakeRecord(0, 11, fragment{kind: clientKeyExchange, sequence: 3, bytes: []byte{0xff}}))
		x.settle()
	}},
}

// AfterHandshake are inputs that a session survives.
var AfterHandshake = []Input{
	{"alert fatal from third party", func(x *Intruder) {
		stranger := x.Stranger()
		for epoch := range uint16(2) {
			_, _ = stranger.Write(record(21, epoch, 100, []byte{2, 40}))
		}
	}},
	{"close_notify in clear", func(x *Intruder) { x.Send(record(21, 0, 100, []byte{1, 0}), record(21, 0, 101, []byte{2, 80})) }},
	{"renegotiation", func(x *Intruder) {
		body := hello{ciphers: usual}.body(nil)
		for sequence := range uint16(10) {
			x.Send(handshakeRecord(0, uint64(100+sequence), fragment{kind: clientHello, sequence: sequence, bytes: body}))
		}
		x.Send(handshakeRecord(0, 200, fragment{kind: 0, sequence: 9})) // HelloRequest
	}},
}

// Control is an input that is RTCP, about the given source.
type Control struct {
	Name   string
	Times  int // that it is sent; 0 for once
	Packet func(ssrc uint32) []byte
}

// Playing are inputs of a peer that receives media. All are sealed.
var Playing = []Control{
	{"RTCP length lie", 0, func(ssrc uint32) []byte { return Words(0x81ceffff, 1, ssrc) }},
	{"compound of 400", 0, func(uint32) []byte { return bytes.Repeat(Words(0x80cb0000), 400) }},
	{"NACK of 17 x 1,000", 1000, func(ssrc uint32) []byte {
		b := Words(0x81cd0013, 1, ssrc)
		for i := range uint32(17) {
			b = append(b, Words(i*17<<16|0xffff)...)
		}
		return b
	}},
	{"PLI/FIR 1,000/s", 1000, func(ssrc uint32) []byte {
		return append(Words(0x81ce0002, 1, ssrc), Words(0x84ce0004, 1, 0, ssrc, 7<<24)...)
	}},
	{"REMB 2^63", 0, func(ssrc uint32) []byte {
		return Words(0x8fce0005, 1, 0, 0x52454d42, 1<<24|63<<18|0x3ffff, ssrc)
	}},
	{"TWCC wrong count", 0, func(ssrc uint32) []byte {
		return append(Words(0x8fcd0004, 1, ssrc, 0x0000ffff, 0), Words(0x8fcd0005, 1, ssrc, 0x00000001, 0, 0xffffffff)...)
	}},
	{"SDES no null", 0, func(ssrc uint32) []byte { return Words(0x81ca0002, ssrc, 0x01ff6162) }},
	{"BYE for others' SSRC", 0, func(ssrc uint32) []byte { return Words(0x81cb0001, ssrc) }},
}

// Words are the 32-bit words that RTCP is made of.
func Words(list ...uint32) (b []byte) {
	for _, w := range list {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	return b
}

// Stranger is somebody without a session.
func (x *Intruder) Stranger() net.Conn {
	x.Helper()
	conn, err := net.Dial("udp", x.server)
	if err != nil {
		x.Fatal(err)
	}
	x.Cleanup(func() { _ = conn.Close() })
	return conn
}

// attempt tries to connect, which must fail in the end: the client may not know.
func (x *Intruder) attempt(client *dtls.Conn) {
	ctx, cancel := context.WithTimeout(x.Context(), 300*time.Millisecond)
	defer cancel()
	_ = client.HandshakeContext(ctx)
}
