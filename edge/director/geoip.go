package director

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"
)

// GeoIP tells where addresses are, from a file in the format of MaxMind DB such as GeoLite2-Country. The operator brings it,
// and may replace it while it is in use, see Run. It is kept in memory: a file that is cut short while it is mapped would
// end the process.
type GeoIP struct {
	path   string
	reader atomic.Pointer[maxminddb.Reader]
	file   fs.FileInfo // that was read last, or could not be; owned by Run once that is called
}

// Place is what is known of an address; zero where nothing is.
type Place struct {
	Country   string // ISO 3166-1 alpha-2
	Continent string // two letters, as in Rule
}

const (
	// maxGeoIP bounds the file. The largest in use, of cities, have some 100 MB.
	maxGeoIP = 1 << 30
	// geoIPInterval is between looks for a new file. They come once a day or less.
	geoIPInterval = 10 * time.Second
)

// OpenGeoIP reads a file and checks that it tells countries or continents at all.
func OpenGeoIP(path string) (*GeoIP, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	reader, err := readGeoIP(path, info)
	if err != nil {
		return nil, err
	}
	g := &GeoIP{path: path, file: info}
	g.reader.Store(reader)
	return g, nil
}

// Run takes up the file anew when it has changed, until ctx ends. One that cannot be used leaves the old one in place, and
// is told of once.
func (g *GeoIP) Run(ctx context.Context, log *slog.Logger) error {
	tick := time.NewTicker(geoIPInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			g.look(log)
		case <-ctx.Done():
			return nil
		}
	}
}

// look takes up the file if it is another than last time.
func (g *GeoIP) look(log *slog.Logger) {
	info, err := os.Stat(g.path)
	if err != nil {
		if g.file != nil {
			log.Warn("the file of edge.geoip cannot be read, what it told before goes on: put it back", "cause", err)
		}
		g.file = nil
		return
	}
	if g.file != nil && os.SameFile(info, g.file) && info.ModTime().Equal(g.file.ModTime()) && info.Size() == g.file.Size() {
		return
	}
	g.file = info
	reader, err := readGeoIP(g.path, info)
	if err != nil {
		log.Warn("the new file of edge.geoip cannot be used, what the old one told goes on: write a whole file beside it and rename it", "cause", err)
		return
	}
	g.reader.Store(reader)
	log.Info("new file of edge.geoip", "file", g.path, "built", g.Built().Format(time.DateOnly))
}

func readGeoIP(path string, info fs.FileInfo) (*maxminddb.Reader, error) {
	switch {
	case !info.Mode().IsRegular(): // a pipe would be waited for
		return nil, fmt.Errorf("%s is no file", path)
	case info.Size() > maxGeoIP:
		return nil, fmt.Errorf("%s has %d bytes, which no database of addresses has: is it the right file?", path, info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseGeoIP(path, data)
}

func parseGeoIP(path string, data []byte) (*maxminddb.Reader, error) {
	reader, err := maxminddb.OpenBytes(data)
	if err != nil {
		return nil, fmt.Errorf("%s is not a MaxMind DB file (%w): take one of countries or cities, unpacked", path, err)
	}
	const enough = 1000 // networks; those of reserved addresses may know no country
	seen := 0
	for result := range reader.Networks() {
		if err := result.Err(); err != nil {
			return nil, fmt.Errorf("%s is damaged (%w): fetch it again", path, err)
		}
		if placeOf(result) != (Place{}) {
			return reader, nil
		}
		if seen++; seen == enough {
			break
		}
	}
	return nil, fmt.Errorf("%s tells no countries (it is a %q): take a database of countries or cities", path, reader.Metadata.DatabaseType)
}

// Built is when the database in use was made.
func (g *GeoIP) Built() time.Time { return g.reader.Load().Metadata.BuildTime() }

// Lookup finds the place of an address.
func (g *GeoIP) Lookup(addr netip.Addr) Place { return placeOf(g.reader.Load().Lookup(addr)) }

// placeOf reads a record. What is broken or missing in it is as good as unknown.
func placeOf(r maxminddb.Result) (p Place) {
	_ = r.DecodePath(&p.Country, "country", "iso_code")
	_ = r.DecodePath(&p.Continent, "continent", "code")
	return p
}
