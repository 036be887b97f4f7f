package director

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"banyan/relay/tree"
)

// mostOrigins bounds what Origins lists: they go into a header of every page.
const mostOrigins = 48

// Origins lists the origins of edges that viewers may be sent to, in the order of the edges' names. Where there are more
// than fit into a header, hosts of one domain are named together, as in https://*.example.org, which a content security policy
// takes.
func (d *Director) Origins() []string {
	plan := d.current()
	if plan == nil {
		return nil
	}
	var origins, domains []string
	add := func(list []string, origin string) []string {
		if slices.Contains(list, origin) || len(list) > mostOrigins {
			return list
		}
		return append(list, origin)
	}
	for _, n := range plan.View().With(tree.Edge) {
		e, ok := edgeOf(n)
		if !ok || n.Name == d.config.Self {
			continue
		}
		origins = add(origins, e.Base.Scheme+"://"+e.Base.Host)
		domains = add(domains, e.Base.Scheme+"://"+domainOf(e.Base))
	}
	if len(origins) > mostOrigins {
		origins = domains
	}
	return origins[:min(len(origins), mostOrigins)]
}

// domainOf stands for all hosts beside that of a URL; for itself where it is an address, or right below a top-level domain.
func domainOf(u *url.URL) string {
	_, domain, _ := strings.Cut(u.Hostname(), ".")
	if _, err := netip.ParseAddr(u.Hostname()); err == nil || !strings.Contains(domain, ".") {
		return u.Host
	}
	if port := u.Port(); port != "" {
		domain += ":" + port
	}
	return "*." + domain
}
