package link

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"banyan/relay/media"
)

// stranger is a peer of the tests that speaks QUIC by hand.
type stranger struct {
	t       *testing.T
	conn    *quic.Conn
	control *quic.Stream
	in      *bufio.Reader
}

func identity(t *testing.T, key []byte, name string, also ...[]byte) *Identity {
	t.Helper()
	id, err := NewIdentity(key, name, time.Now(), also...)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func transport(t *testing.T) *quic.Transport {
	t.Helper()
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	tr := &quic.Transport{Conn: socket}
	t.Cleanup(func() { tr.Close(); socket.Close() })
	return tr
}

// knock connects to a node as a child would.
func knock(t *testing.T, n *Node, config *tls.Config) (*stranger, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	conn, err := transport(t).Dial(ctx, net.UDPAddrFromAddrPort(n.Addr()), config, quicConfig())
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { conn.CloseWithError(0, "") })
	control, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	return &stranger{t: t, conn: conn, control: control, in: bufio.NewReader(control)}, nil
}

// child is knock with the cluster's key, and past HELLO.
func child(t *testing.T, n *Node) *stranger {
	t.Helper()
	s, err := knock(t, n, identity(t, key, "stranger").config(func(error) {}))
	if err != nil {
		t.Fatal(err)
	}
	s.send(frameHello, hello{leastVersion, lastVersion, "stranger"}.append(nil))
	s.want(frameHello)
	return s
}

func (s *stranger) send(kind byte, body []byte) { s.write(appendFrame(nil, kind, body)) }

func (s *stranger) write(b []byte) { _, _ = s.control.Write(b) }

// want reads frames until one of the kind comes.
func (s *stranger) want(kind byte) []byte {
	s.t.Helper()
	var scratch []byte
	_ = s.control.SetReadDeadline(time.Now().Add(soon))
	for {
		got, body, err := readFrame(s.in, &scratch)
		if err != nil {
			s.t.Fatalf("waiting for a frame of type %#x: %v", kind, err)
		}
		if got == kind {
			return bytes.Clone(body)
		}
	}
}

// header is that of the next group which the parent sends.
func (s *stranger) header() header {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), soon)
	defer cancel()
	stream, err := s.conn.AcceptUniStream(ctx)
	if err != nil {
		s.t.Fatalf("waiting for a group: %v", err)
	}
	r := bufio.NewReader(stream)
	kind, err := r.ReadByte()
	if err != nil || kind != streamGroup {
		s.t.Fatalf("a stream of type %#x, %v; want a group", kind, err)
	}
	h, err := readHeader(r)
	if err != nil {
		s.t.Fatal(err)
	}
	return h
}

// wantCut waits until the other side has closed the connection, and tells with what code.
func (s *stranger) wantCut(code quic.ApplicationErrorCode) {
	s.t.Helper()
	select {
	case <-s.conn.Context().Done():
	case <-time.After(soon):
		s.t.Fatal("the connection was not cut")
	}
	var app *quic.ApplicationError
	if err := context.Cause(s.conn.Context()); !errors.As(err, &app) || !app.Remote || app.ErrorCode != code {
		s.t.Fatalf("the connection ended with %v, want code %d from the other side", err, code)
	}
}

func (s *stranger) beat() {
	go func() {
		for s.conn.Context().Err() == nil {
			s.send(frameHeartbeat, nil)
			time.Sleep(20 * time.Millisecond)
		}
	}()
}

