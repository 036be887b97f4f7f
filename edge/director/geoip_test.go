package director

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// record is what a database says of a network.
func record(country, continent string) mmdbtype.Map {
	return mmdbtype.Map{
		"country":   mmdbtype.Map{"iso_code": mmdbtype.String(country)},
		"continent": mmdbtype.Map{"code": mmdbtype.String(continent)},
	}
}

// write makes a database in the format of MaxMind DB.
func write(t testing.TB, records map[string]mmdbtype.Map) []byte {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "Test-Country", IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	for network, r := range records {
		_, n, err := net.ParseCIDR(network)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Insert(n, r); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if _, err := tree.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func countries(t testing.TB) []byte {
	return write(t, map[string]mmdbtype.Map{
		"81.2.69.0/24":    record("FR", "EU"),
		"81.2.70.0/24":    record("GB", "EU"),
		"81.2.71.0/24":    record("NZ", "OC"),
		"2001:db8:1::/48": record("US", "NA"),
		"81.2.72.0/24":    {"country": mmdbtype.String("no map")},
	})
}

func database(t testing.TB) *GeoIP {
	t.Helper()
	path := filepath.Join(t.TempDir(), "countries.mmdb")
	if err := os.WriteFile(path, countries(t), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := OpenGeoIP(path)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestGeoIP(t *testing.T) {
	g := database(t)
	for addr, want := range map[string]Place{
		"81.2.69.200": {"FR", "EU"}, "81.2.70.1": {"GB", "EU"}, "2001:db8:1::5": {"US", "NA"},
		"81.2.72.1": {}, "192.0.2.1": {}, "2001:db8:2::1": {}, "::ffff:81.2.69.200": {"FR", "EU"},
	} {
		if got := g.Lookup(netip.MustParseAddr(addr).Unmap()); got != want {
			t.Errorf("%s is in %+v, want %+v", addr, got, want)
		}
	}
}

func TestGeoIPRefusesOtherFiles(t *testing.T) {
	good := countries(t)
	for name, data := range map[string][]byte{
		"empty": nil, "text": []byte("a,b\n1,2\n"), "half": good[:len(good)/2],
		"of networks": write(t, map[string]mmdbtype.Map{"81.2.69.0/24": {"autonomous_system_number": mmdbtype.Uint32(5)}}),
	} {
		path := filepath.Join(t.TempDir(), "file.mmdb")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenGeoIP(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("a file that is %s: %v, want an error that names it", name, err)
		}
	}
	if _, err := OpenGeoIP(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there was opened")
	}
}

func TestGeoIPTakesUpANewFile(t *testing.T) {
	addr := netip.MustParseAddr("81.2.69.1")
	path := filepath.Join(t.TempDir(), "countries.mmdb")
	replace := func(data []byte) {
		t.Helper()
		beside := path + ".new"
		if err := os.WriteFile(beside, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(beside, path); err != nil {
			t.Fatal(err)
		}
	}
	replace(countries(t))
	g, err := OpenGeoIP(path)
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	log := slog.New(slog.NewTextHandler(&said, nil))
	step := func(what, country, word string) {
		t.Helper()
		said.Reset()
		g.look(log)
		if got := g.Lookup(addr).Country; got != country {
			t.Errorf("%s: the address is in %q, want %q", what, got, country)
		}
		if lines := strings.Count(said.String(), "\n"); word == "" && lines != 0 || word != "" && (lines != 1 || !strings.Contains(said.String(), word)) {
			t.Errorf("%s: the log has %q, want one line with %q", what, said.String(), word)
		}
	}
	step("the same file", "FR", "")
	replace(write(t, map[string]mmdbtype.Map{"81.2.69.0/24": record("BE", "EU")}))
	step("another file", "BE", "new file")
	replace([]byte("<html>Payment required"))
	step("a bad file", "BE", "rename it")
	step("the same bad file", "BE", "")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	step("no file", "BE", "put it back")
	step("still no file", "BE", "")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	step("a folder", "BE", "is no file")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	replace(countries(t))
	step("a good file again", "FR", "new file")
}

func TestGeoIPLooksByItself(t *testing.T) {
	g := database(t)
	data := write(t, map[string]mmdbtype.Map{"81.2.69.0/24": record("BE", "EU")})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- g.Run(ctx, slog.New(slog.DiscardHandler)) }()
		if err := os.WriteFile(g.path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(geoIPInterval)
		synctest.Wait()
		if got := g.Lookup(netip.MustParseAddr("81.2.69.1")).Country; got != "BE" {
			t.Errorf("after %v the address is in %q, want what the new file says", geoIPInterval, got)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func FuzzGeoIP(f *testing.F) {
	good := countries(f)
	f.Add(good)
	f.Add(good[:len(good)-10])
	f.Fuzz(func(_ *testing.T, data []byte) {
		if reader, err := parseGeoIP("file", data); err == nil {
			g := &GeoIP{}
			g.reader.Store(reader)
			g.Lookup(netip.MustParseAddr("81.2.69.1"))
		}
	})
}
