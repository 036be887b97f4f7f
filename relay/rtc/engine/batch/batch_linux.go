package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockaddr is an address as the kernel reads it.
type sockaddr struct {
	raw  unix.RawSockaddrInet6 // larger than that of IPv4
	size uint32
}

func (s *sockaddr) set(a netip.AddrPort, wide bool) {
	ip := a.Addr()
	if !wide {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.raw))
		v4.Family, v4.Addr = unix.AF_INET, ip.As4()
		putPort(&v4.Port, a.Port())
		s.size = unix.SizeofSockaddrInet4
		return
	}
	s.raw.Family, s.raw.Addr = unix.AF_INET6, ip.As16()
	if scope, err := strconv.ParseUint(ip.Zone(), 10, 32); err == nil { // as get writes it
		s.raw.Scope_id = uint32(scope)
	}
	putPort(&s.raw.Port, a.Port())
	s.size = unix.SizeofSockaddrInet6
}

func (s *sockaddr) get() (netip.AddrPort, bool) {
	switch s.raw.Family {
	case unix.AF_INET:
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.raw))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), port(&v4.Port)), true
	case unix.AF_INET6:
		ip := netip.AddrFrom16(s.raw.Addr).Unmap()
		if s.raw.Scope_id != 0 && ip.Is6() {
			ip = ip.WithZone(strconv.FormatUint(uint64(s.raw.Scope_id), 10))
		}
		return netip.AddrPortFrom(ip, port(&s.raw.Port)), true
	}
	return netip.AddrPort{}, false
}

// Ports lie in network order in fields of the machine's.
func putPort(field *uint16, p uint16) {
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(field))[:], p)
}
func port(field *uint16) uint16 { return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(field))[:]) }

// mmsghdr is struct mmsghdr of sendmmsg(2) and recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32 // bytes that were sent or received
}

// mmsgWire is a socket that Go's poller does not know. The poller would be told of every packet that has left the
// socket, as that makes room for another: thousands of wake-ups a second, for nothing.
//
// Its system calls do not wait, and are made without telling Go's scheduler (RawSyscall6). Each that the scheduler is
// told of makes its monitor look every few microseconds, for milliseconds, whether that call has got stuck: with a call per turn,
// a quarter of all CPU time was the monitor's.
type mmsgWire struct {
	fd       int
	segments bool // the kernel knows UDP_SEGMENT, which it does since 4.18
	arrivals *arrivals

	// Held for reading through each system call, which closes over it; close holds it for writing.
	mu     sync.RWMutex
	closed atomic.Bool
}

// sendPatience is how long a sender waits for room in the socket's buffer until it looks whether that was closed.
const sendPatience = 500 * time.Millisecond

func newWire(conn *net.UDPConn) (wire, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("use the socket: %w", err)
	}
	w := &mmsgWire{}
	failed := raw.Control(func(fd uintptr) { w.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(failed, err); err != nil {
		return nil, fmt.Errorf("take the socket over: %w", err)
	}
	_ = conn.Close() // its descriptor, not the socket
	if w.arrivals, err = newArrivals(w.fd); err != nil {
		_ = unix.Close(w.fd) // why it came to this says more
		return nil, fmt.Errorf("watch the socket: %w", err)
	}
	_, err = unix.GetsockoptInt(w.fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
	w.segments = err == nil
	return w, nil
}

func (w *mmsgWire) close() error {
	if w.closed.Swap(true) {
		return net.ErrClosed
	}
	err := w.arrivals.file.Close() // wakes the reader
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(err, unix.Close(w.fd))
}

// hold keeps the descriptor open until release.
func (w *mmsgWire) hold() bool {
	w.mu.RLock()
	if w.closed.Load() {
		w.mu.RUnlock()
		return false
	}
	return true
}

func (w *mmsgWire) runs() bool { return w.segments }

func (w *mmsgWire) release() { w.mu.RUnlock() }

func (w *mmsgWire) write(packet []byte, to *Route) error {
	if len(packet) == 0 || !w.hold() {
		return net.ErrClosed
	}
	defer w.release()
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(w.fd), uintptr(unsafe.Pointer(&packet[0])), uintptr(len(packet)),
		unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(&to.name.raw)), uintptr(to.name.size))
	if errno != 0 {
		return errno
	}
	return nil
}

