package whep_test

import (
	"net/netip"
	"testing"
	"time"

	"banyan/deploy/bench/abr"
	"banyan/deploy/e2e/impair"
)

// shows waits until a player shows pictures so wide. A machine that is busy may be a narrow network for a while.
func (w *world) shows(p *abr.Player, what string, width int) {
	w.Helper()
	const patience = time.Minute
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		if list := p.Pictures(); len(list) > 0 && list[len(list)-1].Width == width {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("waited %v in vain for %s", patience, what)
		}
	}
}

// TestFit takes most of a viewer's network away, and gives it back. What comes goes on without a gap, and another viewer
// does not notice. How quickly all this is, banyan bench abr tells.
func TestFit(t *testing.T) {
	if !native { // the stack's own connections send all at once
		return
	}
	w := newWorld(t)
	stop, err := abr.Publish(t.Context(), w.hub, "cup/cam1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	watch := func(query string, detour abr.Detour) *abr.Player {
		p, err := abr.Watch(t.Context(), w.http.URL+"/whep/cup/cam1"+query, detour)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		return p
	}
	wide, thin := abr.Step{Rate: 4_000_000}.Faults(), abr.Step{Rate: 500_000}.Faults()
	var proxy *impair.Proxy
	p := watch("", func(server netip.AddrPort) (netip.AddrPort, error) {
		proxy, err = impair.Listen(server, abr.Step{}.Faults(), wide, 1)
		if err != nil {
			return netip.AddrPort{}, err
		}
		t.Cleanup(proxy.Close)
		return proxy.Addr(), nil
	})
	w.shows(p, "the best format", abr.Best)
	other, pinned := watch("", nil), watch("?format=mid", nil)
	proxy.Set(abr.Step{}.Faults(), thin)
	w.shows(p, "the lowest format", abr.Lowest)
	proxy.Set(abr.Step{}.Faults(), wide)
	w.shows(p, "the best format again", abr.Best)
	if len(pinned.Pictures()) == 0 {
		t.Error("the viewer with a format of its own sees nothing")
	}
	for _, f := range pinned.Pictures() {
		if f.Width != 480 {
			t.Fatalf("the viewer with a format of its own sees pictures %d pixels wide", f.Width)
		}
	}
	fit := 0
	list := other.Pictures()
	for _, f := range list {
		if f.Width == abr.Best {
			fit++
		}
	}
	if fit < len(list)/2 { // a machine that is busy may be a narrow network
		t.Errorf("%d of %d pictures of the other viewer are of the best format", fit, len(list))
	}
}