func TestStrangersAreRefused(t *testing.T) {
	original := newReplica(videoID, birth, "ingest")
	newCamera(t, original, 10).shoot(t)
	n, _ := start(t, Config{Node: "ingest", Identity: identity(t, key, "ingest", []byte("the next key of the cluster")),
		Source: shelve(original), Limits: patient})

	none := identity(t, key, "x").config(func(error) {})
	none.Certificates = nil
	otherALPN := identity(t, key, "x").config(func(error) {})
	otherALPN.NextProtos = []string{"h3"}
	forged := identity(t, key, "x")
	forged.leaf.Certificate = append([][]byte{}, identity(t, key, "ingest").leaf.Certificate...) // somebody's certificate without its key
	crowned := identity(t, key, "x")
	ca, signer, err := authority(key)
	if err != nil {
		t.Fatal(err)
	}
	crowned.leaf = tls.Certificate{Certificate: [][]byte{ca.Raw}, PrivateKey: signer}
	trusting := func(c *tls.Config) *tls.Config { // takes any server, as an attacker would
		c.VerifyConnection = nil
		return c
	}
	for _, c := range []struct {
		name   string
		config *tls.Config
	}{
		{"no certificate", trusting(none)},
		{"another key", trusting(identity(t, []byte("the key of another cluster"), "x").config(nil))},
		{"an old key", trusting(identity(t, []byte("the old key of the cluster"), "x").config(nil))},
		{"another protocol", trusting(otherALPN)},
		{"a stolen certificate", trusting(forged.config(nil))},
		{"the authority itself", trusting(crowned.config(nil))},
		{"our own name", trusting(identity(t, key, "ingest").config(nil))},
	} {
		s, err := knock(t, n, c.config)
		if err != nil {
			continue
		}
		s.send(frameHello, hello{leastVersion, lastVersion, "x"}.append(nil))
		s.send(frameSubscribe, subscribe{sub: 1, id: videoID}.append(nil))
		select {
		case <-s.conn.Context().Done():
		case <-time.After(soon):
			t.Errorf("%s: still connected", c.name)
		}
	}
	if original.readers() > 0 {
		t.Error("a stranger got the track")
	}
	if got := counted(t, n, "banyan_link_refused_total"); got < 4 {
		t.Errorf("%v refusals were counted, want at least those of four certificates", got)
	}

	// A node that has the new key already may come.
	newer, _ := start(t, Config{Node: "relay", Limits: patient,
		Identity: identity(t, []byte("the next key of the cluster"), "relay", key)})
	copied := newReplica(videoID, 0)
	follow(t, peer(t, newer, n), 0, nil, copied)
	wantSame(t, original.Log(), copied.Log(), birth)
}

func TestIdentities(t *testing.T) {
	if _, err := NewIdentity([]byte("short"), "a", time.Now()); err == nil || !strings.Contains(err.Error(), "16") {
		t.Errorf("a short key: %v, want an error that says how long one must be", err)
	}
	for _, name := range []string{"", "a b", "a\n", strings.Repeat("a", 65), "é"} {
		if _, err := NewIdentity(key, name, time.Now()); err == nil {
			t.Errorf("the node name %q was accepted", name)
		}
	}
	// Clocks decide nothing.
	for _, now := range []time.Time{time.Unix(-5, 0), time.Now().Add(24 * time.Hour)} {
		id, err := NewIdentity(key, "a", now)
		if err != nil {
			t.Fatal(err)
		}
		n, _ := start(t, Config{Node: "a", Identity: id, Limits: patient})
		p := func() *Peer { c, _ := node(t, "b", nil, patient); return peer(t, c, n) }()
		if err := p.Wait(t.Context()); err != nil {
			t.Errorf("an identity made at %v: %v", now, err)
		}
	}
}