// mmsgSender sends by sendmmsg and, where the kernel knows it, UDP_SEGMENT.
type mmsgSender struct {
	socket *Socket
	wire   *mmsgWire

	// What the kernel reads; made once, filled anew for each call.
	messages []mmsghdr
	vectors  []unix.Iovec
	controls [][controlSize]byte
	waits    [1]unix.PollFd
}

const controlSize = (unix.SizeofCmsghdr + 2 + 7) &^ 7 // of one option of two bytes, aligned

func (w *mmsgWire) sender(s *Socket) sender {
	m := &mmsgSender{
		socket: s, wire: w,
		messages: make([]mmsghdr, maxRuns), vectors: make([]unix.Iovec, maxRuns), controls: make([][controlSize]byte, maxRuns),
		waits: [1]unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLOUT}},
	}
	for i := range m.messages {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&m.controls[i]))
		h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
		h.SetLen(unix.CmsgLen(2))
		m.messages[i].hdr.Iov = &m.vectors[i]
		m.messages[i].hdr.SetIovlen(1)
	}
	return m
}

// send sends runs, as many at a time as the kernel takes. Where it stops at one, the ones after that go on.
func (m *mmsgSender) send(arena []byte, runs []run) {
	for i := range runs {
		m.fill(i, arena, &runs[i])
	}
	for from := 0; from < len(runs); {
		sent, err := m.call(m.messages[from:len(runs)])
		m.account(runs[from : from+sent])
		from += sent
		switch {
		case errors.Is(err, net.ErrClosed):
			m.count(0, 0, 0, packetsOf(runs[from:]))
			return
		case err != nil:
			m.refused(arena, &runs[from], err)
			from++
		}
	}
}

// fill makes message i of a run.
func (m *mmsgSender) fill(i int, arena []byte, r *run) {
	v, h := &m.vectors[i], &m.messages[i].hdr
	v.Base = &arena[r.from]
	v.SetLen(r.to - r.from)
	h.Name, h.Namelen = (*byte)(unsafe.Pointer(&r.route.name.raw)), r.route.name.size
	if r.packets == 1 {
		h.Control = nil
		h.SetControllen(0)
		return
	}
	*(*uint16)(unsafe.Pointer(&m.controls[i][unix.SizeofCmsghdr])) = uint16(r.segment)
	h.Control = &m.controls[i][0]
	h.SetControllen(controlSize)
}

// call is one system call. An error is about the first message. Where the socket's buffer is full it waits: others send
// from it, too, and it empties at the speed of the network.
func (m *mmsgSender) call(messages []mmsghdr) (sent int, err error) {
	for {
		if !m.wire.hold() {
			return 0, net.ErrClosed
		}
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(m.wire.fd), uintptr(unsafe.Pointer(&messages[0])), uintptr(len(messages)),
			unix.MSG_DONTWAIT, 0, 0)
		if errno == unix.EAGAIN {
			_, _ = unix.Poll(m.waits[:], int(sendPatience/time.Millisecond)) // the next call says what is wrong
		}
		m.wire.release()
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR, unix.EAGAIN:
		default: // had a message gone before, it would have been a success
			return 0, errno
		}
	}
}

// account counts runs that were sent by one call.
func (m *mmsgSender) account(runs []run) {
	bytes := 0
	for i := range runs {
		bytes += runs[i].to - runs[i].from
	}
	m.count(packetsOf(runs), bytes, len(runs), 0)
}

func (m *mmsgSender) count(packets, bytes, runs, dropped int) {
	c := &m.socket.counters
	c.calls.Add(1)
	c.packets.Add(uint64(packets))
	c.bytes.Add(uint64(bytes))
	c.runs.Add(uint64(runs))
	c.dropped.Add(uint64(dropped))
}

func packetsOf(runs []run) int {
	n := 0
	for i := range runs {
		n += runs[i].packets
	}
	return n
}

// refused deals with a run that the kernel did not take. Where it may be for its being a run, packets go one by one on
// this route from now on: a device without checksum offload (EIO), a way with a smaller MTU than the device's (EINVAL,
// EMSGSIZE), a socket that does not know the option (EOPNOTSUPP, ENOPROTOOPT).
func (m *mmsgSender) refused(arena []byte, r *run, err error) {
	switch {
	case r.packets == 1:
	case errors.Is(err, unix.EIO), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EMSGSIZE),
		errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOPROTOOPT):
		r.route.single = true
		m.socket.counters.singled.Add(1)
		(&plain{m.socket}).sendRun(arena, r)
		return
	}
	m.count(0, 0, 0, r.packets)
}

