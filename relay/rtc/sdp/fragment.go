package sdp

import (
	"net/netip"
	"strconv"
	"strings"
)

// Bounds of a fragment.
const (
	MaxFragmentBytes = 32 << 10
	maxCandidates    = 64
)

// Fragment is the body of a PATCH: candidates to add, or the credentials of an ICE restart (RFC 8840, RFC 9725
// section 4.3). Candidates are "candidate:…" as in SDP.
type Fragment struct {
	Ufrag, Password string // empty where the fragment names none
	MIDs            []string
	Candidates      []string // those that can be used; others were dropped, as RFC 9725 section 4.3.2 asks
	Dropped         int
	End             bool // no more candidates follow

	// Transport are the attributes ice-lite, ice-options and ice-pacing as they stand in the SDP of whoever restarts ICE,
	// which both sides repeat (RFC 9725 section 4.3.3). They are written and not read: what a peer said of itself in its
	// SDP holds.
	Transport []string
}

// ParseFragment reads an application/trickle-ice-sdpfrag. Errors are of type *Error.
func ParseFragment(text string) (*Fragment, error) {
	if err := checkText(text, MaxFragmentBytes); err != nil {
		return nil, err
	}
	f := &Fragment{}
	lines := 0
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			continue
		}
		lines++
		if err := f.read(line); err != nil {
			return nil, err
		}
	}
	if (f.Ufrag == "") != (f.Password == "") {
		return nil, bad("The fragment has one of a=ice-ufrag and a=ice-pwd. Send both or none.")
	}
	if f.Ufrag != "" {
		if err := checkCredentials(f.Ufrag, f.Password); err != nil {
			return nil, err
		}
	}
	if f.Ufrag == "" && len(f.Candidates) == 0 && f.Dropped == 0 && !f.End {
		return nil, bad("The fragment has neither credentials nor candidates. Send a=candidate lines, a=end-of-candidates, or an ICE restart.")
	}
	return f, nil
}

func (f *Fragment) read(line string) error {
	if len(line) < 2 || line[1] != '=' || line[0] < 'a' || line[0] > 'z' {
		return bad("The fragment has the line %.40q. Send lines of the form a=…, as in SDP.", line)
	}
	switch line[0] {
	case 'a', 'm':
	case 'v', 'o', 's', 't':
		return bad("The body is a whole session description. Send only the fragment with a=ice-ufrag, a=ice-pwd, a=mid and a=candidate lines.")
	default:
		return bad("The fragment has a line %q. Only m= and a= lines belong in it.", line[:2])
	}
	name, value, _ := strings.Cut(line[2:], ":")
	if line[0] == 'm' {
		return nil // a pseudo m-line; the mid that follows says which one is meant
	}
	switch name {
	case "ice-ufrag":
		return once(&f.Ufrag, value, name)
	case "ice-pwd":
		return once(&f.Password, value, name)
	case "mid":
		if value == "" || len(value) > maxMID || !token(value) || len(f.MIDs) >= maxMedia {
			return bad("The fragment has a mid that is not valid, or too many. Use those of the offer.")
		}
		f.MIDs = append(f.MIDs, value)
	case "candidate":
		if len(f.Candidates) >= maxCandidates || !usable(line[2:]) {
			f.Dropped++
			return nil
		}
		f.Candidates = append(f.Candidates, line[2:])
	case "end-of-candidates":
		f.End = true
	}
	return nil // other attributes may be there and mean nothing here
}

// once stores a credential that may be repeated per m-line, but not differ.
func once(field *string, value, name string) error {
	if *field != "" && *field != value {
		return bad("The fragment has two different a=%s lines. Bundled m-lines share one.", name)
	}
	if value == "" {
		return bad("The fragment has an empty a=%s.", name)
	}
	*field = value
	return nil
}

// usable tells whether a candidate (RFC 8839 section 5.1) has an address that can be sent to as it stands. Names,
// ".local" ones too, are not resolved: a stranger would choose what this server looks up.
func usable(candidate string) bool {
	const (
		foundation, component, transport, _, address, port, typ, kind = 0, 1, 2, 3, 4, 5, 6, 7
		least                                                         = 8
		longestLine                                                   = 512
	)
	value, ok := strings.CutPrefix(candidate, "candidate:")
	fields := strings.Fields(value)
	if !ok || len(candidate) > longestLine || len(fields) < least || fields[typ] != "typ" {
		return false
	}
	if id := fields[foundation]; len(id) > 32 || !iceChars(id) || fields[component] != "1" {
		return false
	}
	if t := strings.ToLower(fields[transport]); t != "udp" && t != "tcp" {
		return false
	}
	if _, err := strconv.ParseUint(fields[3], 10, 32); err != nil {
		return false
	}
	ip, err := netip.ParseAddr(fields[address])
	if err != nil || ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() {
		return false
	}
	if n, err := strconv.ParseUint(fields[port], 10, 16); err != nil || n == 0 {
		return false
	}
	switch fields[kind] {
	case "host", "srflx", "prflx", "relay":
		return true
	}
	return false
}

// Restarted replaces the ICE credentials and the candidates of an offer's text by those of f: the offer that the
// peer would have sent had it restarted ICE by a new one.
func (f *Fragment) Restarted(offer string) string {
	var out strings.Builder
	for line := range strings.Lines(offer) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "a=ice-ufrag:"):
			line = "a=ice-ufrag:" + f.Ufrag
		case strings.HasPrefix(line, "a=ice-pwd:"):
			line = "a=ice-pwd:" + f.Password
		case strings.HasPrefix(line, "a=candidate:"), line == "a=end-of-candidates":
			continue
		}
		out.WriteString(line + "\r\n")
	}
	return out.String()
}

// String writes the fragment as the answer to an ICE restart carries it (RFC 9725 section 4.3.3).
func (f *Fragment) String() string {
	var out strings.Builder
	for _, attribute := range f.Transport {
		out.WriteString("a=" + attribute + "\r\n")
	}
	out.WriteString("a=ice-ufrag:" + f.Ufrag + "\r\na=ice-pwd:" + f.Password + "\r\n")
	for _, mid := range f.MIDs[:min(1, len(f.MIDs))] { // bundled m-lines share the first one's transport
		out.WriteString("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:" + mid + "\r\n")
	}
	for _, candidate := range f.Candidates {
		out.WriteString("a=" + candidate + "\r\n")
	}
	out.WriteString("a=end-of-candidates\r\n")
	return out.String()
}
