package director

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/oschwald/maxminddb-golang/v2"
)

// GeoIP tells where addresses are, from a file in the format of MaxMind DB such as GeoLite2-Country. The operator brings it.
// It is kept in memory: a file that is cut short while it is mapped would end the process. A new file takes a restart.
type GeoIP struct {
	reader *maxminddb.Reader
}

// Place is what is known of an address; zero where nothing is.
type Place struct {
	Country   string // ISO 3166-1 alpha-2
	Continent string // two letters, as in Rule
}

// maxGeoIP bounds the file. The largest in use, of cities, have some 100 MB.
const maxGeoIP = 1 << 30

// OpenGeoIP reads a file and checks that it tells countries or continents at all.
func OpenGeoIP(path string) (*GeoIP, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxGeoIP {
		return nil, fmt.Errorf("%s has %d bytes, which no database of addresses has: is it the right file?", path, info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseGeoIP(path, data)
}

func parseGeoIP(path string, data []byte) (*GeoIP, error) {
	reader, err := maxminddb.OpenBytes(data)
	if err != nil {
		return nil, fmt.Errorf("%s is not a MaxMind DB file (%w): take one of countries or cities, unpacked", path, err)
	}
	g := &GeoIP{reader}
	const enough = 1000 // networks; those of reserved addresses may know no country
	seen := 0
	for result := range reader.Networks() {
		if result.Err() != nil || placeOf(result) != (Place{}) {
			return g, nil
		}
		if seen++; seen == enough {
			break
		}
	}
	return nil, fmt.Errorf("%s tells no countries (it is a %q): take a database of countries or cities", path, reader.Metadata.DatabaseType)
}

// Lookup finds the place of an address.
func (g *GeoIP) Lookup(addr netip.Addr) Place { return placeOf(g.reader.Lookup(addr)) }

// placeOf reads a record. What is broken or missing in it is as good as unknown.
func placeOf(r maxminddb.Result) (p Place) {
	_ = r.DecodePath(&p.Country, "country", "iso_code")
	_ = r.DecodePath(&p.Continent, "continent", "code")
	return p
}
