package sdp

import "strings"

// sanitise takes out the lines that the WebRTC stack must not see: candidates that are not plain addresses (names
// would be looked up), and simulcast, which is not carried; peers then send one encoding (RFC 8853 section 5.3.2).
func sanitise(text string) string {
	var out strings.Builder
	candidates := 0
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case line == "" || strings.HasPrefix(line, "a=simulcast:") || strings.HasPrefix(line, "a=rid:"):
			continue
		case strings.HasPrefix(line, "a=candidate:"):
			if candidates++; candidates > maxCandidates || !usable(strings.TrimPrefix(line, "a=")) {
				continue
			}
		}
		out.WriteString(line + "\r\n")
	}
	return out.String()
}

// oneWay has m-lines that send and receive do what the role does alone. The stack would answer such a one of a player
// as it is, and answers must be one-way, too (RFC 9725 section 4.2, draft-ietf-wish-whep-03 section 4.2).
func oneWay(text string, role Role) string {
	want := "a=" + role.direction() + "\r\n"
	var out strings.Builder
	said := true // nothing need be, before the first m-line
	for line := range strings.Lines(text) {
		attribute, _ := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "a=")
		switch {
		case isDirection(attribute):
			line, said = want, true
		case strings.HasPrefix(line, "m="):
			if !said {
				out.WriteString(want)
			}
			said = false
		}
		out.WriteString(line)
	}
	if !said {
		out.WriteString(want)
	}
	return out.String()
}
