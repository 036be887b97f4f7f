package doctor

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"banyan/deploy/config"
)

// lookupTime is for the names of all ICE servers together.
const lookupTime = 5 * time.Second

// examineICE looks the names of STUN and TURN servers up: with one that is not there clients wait for it in vain.
func examineICE(ctx context.Context, servers []config.ICEServer) (findings []Finding) {
	const check = "rtc.ice_servers"
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	for _, server := range servers {
		_, address, _ := strings.Cut(server.URL, ":")
		address, _, _ = strings.Cut(address, "?")
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			host = strings.Trim(address, "[]")
		}
		found, err := net.DefaultResolver.LookupHost(ctx, host)
		if err != nil {
			findings = append(findings, Finding{check, Warn, fmt.Sprintf("%s cannot be found: %v", server.URL, err),
				"correct its host, or take it out: clients that try it connect later, or not at all"})
			continue
		}
		findings = append(findings, good(check, "%s is at %s", server.URL, found[0]))
	}
	return findings
}
