package sdp

import "strings"

// MuxOnly adds a=rtcp-mux-only to each m-line of a description of ours that has a=rtcp-mux, as RFC 9725 section 4.4.1 and
// WHEP demand of both sides and the WebRTC stack does not write. Their answers have it too, though RFC 8858 section 4.2
// knows it in offers only; whoever goes by that passes it over.
func MuxOnly(text string) string {
	const mux, only = "a=rtcp-mux\r\n", "a=rtcp-mux-only\r\n"
	if strings.Contains(text, only) {
		return text
	}
	return strings.ReplaceAll(text, mux, mux+only)
}

// Restart is what a peer needs to know of a new description of ours after an ICE restart: credentials, candidates, and
// what our transport can do.
func Restart(ours string) *Fragment {
	f := &Fragment{End: true}
	seen := map[string]bool{}
	for line := range strings.Lines(ours) {
		attribute, ok := strings.CutPrefix(strings.TrimSpace(line), "a=")
		if !ok {
			continue
		}
		switch name, value, _ := strings.Cut(attribute, ":"); name {
		case "ice-ufrag":
			f.Ufrag = value
		case "ice-pwd":
			f.Password = value
		case "mid":
			f.MIDs = append(f.MIDs, value)
		case "candidate":
			if !seen[attribute] {
				f.Candidates = append(f.Candidates, attribute)
			}
			seen[attribute] = true
		case "ice-lite", "ice-options", "ice-pacing":
			if !seen[attribute] {
				f.Transport = append(f.Transport, attribute)
			}
			seen[attribute] = true
		}
	}
	return f
}
