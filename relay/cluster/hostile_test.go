package cluster

import (
	"bytes"
	"compress/lzw"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"banyan/relay/tree"
)

// insider is a hostile node that has the key: memberlist over our transport, and nothing between it and the line.
type insider struct {
	list *memberlist.Memberlist
	t    *transport
	d    *insiderDelegate
}

type insiderDelegate struct {
	meta, state []byte
}

func (d *insiderDelegate) NodeMeta(int) []byte             { return d.meta }
func (d *insiderDelegate) NotifyMsg([]byte)                {}
func (d *insiderDelegate) GetBroadcasts(_, _ int) [][]byte { return nil }
func (d *insiderDelegate) LocalState(bool) []byte          { return d.state }
func (d *insiderDelegate) MergeRemoteState([]byte, bool)   {}

func newInsider(t *testing.T, name string, meta, state []byte) *insider {
	t.Helper()
	m, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := newTransport(&Config{Addr: "127.0.0.1:0", Keys: [][]byte{testKey}, network: machine{}}, m)
	if err != nil {
		t.Fatal(err)
	}
	tr.start()
	d := &insiderDelegate{meta: meta, state: state}
	config := memberlist.DefaultLocalConfig()
	config.Name, config.Transport, config.Delegate, config.LogOutput = name, tr, d, io.Discard
	config.DelegateProtocolMin, config.DelegateProtocolMax, config.DelegateProtocolVersion = 1, 1, 1
	config.PushPullInterval, config.EnableCompression = 0, false
	list, err := memberlist.Create(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { list.Shutdown() })
	return &insider{list: list, t: tr, d: d}
}