// TestHostileChildren sends what no child sends. Each is cut, and another child does not notice.
func TestHostileChildren(t *testing.T) {
	original := newReplica(videoID, birth, "ingest")
	c := newCamera(t, original, 10)
	limits := patient
	limits.Subscriptions = 8
	n, _ := node(t, "ingest", shelve(original), limits)
	good, _ := node(t, "relay", nil, patient)
	copied := newReplica(videoID, 0)
	follow(t, peer(t, good, n), birth, nil, copied)

	frame := func(kind byte, body []byte) []byte { return appendFrame(nil, kind, body) }
	flood := func() (b []byte) {
		for i := range uint64(3 * subscribeBurst) {
			b = append(b, frame(frameSubscribe, subscribe{sub: i + 1, id: audioID}.append(nil))...)
		}
		return b
	}
	sub := func(s subscribe) []byte { return frame(frameSubscribe, s.append(nil)) }
	for _, bad := range []struct {
		name string
		sent []byte
	}{
		{"garbage", bytes.Repeat([]byte{0xff, 0x13, 0x37}, 1000)},
		{"a frame of 64 MiB", append([]byte{frameSubscribe}, binary.AppendUvarint(nil, 64<<20)...)},
		{"a length without end", append([]byte{frameSubscribe}, bytes.Repeat([]byte{0xff}, 12)...)},
		{"an unknown critical frame", frame(0xf0, nil)},
		{"a parent's frame", frame(frameAccepted, accepted{sub: 1}.append(nil))},
		{"HELLO twice", frame(frameHello, hello{1, 1, "stranger"}.append(nil))},
		{"an empty SUBSCRIBE", frame(frameSubscribe, nil)},
		{"a bad name", sub(subscribe{sub: 1, id: media.TrackID{Stream: "../etc", Format: "source", Kind: media.Video}})},
		{"no kind", sub(subscribe{sub: 1, id: media.TrackID{Stream: "a", Format: "source"}})},
		{"a negative offset", sub(subscribe{sub: 1, id: videoID, from: -1})},
		{"10,000 nodes below", sub(subscribe{sub: 1, id: videoID, below: slices.Repeat([]string{"n"}, 10_000)})},
		{"a node of 64 KiB", sub(subscribe{sub: 1, id: videoID, below: []string{strings.Repeat("n", 60_000)}})},
		{"a subscription twice", append(sub(subscribe{sub: 5, id: audioID}), sub(subscribe{sub: 5, id: audioID})...)},
		{"a subscription 0", sub(subscribe{id: videoID})},
		{"a flood of subscriptions", flood()},
	} {
		before := counted(t, n, "banyan_link_violations_total")
		s := child(t, n)
		go s.write(bad.sent)
		go func() { _, _ = io.Copy(io.Discard, s.in) }()
		s.wantCut(closeViolation)
		eventually(t, bad.name+" is counted", func() bool { return counted(t, n, "banyan_link_violations_total") == before+1 })
	}

	s := child(t, n) // more tracks than it may have
	s.beat()
	for i := range uint64(9) {
		s.send(frameSubscribe, subscribe{sub: i + 1, id: videoID}.append(nil))
	}
	if v, err := decodeRefused(s.want(frameRefused)); err != nil || v.sub != 9 || codes[v.code] != ErrFull {
		t.Errorf("the ninth track of eight: %+v, %v; want it refused as full", v, err)
	}
	for range 20 {
		c.shoot(t)
	}
	wantSame(t, original.Log(), copied.Log(), birth)
}

func TestChildWithoutHello(t *testing.T) {
	n, _ := node(t, "ingest", nil, patient)
	s, err := knock(t, n, identity(t, key, "stranger").config(func(error) {}))
	if err != nil {
		t.Fatal(err)
	}
	s.send(frameHello, hello{leastVersion, lastVersion, "somebody-else"}.append(nil))
	s.wantCut(closeViolation)
}

// TestVersions meets neighbours of other versions.
func TestVersions(t *testing.T) {
	original := newReplica(videoID, birth, "ingest")
	c := newCamera(t, original, 10)
	n, _ := node(t, "ingest", shelve(original), patient)

	s, err := knock(t, n, identity(t, key, "stranger").config(func(error) {}))
	if err != nil {
		t.Fatal(err)
	}
	s.send(frameHello, hello{lastVersion + 1, lastVersion + 3, "stranger"}.append(nil))
	s.wantCut(closeVersion)
	var app *quic.ApplicationError
	if errors.As(context.Cause(s.conn.Context()), &app) && !strings.Contains(app.ErrorMessage, "upgrade") {
		t.Errorf("it was told %q, want what to do", app.ErrorMessage)
	}

	// A field of the next version stands behind all of ours, also where these are zero.
	for _, ours := range []subscribe{{sub: 1, id: videoID}, {sub: 1, id: videoID, from: birth, below: []string{"edge"}, whole: true, after: 7}} {
		got, err := decodeSubscribe(binary.AppendUvarint(ours.append(nil), math.MaxUint64))
		if err != nil || got.whole != ours.whole || got.after != ours.after || got.from != ours.from || len(got.below) != len(ours.below) {
			t.Errorf("%+v with one more field is read as %+v, %v", ours, got, err)
		}
	}

	// Version 2 knew nothing of media time, and version 1 no flags.
	for _, last := range []int{1, 2} {
		old := subscribe{sub: 1, id: videoID, from: birth, whole: true}.append(nil)
		got, err := decodeSubscribe(old[:len(old)-last])
		if err != nil || got.whole != (last == 1) || got.after != 0 || got.from != birth {
			t.Errorf("the frame with the last %d fields missing is read as %+v, %v", last, got, err)
		}
	}

	// The next version says more in each frame, and has frames that we do not know.
	s, err = knock(t, n, identity(t, key, "stranger").config(func(error) {}))
	if err != nil {
		t.Fatal(err)
	}
	more := func(b []byte) []byte { return append(b, "and more"...) }
	s.send(frameHello, more(hello{leastVersion, lastVersion + 1, "stranger"}.append(nil)))
	s.want(frameHello)
	s.beat()
	s.send(0x7f, bytes.Repeat([]byte("news"), 10_000))
	s.send(frameSubscribe, more(subscribe{sub: 1, id: videoID}.append(nil)))
	s.want(frameAccepted)
	c.shoot(t)
	stream, err := s.conn.AcceptUniStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(stream)
	if kind, err := r.ReadByte(); err != nil || kind != streamGroup {
		t.Fatalf("a stream of type %#x, %v; want a group", kind, err)
	}
	h, err := readHeader(r)
	if err != nil || h.sub != 1 || h.first != birth || h.params.Width != 1280 {
		t.Errorf("the group begins with %+v, %v", h, err)
	}
}

