package impair

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"
)

// host is a process of the tests: it answers what it gets with its name, by packets and by streams.
type host struct {
	own, front netip.AddrPort
	packets    *net.UDPConn
}

func newHost(t *testing.T, s *Switch, number byte) *host {
	t.Helper()
	own, front := netip.AddrFrom4([4]byte{127, 0, 1, number}), netip.AddrFrom4([4]byte{127, 0, 2, number})
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(own, 0)))
	if err != nil {
		t.Fatal(err)
	}
	h := &host{own: l.Addr().(*net.TCPAddr).AddrPort()}
	h.front = netip.AddrPortFrom(front, h.own.Port())
	if h.packets, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(h.own)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); h.packets.Close() })
	if err := s.Front(front, h.own); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 16)
				for {
					n, err := c.Read(b)
					if err != nil {
						return
					}
					_, _ = c.Write(b[:n])
				}
			}()
		}
	}()
	return h
}

// echo serves one packet of another host.
func (h *host) echo() {
	b := make([]byte, 16)
	if n, from, err := h.packets.ReadFromUDPAddrPort(b); err == nil {
		_, _ = h.packets.WriteToUDPAddrPort(b[:n], from)
	}
}

// asks sends a packet to another host's front and waits for the answer.
func (h *host) asks(other *host, within time.Duration) error {
	_ = other.packets.SetReadDeadline(time.Now().Add(within))
	answered := make(chan struct{})
	go func() { other.echo(); close(answered) }()
	defer func() { <-answered }()
	if _, err := h.packets.WriteToUDPAddrPort([]byte("hello"), other.front); err != nil {
		return err
	}
	_ = h.packets.SetReadDeadline(time.Now().Add(within))
	_, from, err := h.packets.ReadFromUDPAddrPort(make([]byte, 16))
	if err == nil && from != other.front {
		err = fmt.Errorf("the answer comes from %v", from)
	}
	return err
}

func (h *host) dials(t *testing.T, other *host) *net.TCPConn {
	t.Helper()
	c, err := net.DialTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(h.own.Addr(), 0)), net.TCPAddrFromAddrPort(other.front))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// says sends a word on a stream and waits for it to come back.
func says(c *net.TCPConn, word string, within time.Duration) error {
	_ = c.SetDeadline(time.Now().Add(within))
	if word != "" {
		if _, err := c.Write([]byte(word)); err != nil {
			return err
		}
	}
	_, err := c.Read(make([]byte, 16))
	return err
}

func TestSwitch(t *testing.T) {
	const soon, never = 10 * time.Second, 100 * time.Millisecond
	s := NewSwitch()
	defer s.Close()
	a, b, c := newHost(t, s, 1), newHost(t, s, 2), newHost(t, s, 3)
	stream := a.dials(t, b)
	if err := says(stream, "one", soon); err != nil {
		t.Fatal(err)
	}
	if err := a.asks(b, soon); err != nil {
		t.Fatal(err)
	}

	s.Split([]netip.Addr{a.own.Addr()})
	if err := a.asks(b, never); err == nil {
		t.Error("a packet crossed the split")
	}
	if err := says(stream, "two", never); err == nil {
		t.Error("a stream crossed the split")
	}
	if err := says(a.dials(t, c), "new", never); err == nil {
		t.Error("a new stream crossed the split")
	}
	if err := b.asks(c, soon); err != nil {
		t.Errorf("those of one part: %v", err)
	}

	s.Heal()
	if err := a.asks(b, soon); err != nil {
		t.Errorf("after healing: %v", err)
	}
	if err := says(stream, "", soon); err != nil {
		t.Errorf("the stream does not go on: %v", err)
	}
}

// Of two processes one port may be cut off, while what goes to others, and from others, goes on.
func TestSwitchCutsOnePort(t *testing.T) {
	const soon, never = 10 * time.Second, 100 * time.Millisecond
	s := NewSwitch()
	defer s.Close()
	a, b, c := newHost(t, s, 4), newHost(t, s, 5), newHost(t, s, 6)
	stream := a.dials(t, b)
	s.Cut(a.own.Addr(), b.own)
	if err := a.asks(b, never); err == nil {
		t.Error("a packet crossed the cut")
	}
	if err := says(stream, "one", never); err == nil {
		t.Error("a stream crossed the cut")
	}
	for _, way := range [][2]*host{{b, a}, {c, b}, {a, c}} {
		if err := way[0].asks(way[1], soon); err != nil {
			t.Errorf("from %v to %v, which are not cut off: %v", way[0].own, way[1].own, err)
		}
	}
	s.Heal()
	if err := says(stream, "", soon); err != nil {
		t.Errorf("the stream does not go on: %v", err)
	}
}
