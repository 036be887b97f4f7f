package batch

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t testing.TB, network, addr string) *net.UDPConn {
	t.Helper()
	a, err := net.ResolveUDPAddr(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenUDP(network, a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetReadBuffer(4 << 20) // what the kernel gives will do
	return c
}

func newSocket(t testing.TB, conn *net.UDPConn, options Options) *Socket {
	t.Helper()
	s, err := NewSocket(conn, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // some tests do it
	return s
}

func addrOf(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

// packet number i of n bytes.
func packet(i, n int) []byte {
	b := bytes.Repeat([]byte{byte(i)}, n)
	b[0], b[1] = byte(i>>8), byte(i)
	return b
}

// TestBatch sends packets of many sizes to two peers in turn, and reads them.
func TestBatch(t *testing.T) {
	for _, c := range []struct {
		name, network, addr string
		options             Options
	}{
		{"native", "udp4", "127.0.0.1:0", Options{}},
		{"no runs", "udp4", "127.0.0.1:0", Options{Single: true}},
		{"plain", "udp4", "127.0.0.1:0", Options{Plain: true}},
		{"both families", "udp", ":0", Options{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			socket := newSocket(t, listen(t, c.network, c.addr), c.options)
			b := socket.Batch()
			peers := []*net.UDPConn{listen(t, "udp4", "127.0.0.1:0"), listen(t, "udp4", "127.0.0.1:0")}
			var routes []*Route
			for _, p := range peers {
				r, err := socket.Route(addrOf(p))
				if err != nil {
					t.Fatal(err)
				}
				routes = append(routes, r)
			}
			sizes := []int{1200, 1200, 1200, 700, 1200, 1201, 40, 40, 2, 1200, 1200}
			const rounds = 10
			for round := range rounds {
				for i := range routes {
					for j, n := range sizes {
						b.Add(append(b.Room(MaxDatagram), packet(round*len(sizes)+j, n)...), routes[i])
					}
				}
				b.Flush()
			}
			for _, p := range peers {
				buffer := make([]byte, MaxDatagram)
				_ = p.SetReadDeadline(time.Now().Add(10 * time.Second))
				for i := range rounds * len(sizes) {
					n, err := p.Read(buffer)
					if err != nil {
						t.Fatalf("packet %d: %v", i, err)
					}
					if want := packet(i, sizes[i%len(sizes)]); !bytes.Equal(buffer[:n], want) {
						t.Fatalf("packet %d is %d bytes of %d, want %d of %d", i, n, buffer[1], len(want), want[1])
					}
				}
			}
			got := socket.Counts()
			if want := uint64(2 * rounds * len(sizes)); got.Packets != want || got.Dropped != 0 {
				t.Errorf("counted %+v, want %d packets", got, want)
			}
			t.Logf("%+v", got)
		})
	}
}

// TestLargeRuns sends more than one run may hold, and more runs than one call may have.
func TestLargeRuns(t *testing.T) {
	socket := newSocket(t, listen(t, "udp4", "127.0.0.1:0"), Options{})
	b := socket.Batch()
	peer := listen(t, "udp4", "127.0.0.1:0")
	one, _ := socket.Route(addrOf(peer))
	two, _ := socket.Route(addrOf(peer))
	got := make(chan int)
	const many = 4000
	go func() {
		buffer, n := make([]byte, MaxDatagram), 0
		for n < many+200 {
			_ = peer.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := peer.Read(buffer); err != nil {
				break
			}
			n++
		}
		got <- n
	}()
	for i := range 200 {
		b.Add(append(b.Room(1200), packet(i, 1200)...), one)
		if i%100 == 99 {
			b.Flush()
		}
	}
	for i := range many {
		b.Add(append(b.Room(1200), packet(i, 100)...), []*Route{one, two}[i%2])
		if i%500 == 499 {
			b.Flush()
			time.Sleep(time.Millisecond) // the reader's buffer is not endless
		}
	}
	b.Flush()
	if n := <-got; n != many+200 {
		t.Errorf("%d packets arrive, want %d; %+v", n, many+200, socket.Counts())
	}
}

// TestRefusedRun sends to where a run cannot go, and to others in the same batch.
func TestRefusedRun(t *testing.T) {
	socket := newSocket(t, listen(t, "udp4", "127.0.0.1:0"), Options{})
	b := socket.Batch()
	peer := listen(t, "udp4", "127.0.0.1:0")
	good, _ := socket.Route(addrOf(peer))
	nowhere, _ := socket.Route(netip.MustParseAddrPort("127.0.0.1:0")) // EINVAL, as of ways that take no runs
	for _, r := range []*Route{nowhere, good, nowhere, good} {
		for i := range 3 {
			b.Add(append(b.Room(100), packet(i, 100)...), r)
		}
	}
	b.Flush()
	_ = peer.SetReadDeadline(time.Now().Add(10 * time.Second))
	buffer := make([]byte, 200)
	for i := range 6 {
		if _, err := peer.Read(buffer); err != nil {
			t.Fatalf("packet %d: %v", i, err)
		}
	}
	if c := socket.Counts(); c.Dropped != 6 || c.Packets != 6 || c.Singled == 0 || !nowhere.single || good.single {
		t.Errorf("counted %+v, want 6 packets sent and 6 dropped, and one route without runs", c)
	}
}

// TestReceive reads what several peers send.
func TestReceive(t *testing.T) {
	for _, c := range []struct {
		network, addr string
		options       Options
	}{
		{"udp4", "127.0.0.1:0", Options{}}, {"udp", ":0", Options{}}, {"udp4", "127.0.0.1:0", Options{Plain: true}},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			conn := listen(t, c.network, c.addr)
			to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), addrOf(conn).Port())
			socket := newSocket(t, conn, c.options)
			r := socket.Receiver()
			const peers, each = 3, 20
			sent := map[netip.AddrPort]int{}
			for range peers {
				p := listen(t, "udp4", "127.0.0.1:0")
				for i := range each {
					if _, err := p.WriteToUDPAddrPort(packet(i, 50+i), to); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := p.WriteToUDPAddrPort(make([]byte, MaxDatagram+1), to); err != nil { // to be passed over
					t.Fatal(err)
				}
				sent[addrOf(p)] = 0
			}
			for n := 0; n < peers*each; {
				got, err := r.Receive()
				if err != nil {
					t.Fatal(err)
				}
				for _, d := range got {
					i, ok := sent[d.From]
					if !ok || !bytes.Equal(d.Data, packet(i, 50+i)) {
						t.Fatalf("%d bytes from %v, want packet %d of a peer", len(d.Data), d.From, i)
					}
					sent[d.From]++
					n++
				}
			}
			done := make(chan error)
			go func() {
				for {
					if _, err := r.Receive(); err != nil {
						done <- err
						return
					}
				}
			}()
			if err := socket.Close(); err != nil {
				t.Error(err)
			}
			if err := <-done; err == nil {
				t.Error("no error after the end")
			}
		})
	}
}

// BenchmarkBatch sends frames of ten packets to a peer that does not read.
func BenchmarkBatch(b *testing.B) {
	for name, options := range map[string]Options{"runs": {}, "single": {Single: true}, "plain": {Plain: true}} {
		b.Run(name, func(b *testing.B) {
			socket := newSocket(b, listen(b, "udp4", "127.0.0.1:0"), options)
			batch := socket.Batch()
			var routes []*Route
			for range 100 {
				r, err := socket.Route(addrOf(listen(b, "udp4", "127.0.0.1:0")))
				if err != nil {
					b.Fatal(err)
				}
				routes = append(routes, r)
			}
			b.ReportAllocs()
			b.SetBytes(1200)
			for i := 0; b.Loop(); i++ {
				room := batch.Room(1200)
				batch.Add(room[:1200], routes[i/10%100])
			}
			batch.Flush()
		})
	}
}

// TestReceiveWhatCameMeanwhile reads what came while the receiver rested, though nothing comes after it.
func TestReceiveWhatCameMeanwhile(t *testing.T) {
	conn := listen(t, "udp4", "127.0.0.1:0")
	to := addrOf(conn)
	r := newSocket(t, conn, Options{}).Receiver()
	peer := listen(t, "udp4", "127.0.0.1:0")
	for i := range 100 {
		time.AfterFunc(time.Millisecond, func() { _, _ = peer.WriteToUDPAddrPort(packet(i, 20), to) })
		got, err := r.Receive()
		if err != nil || len(got) != 1 || !bytes.Equal(got[0].Data, packet(i, 20)) {
			t.Fatalf("packet %d: got %d, %v", i, len(got), err)
		}
	}
}
