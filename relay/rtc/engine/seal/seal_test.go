package seal

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var profiles = []srtp.ProtectionProfile{
	srtp.ProtectionProfileAeadAes128Gcm, srtp.ProtectionProfileAeadAes256Gcm, srtp.ProtectionProfileAes128CmHmacSha1_80,
}

// random stands for a finished handshake.
type random []byte

func (r random) ExportKeyingMaterial(_ string, _ []byte, n int) ([]byte, error) { return r[:n], nil }

func handshake() random {
	b := make(random, 128)
	_, _ = rand.Read(b) // it does not fail
	return b
}

// pair is a session of ours and the peer's two contexts.
func pair(t testing.TB, profile srtp.ProtectionProfile) (ours *Session, hears, says *srtp.Context) {
	t.Helper()
	secret := handshake()
	keys, err := Export(profile, secret, false)
	if err != nil {
		t.Fatal(err)
	}
	if ours, err = New(profile, keys); err != nil {
		t.Fatal(err)
	}
	theirs, err := Export(profile, secret, true)
	if err != nil {
		t.Fatal(err)
	}
	context := func(key, salt []byte) *srtp.Context {
		c, err := srtp.CreateContext(key, salt, profile, srtp.SRTPReplayProtection(64))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	return ours, context(theirs.RemoteMasterKey, theirs.RemoteMasterSalt), context(theirs.LocalMasterKey, theirs.LocalMasterSalt)
}

func header(ssrc uint32, seq uint16, extended bool) rtp.Header {
	h := rtp.Header{Version: 2, PayloadType: 96, SSRC: ssrc, SequenceNumber: seq, Timestamp: uint32(seq) * 90}
	if extended {
		_ = h.SetExtension(3, []byte{1, 2}) // it does not fail
	}
	return h
}

// TestSeal has another implementation open what was sealed, beyond where sequence numbers wrap, with some lost there.
func TestSeal(t *testing.T) {
	for _, profile := range profiles {
		t.Run(fmt.Sprint(profile), func(t *testing.T) {
			ours, hears, _ := pair(t, profile)
			room := make([]byte, 2048)
			for index := uint64(30000); index < 1<<16+200; index++ {
				h := header(7, uint16(index), index%3 == 0)
				n, err := h.MarshalTo(room)
				if err != nil {
					t.Fatal(err)
				}
				payload := bytes.Repeat([]byte{byte(index)}, int(index%1200))
				if index%2 == 0 { // where it lies already
					payload = append(room[:n:len(room)], payload...)[n:]
				}
				sealed, err := ours.Seal(room[:n], payload, 7, index)
				if err != nil {
					t.Fatal(err)
				}
				if len(sealed) > n+len(payload)+Overhead || &sealed[0] != &room[0] {
					t.Fatalf("sealed to %d bytes elsewhere", len(sealed))
				}
				if index > 30100 && index < 65500 || index > 65530 && index < 65540 {
					continue // lost on the way
				}
				var got rtp.Packet
				opened, err := hears.DecryptRTP(nil, sealed, nil)
				if err != nil {
					t.Fatalf("packet %d: %v", index, err)
				}
				if err := got.Unmarshal(opened); err != nil {
					t.Fatal(err)
				}
				want := bytes.Repeat([]byte{byte(index)}, int(index%1200))
				if !bytes.Equal(got.Payload, want) || got.SequenceNumber != h.SequenceNumber {
					t.Fatalf("packet %d arrives as other bytes", index)
				}
			}
		})
	}
}

// TestSealFar has another implementation open what was sealed where the rollover counter needs more than 16 bits, up to the
// end of what it counts.
func TestSealFar(t *testing.T) {
	for _, profile := range []srtp.ProtectionProfile{srtp.ProtectionProfileAeadAes128Gcm, srtp.ProtectionProfileAeadAes256Gcm} {
		for _, rollovers := range []uint32{0, 1, 0x7fff, 0xffff, 0x10000, 1 << 31, 1<<32 - 2} {
			ours, hears, _ := pair(t, profile)
			hears.SetROC(7, rollovers)
			from := uint64(rollovers)<<16 + 65500
			for index := from; index < from+100; index++ {
				h := header(7, uint16(index), false)
				room := make([]byte, 200)
				n, err := h.MarshalTo(room)
				if err != nil {
					t.Fatal(err)
				}
				sealed, err := ours.Seal(room[:n], []byte("sealed"), 7, index)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := hears.DecryptRTP(nil, sealed, nil); err != nil {
					t.Fatalf("%v, packet %d after %d rollovers: %v", profile, uint16(index), rollovers, err)
				}
			}
		}
	}
}

// TestControl passes RTCP both ways.
func TestControl(t *testing.T) {
	for _, profile := range profiles {
		ours, hears, says := pair(t, profile)
		plain, err := rtcp.Marshal([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: 9}})
		if err != nil {
			t.Fatal(err)
		}
		room := append(make([]byte, 0, 256), plain...)
		sealed, err := ours.SealControl(room)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := hears.DecryptRTCP(nil, sealed, nil); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%v: sent as %x, %v; want %x", profile, got, err, plain)
		}
		packet, err := says.EncryptRTCP(nil, plain, nil)
		if err != nil {
			t.Fatal(err)
		}
		forged := bytes.Clone(packet)
		forged[9] ^= 1
		if _, err := ours.Open(forged); err == nil {
			t.Errorf("%v: a forged packet opens", profile)
		}
		if got, err := ours.Open(bytes.Clone(packet)); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%v: received as %x, %v; want %x", profile, got, err, plain)
		}
		if _, err := ours.Open(packet); err == nil {
			t.Errorf("%v: a packet opens twice", profile)
		}
		for n := range packet {
			if _, err := ours.Open(bytes.Clone(packet[:n])); err == nil {
				t.Errorf("%v: the first %d bytes of a packet open", profile, n)
			}
		}
	}
}

func TestNoRoom(t *testing.T) {
	ours, _, _ := pair(t, profiles[0])
	packet := make([]byte, 12, 12+100+Overhead-1)
	if _, err := ours.Seal(packet, make([]byte, 100), 1, 1); !errors.Is(err, ErrRoom) {
		t.Errorf("sealed into too little room: %v", err)
	}
	if _, err := ours.SealControl(make([]byte, 12)); !errors.Is(err, ErrRoom) {
		t.Errorf("control sealed into too little room: %v", err)
	}
}

func BenchmarkSeal(b *testing.B) {
	for _, profile := range profiles {
		b.Run(fmt.Sprint(profile), func(b *testing.B) {
			ours, _, _ := pair(b, profile)
			room, payload := make([]byte, 2048), make([]byte, 1188)
			h := header(7, 0, false)
			b.SetBytes(int64(len(payload)))
			b.ReportAllocs()
			for index := uint64(0); b.Loop(); index++ {
				h.SequenceNumber = uint16(index)
				n, _ := h.MarshalTo(room)
				if _, err := ours.Seal(room[:n], payload, 7, index); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
