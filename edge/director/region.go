package director

import (
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Source is who told a viewer's region, as metrics name it.
type Source string

// The sources, the first that tells counts.
const (
	ByHeader Source = "header"
	ByGeoIP  Source = "geoip"
	ByPage   Source = "page" // its own word, which it has by probing: nobody else knows
	ByNobody Source = "nobody"
)

// regionParameter is the query parameter in which a viewer says what it found out by probing. It may say what it likes: a
// viewer may go to any edge.
const regionParameter = "region"

// Locator says in which region viewers are. The zero Locator knows what they say themselves.
type Locator struct {
	// Header is the name of the header in which a proxy in front of this node says the viewer's region. If empty, none does.
	Header string
	// Trusted tells whether a request came through a proxy whose word counts. If nil, no word does.
	Trusted func(*http.Request) bool
	// GeoIP tells where addresses are. If nil, nothing does.
	GeoIP *GeoIP
	// Rules turn what GeoIP tells into a region; the first that matches holds, one for the country before one for the
	// continent.
	Rules []Rule
}

// Rule says which countries and continents a region serves.
type Rule struct {
	Region     string
	Countries  []string // ISO 3166-1 alpha-2, such as DE
	Continents []string // AF, AN, AS, EU, NA, OC or SA
}

// maxRegion bounds the name of a region that comes in a header, as config does for those of nodes.
const maxRegion = 64

// Viewer is who made a request.
func (l *Locator) Viewer(r *http.Request) Viewer {
	addr := addrOf(r)
	v := Viewer{Key: key(addr, r.RemoteAddr), Lot: strconv.FormatUint(rand.Uint64(), 36)}
	v.Region, v.By = l.region(r, addr)
	return v
}

func (l *Locator) region(r *http.Request, addr netip.Addr) (string, Source) {
	if l.Header != "" && l.Trusted != nil && l.Trusted(r) {
		if region := r.Header.Get(l.Header); region != "" && isRegion(region) {
			return region, ByHeader
		}
	}
	if l.GeoIP != nil && addr.IsValid() {
		if region := match(l.Rules, l.GeoIP.Lookup(addr)); region != "" {
			return region, ByGeoIP
		}
	}
	if region := r.URL.Query().Get(regionParameter); region != "" && isRegion(region) {
		return region, ByPage
	}
	return "", ByNobody
}

// match is the region of a place; empty where no rule speaks of it.
func match(rules []Rule, p Place) string {
	for _, rule := range rules {
		if p.Country != "" && slices.Contains(rule.Countries, p.Country) {
			return rule.Region
		}
	}
	for _, rule := range rules {
		if p.Continent != "" && slices.Contains(rule.Continents, p.Continent) {
			return rule.Region
		}
	}
	return ""
}

func isRegion(s string) bool {
	return len(s) <= maxRegion && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '-' && r != '_' && r != '.' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}

func addrOf(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	addr, _ := netip.ParseAddr(host)
	return addr.Unmap().WithZone("")
}

// key tells viewers apart by address; of IPv6 by the network, within which a household's addresses change.
func key(addr netip.Addr, otherwise string) string {
	const network = 64 // bits
	switch {
	case !addr.IsValid():
		return otherwise
	case addr.Is6():
		prefix, _ := addr.Prefix(network)
		return prefix.String()
	}
	return addr.String()
}
