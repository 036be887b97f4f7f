package ingest

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func testGuard() *URLGuard {
	return &URLGuard{Schemes: map[string]uint16{"rtsp": 554, "rtsps": 322}, Ports: []uint16{322, 554}}
}

// names is a resolver from a table.
func names(table map[string][]string) func(context.Context, string) ([]netip.Addr, error) {
	return func(_ context.Context, host string) ([]netip.Addr, error) {
		var all []netip.Addr
		for _, s := range table[strings.TrimSuffix(strings.ToLower(host), ".")] {
			all = append(all, netip.MustParseAddr(s))
		}
		return all, nil
	}
}

// fetch is what a client would do with a URL.
func fetch(g *URLGuard, raw string) error {
	u, err := g.Check(raw)
	if err != nil {
		return err
	}
	_, _, err = g.resolve(context.Background(), g.Address(u))
	return err
}

func TestURLGuardRefuses(t *testing.T) {
	g := testGuard()
	g.Lookup = names(map[string][]string{
		"localhost": {"127.0.0.1", "::1"}, "inside.example": {"127.0.0.1"}, "both.example": {"8.8.8.8", "10.0.0.1"},
		"meta.example": {"169.254.169.254"}, "mapped.example": {"::ffff:10.0.0.1"}, "b": {"127.0.0.1"},
	})
	for _, raw := range []string{
		"rtsp://127.0.0.1/x", "rtsp://127.1/x", "rtsp://2130706433/x", "rtsp://0177.0.0.1/x", "rtsp://0x7f000001/x", "rtsp://0x7f.1/x",
		"rtsp://0.0.0.0/x", "rtsp://0/x", "rtsp://[::1]/x", "rtsp://[::]/x", "rtsp://[::ffff:127.0.0.1]/x", "rtsp://[::127.0.0.1]/x",
		"rtsp://[64:ff9b::7f00:1]/x", "rtsp://[2002:7f00:1::]/x", "rtsp://[2001:0:1::1]/x", "rtsp://[fe80::1%25eth0]/x",
		"rtsp://10.1.2.3/x", "rtsp://172.16.0.1/x", "rtsp://172.31.255.255/x", "rtsp://192.168.0.1/x", "rtsp://100.64.0.1/x",
		"rtsp://169.254.169.254/x", "rtsp://[fd00:ec2::254]/x", "rtsp://[fc00::1]/x", "rtsp://[fe80::1]/x", "rtsp://[ff02::1]/x",
		"rtsp://224.0.0.1/x", "rtsp://255.255.255.255/x", "rtsp://198.18.0.1/x", "rtsp://192.0.0.1/x", "rtsp://240.0.0.1/x",
		"rtsp://localhost/x", "rtsp://localhost./x", "rtsp://LOCALHOST/x", "rtsp://127。0。0。1/x", "rtsp://①②⑦.0.0.1/x",
		"rtsp://inside.example/x", "rtsp://both.example/x", "rtsp://meta.example/x", "rtsp://mapped.example/x", "rtsp://nowhere.example/x",
		"http://8.8.8.8/x", "file:///etc/passwd", "file://8.8.8.8/x", "gopher://8.8.8.8/", "ftp://8.8.8.8/", "concat:rtsp://8.8.8.8/a|b",
		"subfile:,,:rtsp://8.8.8.8/", "data:text/plain,x", "pipe:0", "unix:///run/x.sock", "tcp://8.8.8.8:80", "rtsp:8.8.8.8/x",
		"rtsp://8.8.8.8@127.0.0.1/x", "rtsp://a@b/x", "rtsp://8.8.8.8\\@127.0.0.1/x", "rtsp://127.0.0.1#@8.8.8.8/", "rtsp://8.8.8.8/#x",
		"rtsp://8.8.8.8:0/x", "rtsp://8.8.8.8:22/x", "rtsp://8.8.8.8:6553600/x", "rtsp://8.8.8.8:-1/x", "rtsp://8.8.8.8:x/",
		"rtsp://8.8.8.8/x\r\nHost: y", "rtsp://8.8.8.8/\x00", "rtsp://" + strings.Repeat("a", 64<<10) + "/x", "rtsp:///x", "rtsp://", "",
		"rtsp://ex ample/x", "rtsp://.example/x", "rtsp://a..b/x", "rtsp://exa$mple/x", "rtsp://8.8.8.8.8/x", "//8.8.8.8/x",
	} {
		if err := fetch(g, raw); err == nil {
			t.Errorf("%.80q was let through", raw)
		} else if strings.Contains(err.Error(), "secret") || len(err.Error()) > 400 {
			t.Errorf("%.80q answers %.500q", raw, err)
		}
	}
}