func (i *insider) dial(t *testing.T, to *testNode) net.Conn {
	t.Helper()
	conn, err := i.t.DialTimeout(to.Addr().String(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// refusals waits until the node has refused something for a reason.
func (n *testNode) refusals(why refusal, least float64) {
	n.t.Helper()
	for end := time.Now().Add(patience); counterValue(n.metrics.refusals.WithLabelValues(string(why))) < least; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			n.t.Fatalf("%q was counted %v times, want %v", why, counterValue(n.metrics.refusals.WithLabelValues(string(why))), least)
		}
	}
}

// refusesJoin lets an insider join until the node has refused something that it says; on a busy machine its attempts
// may run out of time.
func (n *testNode) refusesJoin(i *insider) {
	n.t.Helper()
	counter := n.metrics.refusals.WithLabelValues(string(refusedMessage))
	before := counterValue(counter)
	for end := time.Now().Add(patience); counterValue(counter) == before; time.Sleep(20 * time.Millisecond) {
		i.list.Join([]string{n.Addr().String()})
		if time.Now().After(end) {
			n.t.Fatal("nothing of what the insider says was refused")
		}
	}
}

// well checks that a node still does what it is there for.
func (n *testNode) well(other *testNode) {
	n.t.Helper()
	id := fmt.Sprint("well/", rand.Int64())
	other.Announce([]tree.Track{video(id)})
	n.eventually("a new track after all that", func(v *tree.View) bool {
		for _, track := range v.Tracks {
			if string(track.ID.Stream) == id {
				return true
			}
		}
		return false
	})
}

func TestGarbageOnTheLine(t *testing.T) {
	all := family(t, 2)
	conn, err := net.Dial("udp", all[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 2000 {
		b := make([]byte, random.IntN(1400)+1)
		for j := range b {
			b[j] = byte(random.Uint32())
		}
		if i%2 == 0 {
			b[0] = byte(1 + i/2%3)
		}
		conn.Write(b)
		if i%50 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	all[0].refusals(refusedKey, 100)
	all[0].refusals(refusedGarbage, 100)
	// Streams that say nothing, nonsense, or are more than there is room for.
	var idle []net.Conn
	for i := range 3 * maxStreamsFrom {
		c, err := net.Dial("tcp", all[0].Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i%2 == 0 {
			c.Write(bytes.Repeat([]byte{6}, 100))
		}
		idle = append(idle, c)
	}
	all[0].refusals(refusedBusy, 1)
	all[0].refusals(refusedStream, 1)
	for _, c := range idle {
		c.Close()
	}
	all[0].well(all[1])
}

func TestHostileInsider(t *testing.T) {
	all := family(t, 2)
	meta := func(name string) []byte {
		b, err := encodeMeta(&tree.Node{Name: name, Boot: 1})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, i := range map[string]*insider{
		"meta of nonsense":   newInsider(t, "evil", bytes.Repeat([]byte{0xff}, 512), nil),
		"no meta":            newInsider(t, "evil", nil, nil),
		"a name of 2 KiB":    newInsider(t, strings.Repeat("n", 2048), meta("n"), nil),
		"a name of 64 KiB":   newInsider(t, strings.Repeat("n", 65536), meta("n"), nil),
		"a name with quotes": newInsider(t, "<script>", meta("n"), nil),
	} {
		all[0].refusesJoin(i)
		if v := all[0].View(); len(v.Nodes) != 2 {
			t.Errorf("%s: %s", name, describe(v))
		}
	}
	// States that lie about their size, and messages that are none.
	for _, state := range [][]byte{{}, {9}, {1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, bytes.Repeat([]byte{1}, 1<<20)} {
		i := newInsider(t, "evil", meta("evil"), state)
		if len(state) > 0 {
			all[0].refusesJoin(i)
		} else {
			i.list.Join([]string{all[0].Addr().String()})
		}
		i.list.SendToAddress(memberlist.Address{Addr: all[0].Addr().String()}, bytes.Repeat([]byte{1}, 100))
		i.list.Shutdown()
	}
	all[0].eventually("the insiders gone", nodes(2))
	all[0].well(all[1])
}

// An exchange in which somebody brings 10,000 nodes with 10,000 tracks costs bounded memory and time.
func TestManyFakes(t *testing.T) {
	all := family(t, 2)
	i := newInsider(t, "evil", func() []byte { b, _ := encodeMeta(&tree.Node{Name: "evil", Boot: 1}); return b }(), fakeState(10_000, 10_000))
	began := time.Now()
	if _, err := i.list.Join([]string{all[0].Addr().String()}); err != nil {
		t.Fatal(err)
	}
	all[0].eventually("the one that brings them", nodes(3))
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		all[0].mu.Lock()
		tracks, ledgers := all[0].registry.tracks, len(all[0].registry.ledgers)
		all[0].mu.Unlock()
		if tracks >= 10_000 {
			t.Logf("%d tracks in %d ledgers after %v; none of them seen: %s", tracks, ledgers, time.Since(began).Round(time.Millisecond), describe(all[0].View()))
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d tracks arrived", tracks)
		}
	}
	if v := all[0].View(); len(v.Tracks) != 0 {
		t.Errorf("tracks of nodes that do not live are seen: %s", describe(v))
	}
	if n := all[0].queue.NumQueued(); n > maxQueued {
		t.Errorf("%d records wait to be spread", n)
	}
	all[0].well(all[1])
}

func fakeState(nodes, tracks int) []byte {
	var fakes []announcement
	for i := range nodes {
		a := announcement{Node: fmt.Sprint("fake", i), Boot: 1, Complete: 5}
		for j := range tracks / nodes {
			a.Records = append(a.Records, record{Version: uint64(j + 1), Track: video(fmt.Sprint("fake/", j))})
		}
		fakes = append(fakes, a)
	}
	return encodeState(fakes)
}

// memberlist unpacks compressed messages, and so would a stream from an insider be.
func TestBomb(t *testing.T) {
	all := family(t, 2)
	i := newInsider(t, "evil", nil, nil)
	var packed bytes.Buffer
	w := lzw.NewWriter(&packed, lzw.LSB, 8)
	zeros := make([]byte, 1<<20)
	for range 64 {
		w.Write(zeros)
	}
	w.Close()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	// msgpack: {Algo: 0, Buf: bin32}, see memberlist's compress.
	b := []byte{9, 0x82, 0xa4}
	b = append(append(b, "Algo"...), 0, 0xa3)
	b = append(append(b, "Buf"...), 0xc6)
	b = binary.BigEndian.AppendUint32(b, uint32(packed.Len()))
	b = append(b, packed.Bytes()...)
	conn := i.dial(t, all[0])
	defer conn.Close()
	conn.Write(b)
	conn.SetReadDeadline(time.Now().Add(patience))
	io.Copy(io.Discard, conn) // until it has enough of us
	runtime.ReadMemStats(&after)
	t.Logf("a bomb of 64 MiB in %d bytes made it allocate %d KiB", packed.Len(), (after.TotalAlloc-before.TotalAlloc)>>10)
	all[0].refusals(refusedMessage, 1)
	all[0].well(all[1])
}

// A stream that comes without a certificate, or with one of a key of its own, ends in the handshake.
func TestStreamsNeedTheKey(t *testing.T) {
	n := start(t, "n")
	other, err := deriveKeys([][]byte{[]byte("some other key that nobody knows")})
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := streamTLS(other)
	if err != nil {
		t.Fatal(err)
	}
	wrong.VerifyConnection = nil // it does not care whom it talks to
	bare := wrong.Clone()
	bare.Certificates = nil
	for name, config := range map[string]*tls.Config{"no certificate": bare, "another key": wrong} {
		raw, err := net.Dial("tcp", n.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn := tls.Client(raw, config)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		err = conn.HandshakeContext(ctx)
		if err == nil { // in TLS 1.3 the client is done before the server has judged it
			conn.SetReadDeadline(time.Now().Add(patience))
			_, err = conn.Read(make([]byte, 1))
		}
		if err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("%s: %v, want to be cut off", name, err)
		}
		cancel()
		raw.Close()
	}
	n.refusals(refusedStream, 2)
}