// hostileParent listens as node "ingest" and gives each child, past HELLO and with its first subscription, to act.
func hostileParent(t *testing.T, act func(*stranger)) netip.AddrPort {
	t.Helper()
	return parentOf(t, lastVersion+1, frameSubscribe, act)
}

// parentOf is one that says which version is its newest, and waits for another frame.
func parentOf(t *testing.T, newest uint64, awaited byte, act func(*stranger)) netip.AddrPort {
	t.Helper()
	tr := transport(t)
	config := quicConfig()
	l, err := tr.Listen(identity(t, key, "ingest").config(func(error) {}), config)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept(context.Background())
			if err != nil {
				return
			}
			control, err := conn.AcceptStream(context.Background())
			if err != nil {
				continue
			}
			s := &stranger{t: t, conn: conn, control: control, in: bufio.NewReader(control)}
			s.send(frameHello, append(hello{leastVersion, newest, "ingest"}.append(nil), "more"...))
			var scratch []byte
			for kind := byte(0); kind != awaited && err == nil; {
				kind, _, err = readFrame(s.in, &scratch)
			}
			if err == nil {
				act(s)
			}
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return tr.Conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// group opens a stream and writes b.
func (s *stranger) group(b ...[]byte) {
	stream, err := s.conn.OpenUniStream()
	if err != nil {
		return
	}
	_, _ = stream.Write(slices.Concat(b...))
	_ = stream.Close()
}

func groupBytes(h header, packets ...record) []byte {
	body := h.append(nil)
	b := append(binary.AppendUvarint([]byte{streamGroup}, uint64(len(body))), body...)
	state := newGroupState(&h)
	for i := range packets {
		b = state.appendRecord(b, &packets[i])
	}
	return b
}

func goodHeader(number uint64, first int64) header {
	return header{sub: 1, number: number, first: first, params: media.Params{Epoch: 1, Codec: media.H264, ClockRate: 90000}}
}

func packetAt(offset int64) record {
	return record{packet: media.Packet{Offset: offset, Flags: media.Keyframe, Payload: []byte("x")}, age: -1}
}

func TestHostileParents(t *testing.T) {
	wrongEpoch := goodHeader(1, birth+10)
	wrongEpoch.params.Epoch = 0
	older := goodHeader(1, birth+10)
	older.params.Epoch = 4
	newer := goodHeader(0, birth)
	newer.params.Epoch = 5
	unknown := goodHeader(0, birth)
	unknown.sub = 77
	noClock := goodHeader(0, birth)
	noClock.params.ClockRate = 0
	farTime := goodHeader(0, birth)
	farTime.ticks = 1 << 62
	head := groupBytes(goodHeader(0, birth))
	huge := slices.Concat(head, []byte{0, 0, 1, 0, 0}, binary.AppendUvarint(nil, 64<<20), make([]byte, 1000))
	for _, c := range []struct {
		name string
		act  func(*stranger)
	}{
		{"garbage on control", func(s *stranger) { s.write(bytes.Repeat([]byte{0xee}, 300)) }},
		{"a child's frame", func(s *stranger) { s.send(frameSubscribe, subscribe{sub: 1, id: videoID}.append(nil)) }},
		{"an unknown subscription accepted", func(s *stranger) { s.send(frameAccepted, accepted{sub: 9}.append(nil)) }},
		{"packets of an unknown subscription", func(s *stranger) { s.group(groupBytes(unknown, packetAt(birth))) }},
		{"a payload of 64 MiB", func(s *stranger) { s.group(huge) }},
		{"a header of 64 MiB", func(s *stranger) { s.group([]byte{streamGroup}, binary.AppendUvarint(nil, 64<<20)) }},
		{"a number without end", func(s *stranger) { s.group(head, bytes.Repeat([]byte{0xff}, 20)) }},
		{"half a packet", func(s *stranger) { s.group(head, []byte{0, 0, 1}) }},
		{"half a header", func(s *stranger) { s.group(head[:7]) }},
		{"no epoch", func(s *stranger) { s.group(groupBytes(wrongEpoch)) }},
		{"no clock rate", func(s *stranger) { s.group(groupBytes(noClock)) }},
		{"media time of the far future", func(s *stranger) { s.group(groupBytes(farTime)) }},
		{"an epoch that goes back", func(s *stranger) { s.group(groupBytes(newer, packetAt(birth))); s.group(groupBytes(older)) }},
		{"offsets that go back", func(s *stranger) {
			s.group(groupBytes(goodHeader(0, birth), packetAt(birth)))
			s.group(groupBytes(goodHeader(1, birth-5), packetAt(birth-5)))
		}},
		{"a group twice", func(s *stranger) {
			s.group(groupBytes(goodHeader(0, birth), packetAt(birth)))
			s.group(groupBytes(goodHeader(0, birth), packetAt(birth)))
		}},
		{"a jump in a group", func(s *stranger) { s.group(head, binary.AppendUvarint(nil, maxGap+1), make([]byte, 5)) }},
	} {
		n, _ := node(t, "relay", nil, patient)
		ready := make(chan *stranger, 16)
		p := n.Peer("ingest", hostileParent(t, func(s *stranger) { c.act(s); ready <- s }))
		err := p.Follow(t.Context(), videoID, 0, nil, newReplica(videoID, 0))
		if !errors.Is(err, ErrViolation) {
			t.Errorf("%s: %v, want %q", c.name, err, ErrViolation)
		}
		(<-ready).wantCut(closeViolation)
		eventually(t, c.name+" is counted", func() bool { return counted(t, n, "banyan_link_violations_total") >= 1 })
		p.Close()
	}
}

// TestParentOfTheNextVersion has frames and streams that we do not know.
func TestParentOfTheNextVersion(t *testing.T) {
	n, _ := node(t, "relay", nil, patient)
	p := n.Peer("ingest", hostileParent(t, func(s *stranger) {
		s.beat()
		s.send(0x55, []byte("news"))
		s.send(frameAccepted, append(accepted{1, birth, []string{"ingest"}}.append(nil), "more"...))
		s.group([]byte{0x99}, make([]byte, 5000))
		s.group(groupBytes(goodHeader(0, birth), packetAt(birth), packetAt(birth+1)))
	}))
	defer p.Close()
	copied := newReplica(videoID, 0)
	follow(t, p, 0, nil, copied)
	eventually(t, "two packets come", func() bool { return copied.Log().Head() == birth+2 })
	eventually(t, "what is unknown is counted", func() bool { return counted(t, n, "banyan_link_frames_skipped_total") == 2 })
}

func TestWrongNodeAtAnAddress(t *testing.T) {
	parent, _ := node(t, "ingest", nil, patient)
	n, _ := node(t, "relay", nil, patient)
	p := n.Peer("another", parent.Addr())
	defer p.Close()
	err := p.Follow(t.Context(), videoID, 0, nil, newReplica(videoID, 0))
	if !errors.Is(err, ErrSilent) || !strings.Contains(err.Error(), `"ingest"`) {
		t.Errorf("Follow: %v, want an error that names the node which is there", err)
	}
}
