package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"banyan/relay/auth"
)

// printPages tells people what to open. A node without the role edge has no pages.
func (n *node) printPages(doors doors) {
	if n.parts.hls == nil {
		return
	}
	base := pagesBase(doors)
	var b strings.Builder
	line := func(path, what string) { fmt.Fprintf(&b, "    %-46s %s\n", base+path, what) }
	if n.opt.Demo {
		b.WriteString("\n  Banyan is running with two demo cameras. Open:\n\n")
	} else {
		b.WriteString("\n  Banyan is running. Open:\n\n")
	}
	line("/", "all streams")
	line("/ops", "the live tree of nodes, for operators")
	if n.opt.Demo {
		for _, c := range demoCameras {
			line("/watch/"+string(c.stream), "watch "+string(c.stream))
		}
	}
	if n.parts.whip != nil {
		line("/publish/", "publish your own camera")
	}
	b.WriteString("\n")
	if n.parts.whip != nil && n.cfg.Auth.Publish != auth.Open {
		fmt.Fprintf(&b, "  Make a token to publish with: %s --publish 'cup/*'\n", n.opt.TokenCommand)
	}
	if n.cfg.Auth.Play != auth.Open {
		fmt.Fprintf(&b, "  Make a token to watch with:   %s --play 'cup/*'\n", n.opt.TokenCommand)
	}
	fmt.Fprintf(&b, "  Make a token for /ops with:   %s --api\n", n.opt.TokenCommand)
	b.WriteString("  Stop with Ctrl-C.\n\n")
	_, _ = io.WriteString(n.opt.Out, b.String()) // nobody reads it, if this fails
}

// pagesBase is where a browser on this machine finds the pages. Not by HTTPS: a certificate is for another name than
// localhost, and browsers trust localhost with cameras as it is.
func pagesBase(doors doors) string {
	listener := doors.find(httpDoor).listener.Addr().String()
	if addr, err := netip.ParseAddrPort(listener); err == nil && addr.Addr().IsUnspecified() {
		return "http://" + net.JoinHostPort("localhost", strconv.Itoa(int(addr.Port())))
	}
	return "http://" + listener
}

// localAddr is where this machine reaches a listener.
func localAddr(listener net.Addr) string {
	addr, err := netip.ParseAddrPort(listener.String())
	if err != nil || !addr.Addr().IsUnspecified() {
		return listener.String()
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(addr.Port())))
}
