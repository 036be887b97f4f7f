// Package impair is a bad network for tests: a UDP proxy that loses, delays, doubles and reorders what
// passes through it, by the same random numbers every time, so that a failure repeats.
//
// A Line decides the fate of each packet; it is a value without socket and clock, which in-memory
// networks can use too. A Proxy puts one Line into each direction between any number of clients and
// one server. Each client gets a socket of its own towards the server, which so sees as many peers as
// there are.
package impair

import (
	"container/heap"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a proxy.
const (
	maxClients = 64
	maxQueued  = 1 << 14 // packets on their way, per direction
	maxBytes   = 1 << 16
)

// Stats count packets of both directions.
type Stats struct {
	Sent, Lost, Doubled uint64
}

// Proxy stands between clients and a server. Make one with Listen.
type Proxy struct {
	server   netip.AddrPort
	front    *net.UDPConn // clients send here
	up, down *direction
	wg       sync.WaitGroup

	mu      sync.Mutex // guards all below
	clients map[netip.AddrPort]*net.UDPConn
	closed  bool
}

// Listen starts a proxy on a loopback port that the kernel chooses. up is what happens to packets
// towards the server, down to those back. Call Close when done.
func Listen(server netip.AddrPort, up, down Faults, seed uint64) (*Proxy, error) {
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("listen for clients: %w", err)
	}
	p := &Proxy{server: server, front: front, clients: map[netip.AddrPort]*net.UDPConn{}}
	p.up, p.down = newDirection(up, seed), newDirection(down, seed+1)
	p.wg.Go(p.up.run)
	p.wg.Go(p.down.run)
	p.wg.Go(p.readClients)
	return p, nil
}

// Addr is where clients send to.
func (p *Proxy) Addr() netip.AddrPort { return p.front.LocalAddr().(*net.UDPAddr).AddrPort() }

// Set changes the faults of both directions.
func (p *Proxy) Set(up, down Faults) {
	p.up.set(up)
	p.down.set(down)
}

// Stats are what became of the packets so far.
func (p *Proxy) Stats() (up, down Stats) { return p.up.stats(), p.down.stats() }

// Close ends the proxy and waits for what it started. Packets on their way are dropped.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	_ = p.front.Close()
	for _, back := range p.clients {
		_ = back.Close()
	}
	p.mu.Unlock()
	close(p.up.done)
	close(p.down.done)
	p.wg.Wait()
}

// readClients carries what clients send. An error on a UDP socket that is open is about one packet.
func (p *Proxy) readClients() {
	buffer := make([]byte, maxBytes)
	for {
		n, from, err := p.front.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if back := p.client(from); err == nil && back != nil {
			p.up.send(buffer[:n], back.Write)
		}
	}
}

// client is the socket towards the server for a client; nil where there are too many.
func (p *Proxy) client(from netip.AddrPort) *net.UDPConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	back := p.clients[from]
	if back != nil || p.closed || len(p.clients) >= maxClients {
		return back
	}
	back, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(p.server))
	if err != nil {
		return nil
	}
	p.clients[from] = back
	p.wg.Go(func() { p.readServer(back, from) })
	return back
}

// readServer carries what the server sends to one client.
func (p *Proxy) readServer(back *net.UDPConn, client netip.AddrPort) {
	write := func(b []byte) (int, error) { return p.front.WriteToUDPAddrPort(b, client) }
	buffer := make([]byte, maxBytes)
	for {
		n, err := back.Read(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			p.down.send(buffer[:n], write)
		}
	}
}

// direction carries packets one way, each at its time.
type direction struct {
	sent, lost, doubled atomic.Uint64

	wake chan struct{} // something was queued; capacity 1, never closed
	done chan struct{} // closed by Close

	mu    sync.Mutex // guards all below
	line  *Line
	queue queue
	count uint64
}

// parcel is a packet on its way.
type parcel struct {
	at    time.Time
	order uint64 // of sending, between equal times
	data  []byte
	write func([]byte) (int, error)
}

func newDirection(faults Faults, seed uint64) *direction {
	return &direction{line: NewLine(faults, seed), wake: make(chan struct{}, 1), done: make(chan struct{})}
}

func (d *direction) set(faults Faults) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.line.Set(faults)
}

func (d *direction) stats() Stats {
	return Stats{Sent: d.sent.Load(), Lost: d.lost.Load(), Doubled: d.doubled.Load()}
}

// send queues a packet for its time.
func (d *direction) send(data []byte, write func([]byte) (int, error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sent.Add(1)
	times := d.line.Send(time.Now(), len(data))
	if len(times) == 0 || len(d.queue) >= maxQueued {
		d.lost.Add(1)
		return
	}
	d.doubled.Add(uint64(len(times) - 1))
	for _, at := range times {
		d.count++
		heap.Push(&d.queue, parcel{at: at, order: d.count, data: append([]byte(nil), data...), write: write})
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// run delivers until the proxy is closed.
func (d *direction) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(d.deliver(time.Now()))
		select {
		case <-timer.C:
		case <-d.wake:
		case <-d.done:
			return
		}
	}
}

// deliver sends what is due and tells how long nothing else is.
func (d *direction) deliver(now time.Time) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.queue) > 0 {
		if wait := d.queue[0].at.Sub(now); wait > 0 {
			return wait
		}
		p := heap.Pop(&d.queue).(parcel)
		_, _ = p.write(p.data) // a UDP packet that cannot be sent is a lost one
	}
	return time.Hour
}

// queue is a heap by time.
type queue []parcel

func (q queue) Len() int      { return len(q) }
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(parcel)) }
func (q queue) Less(i, j int) bool {
	if q[i].at.Equal(q[j].at) {
		return q[i].order < q[j].order
	}
	return q[i].at.Before(q[j].at)
}
func (q *queue) Pop() any {
	old := *q
	x := old[len(old)-1]
	old[len(old)-1] = parcel{}
	*q = old[:len(old)-1]
	return x
}
