package engine

import (
	"net/netip"
	"slices"
	"sync"
)

// directory finds the viewer that something belongs to: by the user name of a check, or by the address of anything else.
// It is safe for concurrent use.
type directory struct {
	mu    sync.RWMutex // guards all below
	names map[string]*Viewer
	addrs map[netip.AddrPort]*Viewer
}

// maxAddrs bounds the addresses of one viewer: it has a few paths to try, and some may change while it lasts.
const maxAddrs = 16

func newDirectory() *directory {
	return &directory{names: map[string]*Viewer{}, addrs: map[netip.AddrPort]*Viewer{}}
}

// named is the viewer with one of our user name fragments; nil where there is none.
func (d *directory) named(ufrag []byte) *Viewer {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.names[string(ufrag)]
}

// at is the viewer that has proved to be at an address; nil where none has.
func (d *directory) at(addr netip.AddrPort) *Viewer {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.addrs[addr]
}

// name lists v under a user name fragment of ours.
func (d *directory) name(ufrag string, v *Viewer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !v.unlisted {
		d.names[ufrag] = v
	}
}

func (d *directory) unname(ufrag string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.names, ufrag)
}

// place notes that v has proved to be at an address. Who was there before has moved. The oldest address is forgotten
// where there are too many.
func (d *directory) place(addr netip.AddrPort, v *Viewer) {
	if d.at(addr) == v { // as nearly always
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if v.unlisted {
		return
	}
	if before := d.addrs[addr]; before != nil {
		before.addrs = slices.DeleteFunc(before.addrs, func(a netip.AddrPort) bool { return a == addr })
	}
	if len(v.addrs) == maxAddrs {
		delete(d.addrs, v.addrs[0])
		v.addrs = slices.Delete(v.addrs, 0, 1)
	}
	d.addrs[addr] = v
	v.addrs = append(v.addrs, addr)
}

// forget takes v out for good.
func (d *directory) forget(v *Viewer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v.unlisted = true
	for name, other := range d.names {
		if other == v {
			delete(d.names, name)
		}
	}
	for _, addr := range v.addrs {
		delete(d.addrs, addr)
	}
	v.addrs = nil
}