// arrivals tells a reader of a socket that there is something to read. The reader waits in Go's poller, for a poller of
// its own that looks at nothing else of the socket.
type arrivals struct {
	socket int
	file   *os.File // the poller
	raw    syscall.RawConn
}

func newArrivals(socket int) (*arrivals, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a poller: %w", err)
	}
	if err := errors.Join(unix.SetNonblock(fd, true), askFor(fd, unix.EPOLL_CTL_ADD, socket)); err != nil {
		_ = unix.Close(fd) // why it came to this says more
		return nil, fmt.Errorf("set a poller up: %w", err)
	}
	a := &arrivals{socket: socket, file: os.NewFile(uintptr(fd), "arrivals")} // that does not block, so that Go polls it
	if a.raw, err = a.file.SyscallConn(); err != nil {
		_ = a.file.Close() // the same
		return nil, fmt.Errorf("use a poller: %w", err)
	}
	return a, nil
}

// askFor asks a poller to tell once of something to read, also of what is there already. What it has told before must have
// been taken from it.
func askFor(poller, how, socket int) error {
	return unix.EpollCtl(poller, how, socket, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(socket)})
}

// wait waits for something to read, or for the end.
func (a *arrivals) wait() error {
	asked := false
	var failed error
	err := a.raw.Read(func(poller uintptr) (there bool) {
		if asked {
			return true
		}
		asked = true
		var told [1]unix.EpollEvent
		_, _, _ = unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, poller, uintptr(unsafe.Pointer(&told)), uintptr(len(told)), 0, 0, 0)
		failed = askFor(int(poller), unix.EPOLL_CTL_MOD, a.socket)
		return failed != nil
	})
	return errors.Join(err, failed)
}

// mmsgReceiver reads by recvmmsg.
type mmsgReceiver struct {
	wire     *mmsgWire
	messages []mmsghdr
	vectors  []unix.Iovec
	names    []sockaddr
	got      []Datagram
	woken    time.Time
}

// receiveAtOnce is how many datagrams one call reads: connectivity checks and reports come by the hundred a second.
const receiveAtOnce = 32

func (w *mmsgWire) receiver() receiver {
	m := &mmsgReceiver{
		wire:     w,
		messages: make([]mmsghdr, receiveAtOnce), vectors: make([]unix.Iovec, receiveAtOnce), names: make([]sockaddr, receiveAtOnce),
		got: make([]Datagram, 0, receiveAtOnce),
	}
	for i := range m.messages {
		m.vectors[i].Base = &make([]byte, MaxDatagram)[0]
		m.vectors[i].SetLen(MaxDatagram)
		h := &m.messages[i].hdr
		h.Iov = &m.vectors[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&m.names[i].raw))
	}
	return m
}

// call is one system call: it takes what is there.
func (m *mmsgReceiver) call() (n int, err error) {
	for i := range m.messages {
		m.messages[i].hdr.Namelen = unix.SizeofSockaddrInet6
	}
	if !m.wire.hold() {
		return 0, net.ErrClosed
	}
	defer m.wire.release()
	got, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(m.wire.fd), uintptr(unsafe.Pointer(&m.messages[0])), uintptr(len(m.messages)),
		unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(got), nil
}

// restTime is the least time between two that a reader is woken: where a thousand viewers report ten times a second, it
// would be for each of them.
const restTime = 4 * time.Millisecond

// wait waits for something to read.
func (m *mmsgReceiver) wait() error {
	time.Sleep(time.Until(m.woken.Add(restTime))) // less than nothing is nothing
	if err := m.wire.arrivals.wait(); err != nil {
		return net.ErrClosed
	}
	m.woken = time.Now()
	return nil
}

func (m *mmsgReceiver) receive() ([]Datagram, error) {
	for failures := 0; ; {
		n, err := m.call()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil, err
		case err == nil, errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			if err := m.wait(); err != nil {
				return nil, err
			}
		default: // errors of earlier sends come out here, too; nothing else goes on like that
			if failures++; failures > 1000 {
				return nil, err
			}
		}
		m.got = m.got[:0]
		for i := range m.messages[:n] {
			from, ok := m.names[i].get()
			if !ok || m.messages[i].hdr.Flags&unix.MSG_TRUNC != 0 {
				continue
			}
			m.got = append(m.got, Datagram{From: from, Data: unsafe.Slice(m.vectors[i].Base, m.messages[i].n)})
		}
		if len(m.got) > 0 && !m.wire.closed.Load() {
			return m.got, nil
		}
	}
}
