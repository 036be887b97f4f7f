package cluster

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"sync"
	"time"
)

// Gossip packets are sealed here rather than by memberlist, whose encryption does not tell a fresh packet from a
// recorded one: a "this node is dead" of last week, sent again, would be believed. Each process has a session, a random
// ID. A packet counts only if it names the session of the process that receives it, so one that was recorded before
// that process started, or for another node, is worth nothing; and once only, by its number.
//
//	datagram:
//	  type u8 | sender's session [16] | number u64 | sealed body, AES-256-GCM with a tag of 16 bytes
//
// The key follows from cluster key and session, the nonce is the number, and what stands before the body is
// authenticated with it. The body is, by type:
//
//	1 hello    challenge [16]            "who is there?"; answered by
//	2 welcome  challenge [16], the same  whose sender thereby proves that it lives
//	3 data     receiver's session [16] | what memberlist sends
//
// Hello and welcome change nothing but whose session a sender believes to be at an address. Both are as long as each
// other, and take the key to make, so nobody is flooded by way of us.
const (
	typeHello   = 1
	typeWelcome = 2
	typeData    = 3

	headerLen = 1 + 16 + 8
	tagLen    = 16
	overhead  = headerLen + tagLen + 16

	// maxDatagram fits the smallest MTU of IPv6 (1280) with its header and that of UDP; no tunnel on the way breaks it.
	maxDatagram = 1232
	// maxPayload is what is left for memberlist.
	maxPayload = maxDatagram - overhead
)

const (
	// maxWaiting packets to an address are kept until its session is known, for at most maxWait.
	maxWaiting = 8
	maxWait    = time.Second
	// askEvery is the least time between two hellos to one address.
	askEvery = 100 * time.Millisecond
	// confirmEvery is how long the session at an address is believed without asking again.
	confirmEvery = 10 * time.Second
	// maxSessions is how many senders are remembered; one more, and we take a new session ourselves, which makes all
	// that was sent to the old one worthless, so that forgetting them is safe.
	maxSessions = 2 * maxNodes
)

// session is what tells one life of a process from any other.
type session [16]byte

// datagram is something to be sent.
type datagram struct {
	to  netip.AddrPort
	buf []byte
}

// why a packet was refused; each is counted by its name.
type refusal string

const (
	refusedGarbage refusal = "garbage"   // no packet of ours
	refusedKey     refusal = "key"       // sealed with no key that we have
	refusedReplay  refusal = "replay"    // had before
	refusedSession refusal = "session"   // made for another life of this address
	refusedAnswer  refusal = "unasked"   // an answer to nothing that we asked
	refusedFull    refusal = "overflow"  // waited too long, or with too many others
	refusedSource  refusal = "source"    // its address is not in cluster.allow
	refusedStream  refusal = "stream"    // a stream that did not come to be
	refusedBusy    refusal = "busy"      // too many streams at one time
	refusedMessage refusal = "malformed" // a message that makes no sense, from a node that has the key
)

// packets seals what this node sends and opens what it gets. It knows no socket and no clock.
type packets struct {
	keys []key // the first seals

	mu     sync.Mutex // guards what follows
	own    session
	seal   cipher.AEAD
	number uint64
	peers  map[netip.AddrPort]*correspondent
	asked  map[session]netip.AddrPort // challenges that wait for their answer
	heard  map[session]*sender
}

// correspondent is an address that this node sends to.
type correspondent struct {
	known     bool
	session   session
	confirmed time.Time // when session was last proved
	challenge session   // of the last hello; zero once it was answered
	at        time.Time // of the last hello
	waiting   []letter
}

type letter struct {
	payload []byte
	at      time.Time
}

// sender is a session that sends to this node.
type sender struct {
	open cipher.AEAD
	seen window
}

func newPackets(keys []key) *packets {
	p := &packets{keys: keys, peers: map[netip.AddrPort]*correspondent{}, asked: map[session]netip.AddrPort{}}
	p.renew()
	return p
}

// renew begins a session.
func (p *packets) renew() {
	rand.Read(p.own[:])
	p.seal, p.number = p.keys[0].sealer(p.own), 0
	p.heard = map[session]*sender{}
}

// send seals a payload for an address. Where nobody is known there, a hello goes first and the payload waits for the
// answer. It returns what to put on the line, and how many payloads were given up.
func (p *packets) send(now time.Time, to netip.AddrPort, payload []byte) (out []datagram, dropped int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.correspondent(to)
	if c.known {
		out = append(out, datagram{to, p.sealed(typeData, c.session[:], payload)})
		if now.Sub(c.confirmed) >= confirmEvery {
			out = p.ask(out, now, to, c)
		}
		return out, 0
	}
	for len(c.waiting) > 0 && (len(c.waiting) == maxWaiting || now.Sub(c.waiting[0].at) > maxWait) {
		c.waiting = c.waiting[1:]
		dropped++
	}
	c.waiting = append(c.waiting, letter{append([]byte(nil), payload...), now})
	return p.ask(out, now, to, c), dropped
}

func (p *packets) correspondent(at netip.AddrPort) *correspondent {
	c := p.peers[at]
	if c == nil {
		for other, old := range p.peers { // any one will do: it costs a hello to know it again
			if len(p.peers) < maxNodes {
				break
			}
			delete(p.asked, old.challenge)
			delete(p.peers, other)
		}
		c = &correspondent{}
		p.peers[at] = c
	}
	return c
}