func TestURLGuardAllows(t *testing.T) {
	g := testGuard()
	g.Lookup = names(map[string][]string{"cam.example": {"8.8.8.8", "2600::1"}})
	for _, raw := range []string{
		"rtsp://8.8.8.8/x", "rtsp://ana:secret@cam.example:8554/live?x=1&y=%20", "rtsps://cam.example/", "rtsp://CAM.example./x", "rtsp://[2600::1]:554/x",
	} {
		if err := fetch(g, raw); err != nil {
			t.Errorf("%q: %v", raw, err)
		}
	}
	g.Private = true
	for _, raw := range []string{"rtsp://127.0.0.1:8554/x", "rtsp://192.168.1.20/x", "rtsp://[fd12::1]/x", "rtsp://169.254.10.1/x"} {
		if err := fetch(g, raw); err != nil {
			t.Errorf("private allowed, %q: %v", raw, err)
		}
	}
	for _, raw := range []string{"rtsp://0.0.0.0/x", "rtsp://169.254.169.254/x", "rtsp://224.0.0.1/x", "rtsp://127.1/x", "rtsp://127.0.0.1:22/x"} {
		if err := fetch(g, raw); err == nil {
			t.Errorf("private allowed, %q was let through too", raw)
		}
	}
}

// TestURLGuardDialsWhatItChecked has a name that changes its mind (DNS rebinding).
func TestURLGuardDialsWhatItChecked(t *testing.T) {
	canary, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer canary.Close()
	var asked atomic.Int32
	g := testGuard()
	g.Lookup = func(context.Context, string) ([]netip.Addr, error) {
		if asked.Add(1) == 1 {
			return []netip.Addr{netip.MustParseAddr("240.0.0.1")}, nil // refused: nothing is dialled at all
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	_, port, _ := net.SplitHostPort(canary.Addr().String())
	for range 3 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		if c, err := g.Dial(ctx, "tcp", "rebind.example:"+port); err == nil {
			c.Close()
			t.Error("the canary was reached")
		}
		cancel()
	}
	if asked.Load() != 3 {
		t.Errorf("the name was resolved %d times for 3 dials", asked.Load())
	}
	g.Private = true
	c, err := g.Dial(context.Background(), "tcp", "rebind.example:"+port)
	if err != nil {
		t.Fatalf("allowed, but: %v", err)
	}
	c.Close()
}

// FuzzURLGuard holds the property that matters: nothing that passes leads to a denied network.
func FuzzURLGuard(f *testing.F) {
	for _, s := range []string{"rtsp://127.0.0.1/", "rtsp://[::ffff:10.0.0.1]/", "rtsp://a:b@8.8.8.8:554/x", "rtsp://0x7f.1/", "rtsp://localhost/"} {
		f.Add(s)
	}
	g := testGuard()
	g.Lookup = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("8.8.8.8")}, nil
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := g.Check(raw)
		if err != nil {
			return
		}
		addrs, port, err := g.resolve(context.Background(), g.Address(u))
		if err != nil {
			return
		}
		for _, ip := range addrs {
			if ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() {
				t.Fatalf("%q leads to %v", raw, ip)
			}
		}
		if port < 1024 && port != 554 && port != 322 {
			t.Fatalf("%q leads to port %d", raw, port)
		}
	})
}
