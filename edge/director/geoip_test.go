package director

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

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

func FuzzGeoIP(f *testing.F) {
	good := countries(f)
	f.Add(good)
	f.Add(good[:len(good)-10])
	f.Fuzz(func(_ *testing.T, data []byte) {
		if g, err := parseGeoIP("file", data); err == nil {
			g.Lookup(netip.MustParseAddr("81.2.69.1"))
		}
	})
}
