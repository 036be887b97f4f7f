package director

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"banyan/relay/tree"
)

// mostOrigins bounds what Origins lists: they go into a header of every page.
const mostOrigins = 48

// Origins lists the origins of edges that viewers may be sent to, in the order of the edges' names. Hosts of one domain,
// that of this node among them, are named together, as in https://*.example.org, which a content security policy takes: so a
// page may turn to an edge of the domain that joins after the page was loaded, and there is room for many.
func (d *Director) Origins() (origins []string) {
	plan := d.current()
	if plan == nil {
		return nil
	}
	for _, n := range plan.View().With(tree.Edge) {
		e, ok := edgeOf(n)
		if !ok {
			continue
		}
		host := domainOf(e.Base)
		origin := e.Base.Scheme + "://" + host
		own := n.Name == d.config.Self && host == e.Base.Host // a page may talk to its own in any case
		if !own && !slices.Contains(origins, origin) && len(origins) < mostOrigins {
			origins = append(origins, origin)
		}
	}
	return origins
}

// domainOf stands for all hosts beside that of a URL; for itself where it is an address, or right below a suffix that
// anybody may register names under.
func domainOf(u *url.URL) string {
	_, domain, _ := strings.Cut(u.Hostname(), ".")
	suffix, _ := publicsuffix.PublicSuffix(domain)
	if _, err := netip.ParseAddr(u.Hostname()); err == nil || domain == "" || suffix == domain {
		return u.Host
	}
	if port := u.Port(); port != "" {
		domain += ":" + port
	}
	return "*." + domain
}
