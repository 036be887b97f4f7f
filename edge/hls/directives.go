package hls

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// directives are the delivery directives of a playlist request (RFC 8216bis section 6.2.5).
type directives struct {
	blocking bool  // _HLS_msn is there
	msn      int64 // _HLS_msn
	part     int   // _HLS_part; noPart where there is none
	skip     bool  // _HLS_skip is YES or v2
}

const noPart = -1

const (
	maxQuery   = 2048    // bytes; what a player sends has less than 100
	maxInteger = 1 << 53 // what every player can count to
	prefix     = "_HLS_"
)

// parseDirectives reads the directives of a query. Parameters that are none are ignored, and so are
// directives not known here, as the RFC demands. The complaint is a sentence for the client, empty where
// there is none.
func parseDirectives(query string) (d directives, complaint string) {
	d.part = noPart
	if len(query) > maxQuery {
		return d, fmt.Sprintf("The query is longer than %d bytes. Send the _HLS_ directives only.", maxQuery)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return d, "The query cannot be read. Write it as name=value pairs joined by \"&\"."
	}
	for name, all := range values {
		if strings.HasPrefix(name, prefix) && len(all) > 1 {
			return d, "A directive is there twice. Send each _HLS_ directive once."
		}
	}
	if d.blocking = values.Has("_HLS_msn"); d.blocking {
		if d.msn, complaint = integer("_HLS_msn", values.Get("_HLS_msn")); complaint != "" {
			return d, complaint
		}
	}
	if values.Has("_HLS_part") {
		n, complaint := integer("_HLS_part", values.Get("_HLS_part"))
		if complaint != "" {
			return d, complaint
		}
		if !d.blocking {
			return d, "_HLS_part says nothing without _HLS_msn. Send both, or neither."
		}
		d.part = int(n)
	}
	// A value from a later version of the protocol gets the whole playlist, which every client can use.
	skip := values.Get("_HLS_skip")
	d.skip = skip == "YES" || skip == "v2"
	return d, ""
}

// integer reads a decimal-integer (RFC 8216bis section 4.2).
func integer(name, text string) (n int64, complaint string) {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0, fmt.Sprintf("%s is no number. Send a whole number from 0 to 2^53.", name)
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n > maxInteger {
		return 0, fmt.Sprintf("%s is no number from 0 to 2^53. Send the one that follows from the playlist.", name)
	}
	return n, ""
}
