package e2e

import "fmt"

// sequence keeps account of the packets of one RTP stream, by their extended sequence numbers (RFC 3550 appendix A.1).
// The zero value is ready for the first packet.
type sequence struct {
	Account
	begun   bool
	first   int64
	next    int64          // after the highest that came
	missing map[int64]bool // below next; bounded
	stamp   uint32         // timestamp of the newest picture
}

// Account is what a viewer got of a track.
type Account struct {
	Packets int
	Frames  int // pictures that began
	Missing int // sequence numbers that never came
	Doubled int // packets whose number had come before
	Step    int // ticks of 90 kHz: the longest from a picture to the next one

	// Overflowed is how many datagrams of any kind the kernel threw away at the viewers' sockets, as this machine did not
	// come to read them.
	Overflowed int
}

// Lost is how many packets are missing, at the least, that came to no viewer's socket.
func (a Account) Lost() int { return max(0, a.Missing-a.Overflowed) }

func (a Account) String() string {
	const ticks = 90 // a millisecond
	text := fmt.Sprintf("%d packets of %d pictures, %d missing, %d twice, at most %d ms of media time from picture to picture",
		a.Packets, a.Frames, a.Missing, a.Doubled, a.Step/ticks)
	if a.Overflowed > 0 {
		text += fmt.Sprintf("; %d datagrams lost at the viewers' own sockets", a.Overflowed)
	}
	return text
}

// Add joins the accounts of two viewers.
func (a Account) Add(b Account) Account {
	return Account{
		Packets: a.Packets + b.Packets, Frames: a.Frames + b.Frames, Missing: a.Missing + b.Missing, Doubled: a.Doubled + b.Doubled,
		Step: max(a.Step, b.Step), Overflowed: a.Overflowed + b.Overflowed,
	}
}

// mostMissing bounds what is remembered to be missing, for as long as it may still come.
const mostMissing = 4096

// take notes a packet, and tells whether it begins a picture.
func (s *sequence) take(number uint16, stamp uint32) (picture bool) {
	s.Packets++
	if !s.begun {
		s.begun, s.stamp = true, stamp
		s.first, s.next = int64(number), int64(number)+1
		s.Frames++
		return true
	}
	at := s.next + int64(int16(number-uint16(s.next)))
	switch {
	case at >= s.next:
		s.leaveOut(s.next, at)
		s.next = at + 1
	case s.missing[at]:
		delete(s.missing, at)
		s.Missing--
	case at >= s.first:
		s.Doubled++
	}
	step := int(int32(stamp - s.stamp))
	if step <= 0 { // the same picture, or one that came late
		return false
	}
	s.Step, s.stamp = max(s.Step, step), stamp
	s.Frames++
	return true
}

// leaveOut notes what is missing.
func (s *sequence) leaveOut(from, to int64) {
	s.Missing += int(to - from)
	if len(s.missing)+int(to-from) > mostMissing {
		s.missing = nil
		return
	}
	for at := from; at < to; at++ {
		if s.missing == nil {
			s.missing = map[int64]bool{}
		}
		s.missing[at] = true
	}
}

// reset begins the account anew, from the packet that comes next in order.
func (s *sequence) reset() { s.Account, s.missing, s.first = Account{}, nil, s.next }