func (p *packets) ask(out []datagram, now time.Time, to netip.AddrPort, c *correspondent) []datagram {
	if !c.at.IsZero() && now.Sub(c.at) < askEvery {
		return out
	}
	delete(p.asked, c.challenge)
	rand.Read(c.challenge[:])
	c.at = now
	p.asked[c.challenge] = to
	return append(out, datagram{to, p.sealed(typeHello, c.challenge[:], nil)})
}

func (p *packets) sealed(kind byte, first, rest []byte) []byte {
	p.number++
	buf := make([]byte, headerLen, headerLen+len(first)+len(rest)+tagLen)
	buf[0] = kind
	copy(buf[1:], p.own[:])
	binary.BigEndian.PutUint64(buf[17:], p.number)
	nonce := nonceOf(p.number)
	body := append(append(make([]byte, 0, cap(buf)), first...), rest...)
	return p.seal.Seal(buf, nonce[:], body, buf[:headerLen])
}

func nonceOf(number uint64) (nonce [12]byte) {
	binary.BigEndian.PutUint64(nonce[4:], number)
	return nonce
}

// receive opens a datagram. It returns memberlist's payload, if there is a fresh one, what to answer, and why the
// datagram was refused, if it was.
func (p *packets) receive(now time.Time, from netip.AddrPort, buf []byte) (payload []byte, out []datagram, why refusal) {
	if len(buf) < overhead || len(buf) > maxDatagram || buf[0] < typeHello || buf[0] > typeData {
		return nil, nil, refusedGarbage
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	id, number := session(buf[1:17]), binary.BigEndian.Uint64(buf[17:])
	s, body := p.open(id, number, buf)
	if s == nil {
		return nil, nil, refusedKey
	}
	first, rest := session(body[:16]), body[16:]
	switch buf[0] {
	case typeHello:
		out = append(out, datagram{from, p.sealed(typeWelcome, first[:], nil)})
		// Whom we thought to be there may have been followed by another.
		if c := p.peers[from]; c != nil && c.known && c.session != id {
			out = p.ask(out, now, from, c)
		}
		return nil, out, ""
	case typeWelcome:
		at, ok := p.asked[first]
		if !ok {
			return nil, nil, refusedAnswer
		}
		delete(p.asked, first)
		return nil, p.deliver(now, at, id), ""
	}
	if first != p.own {
		// Its sender does not know yet that this is a new process. A hello makes it ask.
		// Where there is no room no peer is forgotten for it: such a packet may be an old one, sent again from anywhere.
		if p.peers[from] != nil || len(p.peers) < maxNodes {
			out = p.ask(nil, now, from, p.correspondent(from))
		}
		return nil, out, refusedSession
	}
	if !p.remember(id, s) {
		return nil, nil, refusedFull
	}
	if !s.seen.fresh(number) {
		return nil, nil, refusedReplay
	}
	return rest, nil, ""
}

// deliver notes whose session is at an address, and seals what has waited for it.
func (p *packets) deliver(now time.Time, at netip.AddrPort, id session) (out []datagram) {
	c := p.correspondent(at)
	c.known, c.session, c.confirmed, c.challenge = true, id, now, session{}
	for _, l := range c.waiting {
		if now.Sub(l.at) <= maxWait {
			out = append(out, datagram{at, p.sealed(typeData, id[:], l.payload)})
		}
	}
	c.waiting = nil
	return out
}

// open finds the key that a datagram was sealed with. The sender is remembered only once it has named our session.
func (p *packets) open(id session, number uint64, buf []byte) (*sender, []byte) {
	nonce := nonceOf(number)
	if s := p.heard[id]; s != nil {
		body, err := s.open.Open(nil, nonce[:], buf[headerLen:], buf[:headerLen])
		if err != nil {
			return nil, nil
		}
		return s, body
	}
	for _, k := range p.keys {
		aead := k.sealer(id)
		if body, err := aead.Open(nil, nonce[:], buf[headerLen:], buf[:headerLen]); err == nil {
			return &sender{open: aead}, body
		}
	}
	return nil, nil
}

// remember keeps s, so that its numbers count once. False if there was no room, and everybody begins anew.
func (p *packets) remember(id session, s *sender) bool {
	if p.heard[id] != nil {
		return true
	}
	if len(p.heard) >= maxSessions {
		p.renew()
		return false
	}
	p.heard[id] = s
	return true
}

// window tells numbers that were seen from fresh ones. Packets may overtake each other by windowBits.
type window struct {
	top  uint64
	bits [windowBits / 64]uint64
}

const windowBits = 1024

// fresh tells whether n was not seen before, and notes that it was.
func (w *window) fresh(n uint64) bool {
	if n == 0 || n+windowBits <= w.top {
		return false
	}
	if n > w.top {
		if n-w.top >= windowBits {
			w.bits = [windowBits / 64]uint64{}
		} else {
			for i := w.top + 1; i < n; i++ {
				w.bits[i%windowBits/64] &^= 1 << (i % 64)
			}
		}
		w.top = n
		w.bits[n%windowBits/64] |= 1 << (n % 64)
		return true
	}
	word, mask := &w.bits[n%windowBits/64], uint64(1)<<(n%64)
	if *word&mask != 0 {
		return false
	}
	*word |= mask
	return true
}
