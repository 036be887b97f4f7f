package impair

import (
	"encoding/binary"
	"net"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// fates sends n packets of 1000 bytes, one per millisecond.
func fates(l *Line, n int) [][]time.Time {
	all := make([][]time.Time, n)
	for i := range all {
		all[i] = l.Send(start.Add(time.Duration(i)*time.Millisecond), 1000)
	}
	return all
}

func count(fates [][]time.Time, copies int) (n int) {
	for _, f := range fates {
		if len(f) == copies {
			n++
		}
	}
	return n
}

func TestLine(t *testing.T) {
	const n = 20000
	within := func(what string, got, want, by int) {
		t.Helper()
		if got < want-by || got > want+by {
			t.Errorf("%s: %d of %d packets, want about %d", what, got, n, want)
		}
	}
	perfect := fates(NewLine(Faults{}, 1), n)
	within("a perfect line loses", count(perfect, 0), 0, 0)
	within("loss", count(fates(NewLine(Faults{Loss: 0.1}, 1), n), 0), n/10, n/100)
	within("a cut line", count(fates(NewLine(Faults{Loss: 1}, 1), n), 0), n, 0)
	within("loss in bursts", count(fates(NewLine(Faults{Loss: 0.1, Burst: 5}, 1), n), 0), n/10, n/40)
	within("duplicates", count(fates(NewLine(Faults{Duplicate: 0.2}, 1), n), 2), n/5, n/50)
	within("half the rate", count(fates(NewLine(Faults{Rate: 4_000_000}, 1), n), 1), n/2, n/50)

	overtaken := 0
	var last time.Time
	for _, f := range fates(NewLine(Faults{Reorder: 0.1, ReorderBy: 20 * time.Millisecond, Jitter: 5 * time.Millisecond}, 1), n) {
		if f[0].Before(last) {
			overtaken++
		}
		last = f[0]
	}
	if overtaken == 0 {
		t.Error("nothing was reordered")
	}
	jitter := fates(NewLine(Faults{Jitter: 50 * time.Millisecond}, 1), n)
	if !slices.IsSortedFunc(jitter, func(a, b []time.Time) int { return a[0].Compare(b[0]) }) {
		t.Error("jitter alone changed the order")
	}
}

func TestSeedsRepeat(t *testing.T) {
	faults := Faults{Loss: 0.1, Duplicate: 0.1, Reorder: 0.1, ReorderBy: time.Second, Jitter: time.Second}
	same := slices.EqualFunc(fates(NewLine(faults, 7), 1000), fates(NewLine(faults, 7), 1000), slices.Equal)
	other := slices.EqualFunc(fates(NewLine(faults, 7), 1000), fates(NewLine(faults, 8), 1000), slices.Equal)
	if !same || other {
		t.Errorf("equal seeds give equal fates: %v; other seeds give the same: %v", same, other)
	}
}

func TestProxyCarriesBothWays(t *testing.T) {
	server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	p, err := Listen(server.LocalAddr().(*net.UDPAddr).AddrPort(), Faults{Duplicate: 1}, Faults{Delay: 5 * time.Millisecond}, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	client, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(p.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	deadline := time.Now().Add(10 * time.Second)
	_ = server.SetDeadline(deadline)
	_ = client.SetDeadline(deadline)

	buffer := make([]byte, 100)
	for i := range uint32(20) {
		if _, err := client.Write(binary.BigEndian.AppendUint32(nil, i)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			n, from, err := server.ReadFromUDPAddrPort(buffer)
			if err != nil || binary.BigEndian.Uint32(buffer[:n]) != i {
				t.Fatalf("server got %x, %v; want packet %d", buffer[:n], err, i)
			}
			if _, err := server.WriteToUDPAddrPort(buffer[:n], from); err != nil {
				t.Fatal(err)
			}
			if n, err = client.Read(buffer); err != nil || binary.BigEndian.Uint32(buffer[:n]) != i {
				t.Fatalf("client got %x, %v; want packet %d", buffer[:n], err, i)
			}
		}
	}
	if up, down := p.Stats(); up.Sent != 20 || up.Doubled != 20 || down.Sent != 40 || down.Lost != 0 {
		t.Errorf("up %+v, down %+v", up, down)
	}
}
