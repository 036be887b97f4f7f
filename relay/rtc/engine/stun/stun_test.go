package stun

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"

	pion "github.com/pion/stun/v4"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The request of RFC 5769 section 2.1; its password is below.
const sample = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74" +
	"002400046e0001ff80290008932ff9b151263b36000600096576746a3a683676592020200008" +
	"00149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf"

const samplePassword = "VOkJxbRl1RmTxUk/WvJxBt"

var from = netip.MustParseAddrPort("192.0.2.1:32853")

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSampleOfTheRFC(t *testing.T) {
	r, err := Parse(unhex(t, sample))
	if err != nil {
		t.Fatal(err)
	}
	if string(r.Username) != "evtj:h6vY" || r.UseCandidate || !r.Controlled || r.Unknown != 0 {
		t.Errorf("read as %+v, want evtj:h6vY, controlled, not nominating", r)
	}
	if !r.Verify(samplePassword) {
		t.Error("the sample's own password does not verify")
	}
	if r.Verify(samplePassword + "x") {
		t.Error("another password verifies")
	}
}

// request is what a controlling peer sends.
func request(t testing.TB, setters ...pion.Setter) []byte {
	t.Helper()
	all := append([]pion.Setter{pion.TransactionID, pion.BindingRequest, pion.NewUsername("ours:theirs")}, setters...)
	m, err := pion.Build(append(all, pion.NewShortTermIntegrity("password"), pion.Fingerprint)...)
	if err != nil {
		t.Fatal(err)
	}
	return m.Raw
}

// TestAnswers has another implementation read the answers.
func TestAnswers(t *testing.T) {
	raw := request(t, pion.RawAttribute{Type: pion.AttrUseCandidate}, pion.RawAttribute{Type: 0x7777, Value: []byte{1}})
	r, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if !r.UseCandidate || r.Unknown != 0x7777 || !r.Verify("password") {
		t.Fatalf("read as %+v", r)
	}
	for _, address := range []netip.AddrPort{from, netip.MustParseAddrPort("[2001:db8::7]:9"), netip.MustParseAddrPort("[::ffff:192.0.2.1]:5")} {
		m := decode(t, r.AppendSuccess([]byte("before"), address, "password")[len("before"):], raw)
		var mapped pion.XORMappedAddress
		if err := mapped.GetFrom(m); err != nil {
			t.Fatal(err)
		}
		if got, _ := netip.AddrFromSlice(mapped.IP); got.Unmap() != address.Addr().Unmap() || mapped.Port != int(address.Port()) {
			t.Errorf("mapped address is %v, want %v", mapped, address)
		}
		if len(m.Raw) > 2*len(raw) {
			t.Errorf("an answer of %d bytes to a request of %d: an amplifier", len(m.Raw), len(raw))
		}
	}
	for _, code := range []int{UnknownAttribute, RoleConflict} {
		m := decode(t, r.AppendError(nil, code, "password"), raw)
		var got pion.ErrorCodeAttribute
		if err := got.GetFrom(m); err != nil || int(got.Code) != code {
			t.Errorf("refused with %v, %v; want %d", got, err, code)
		}
	}
}

// decode reads an answer to raw and checks its signature.
func decode(t *testing.T, answer, raw []byte) *pion.Message {
	t.Helper()
	m := &pion.Message{Raw: answer}
	if err := m.Decode(); err != nil {
		t.Fatal(err)
	}
	if err := m.Check(pion.Fingerprint, pion.NewShortTermIntegrity("password")); err != nil {
		t.Fatalf("the answer's signature: %v", err)
	}
	if !bytes.Equal(m.TransactionID[:], raw[8:20]) {
		t.Error("the answer is to another transaction")
	}
	return m
}

func TestBadRequests(t *testing.T) {
	good := request(t)
	edit := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	unsigned := pion.MustBuild(pion.TransactionID, pion.BindingRequest, pion.NewUsername("a:b")).Raw
	for _, c := range []struct {
		why  string
		b    []byte
		want error
	}{
		{"nothing", nil, ErrFormat},
		{"header cut", good[:19], ErrFormat},
		{"no cookie (RFC 3489)", edit(func(b []byte) []byte { b[4] = 0; return b }), ErrFormat},
		{"length over the packet", edit(func(b []byte) []byte { b[3] += 4; return b }), ErrFormat},
		{"length under the packet", edit(func(b []byte) []byte { b[3] -= 4; return b }), ErrFormat},
		{"not whole words", append(bytes.Clone(good), 0), ErrFormat},
		{"attribute of 65535 bytes", edit(func(b []byte) []byte { b[22], b[23] = 255, 255; return b }), ErrFormat},
		{"indication", edit(func(b []byte) []byte { b[1] = 0x11; return b }), ErrType},
		{"answer", edit(func(b []byte) []byte { b[0] = 1; return b }), ErrType},
		{"another method", edit(func(b []byte) []byte { b[1] = 3; return b }), ErrType},
		{"wrong CRC", edit(func(b []byte) []byte { b[len(b)-1]++; return b }), ErrCRC},
		{"unsigned", unsigned, ErrUnsigned},
		{"no user name", pion.MustBuild(pion.TransactionID, pion.BindingRequest, pion.NewShortTermIntegrity("p")).Raw, ErrUnsigned},
		{"user name of 514 bytes", request(t, pion.RawAttribute{Type: pion.AttrUsername, Value: []byte(strings.Repeat("u", 514))}), ErrFormat},
		{"two user names", request(t, pion.RawAttribute{Type: pion.AttrUsername, Value: []byte("c:d")}), ErrFormat},
		{"integrity of 4 bytes", pion.MustBuild(pion.TransactionID, pion.BindingRequest, pion.NewUsername("a:b"),
			pion.RawAttribute{Type: pion.AttrMessageIntegrity, Value: []byte("1234")}).Raw, ErrFormat},
		{"fingerprint not last", edit(func(b []byte) []byte { b[3] += 4; return append(b, 0x80, 0x22, 0, 0) }), ErrCRC},
	} {
		if _, err := Parse(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.why, err, c.want)
		}
	}
}

// TestUnvouched checks that what follows the integrity changes nothing.
func TestUnvouched(t *testing.T) {
	m := pion.MustBuild(pion.TransactionID, pion.BindingRequest, pion.NewUsername("ours:theirs"), pion.NewShortTermIntegrity("password"))
	m.Add(pion.AttrUseCandidate, nil)
	r, err := Parse(m.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if r.UseCandidate {
		t.Error("a nomination that nobody signed counts")
	}
	if !r.Verify("password") {
		t.Error("what follows the integrity breaks it")
	}
}

func FuzzParse(f *testing.F) {
	b, _ := hex.DecodeString(sample)
	f.Add(b)
	f.Add(request(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Parse(b)
		if err != nil {
			return
		}
		r.Verify("password")
		for _, answer := range [][]byte{r.AppendSuccess(nil, from, "p"), r.AppendError(nil, UnknownAttribute, "p")} {
			m := &pion.Message{Raw: answer}
			if err := m.Decode(); err != nil {
				t.Fatalf("our answer to %x cannot be read: %v", b, err)
			}
			if int(binary.BigEndian.Uint16(answer[2:])) != len(answer)-headerSize {
				t.Fatalf("our answer lies about its length: %x", answer)
			}
		}
	})
}
