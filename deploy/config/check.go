package config

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"banyan/ingest/rtsp"
	"banyan/relay/auth"
	"banyan/relay/media"
	"banyan/transcoder"
)

// checks are what the check tag of a field can ask for, by name; arguments follow "=". A field may ask for several,
// joined by ",". Two more are looked at elsewhere: "optional" lets the empty text pass, "some" asks for a list that
// is not empty.
var checks = map[string]func(value reflect.Value, argument string) error{
	"text":    func(v reflect.Value, _ string) error { return checkText(v.String()) },
	"addr":    func(v reflect.Value, _ string) error { return checkAddr(v.String()) },
	"even":    func(v reflect.Value, _ string) error { return checkEven(v.String()) },
	"label":   func(v reflect.Value, _ string) error { return checkLabel(v.String()) },
	"ip":      func(v reflect.Value, _ string) error { return checkIP(v.String()) },
	"header":  func(v reflect.Value, _ string) error { return checkHeader(v.String()) },
	"network": func(v reflect.Value, _ string) error { return checkNetwork(v.String()) },
	"secrets": func(v reflect.Value, _ string) error { return checkSecrets(v.String()) },
	"secret":  func(v reflect.Value, _ string) error { return checkSecret(v.String()) },
	"format":  func(v reflect.Value, _ string) error { return checkFormat(v.String()) },
	"oneof":   func(v reflect.Value, choices string) error { return checkChoice(v.String(), choices) },
	"from":    func(v reflect.Value, least string) error { return checkBound(v, least, -1, "at least") },
	"to":      func(v reflect.Value, most string) error { return checkBound(v, most, +1, "at most") },
}

func has(check, name string) bool { return slices.Contains(strings.Split(check, ","), name) }

func checkValue(value reflect.Value, check string) error {
	if value.Kind() == reflect.String && value.Len() == 0 && has(check, "optional") {
		return nil
	}
	for item := range strings.SplitSeq(check, ",") {
		name, argument, _ := strings.Cut(item, "=")
		if test := checks[name]; test != nil {
			if err := test(value, argument); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkText(s string) error {
	switch {
	case s == "":
		return errors.New("it is empty: write a value, or leave the key out for its default")
	case strings.ContainsAny(s, "\x00\r\n"):
		return fmt.Errorf("%.40q has a control character: take it out", s)
	}
	return nil
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)

// checkAddr takes what net.Listen takes, with a numeric port. Port 0 lets the system choose.
func checkAddr(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%.80q is not an address: write host:port, or :port for all interfaces, such as %q", s, ":8080")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%.80q has no port between 0 and 65535: write one, such as %q", s, net.JoinHostPort(host, "8080"))
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && !hostName.MatchString(host) {
		return fmt.Errorf("%.80q has no good host: write an IP address, a name, or :%s for all interfaces", s, port)
	}
	return nil
}

// checkEven wants an address, which checkAddr has looked at, to have an even port: that of RTP, as RTCP takes the
// odd one after it (RFC 3550, section 11).
func checkEven(addr string) error {
	host, text, _ := net.SplitHostPort(addr)
	port, _ := strconv.Atoi(text)
	if port%2 == 0 {
		return nil
	}
	even := port + 1
	if even > 65535 {
		even = port - 1
	}
	return fmt.Errorf("port %d is odd: write an even one, such as %q, as RTCP takes the one after it",
		port, net.JoinHostPort(host, strconv.Itoa(even)))
}

// maxLabel is the most characters in the name of a node or region; they go into gossip and metrics.
const maxLabel = 64

func labelRune(r rune) bool {
	return r == '-' || r == '_' || r == '.' || '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z'
}

func checkLabel(s string) error {
	if len(s) > maxLabel || strings.ContainsFunc(s, func(r rune) bool { return !labelRune(r) }) {
		return fmt.Errorf("%.80q cannot be used: write at most %d of A-Z, a-z, 0-9, \"-\", \"_\" and \".\"", s, maxLabel)
	}
	return nil
}

func checkIP(s string) error {
	if ip, err := netip.ParseAddr(s); err != nil || ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() {
		return fmt.Errorf("%.80q is not the address of one machine: write an IP address, such as 203.0.113.7", s)
	}
	return nil
}

func checkNetwork(s string) error {
	if _, err := netip.ParsePrefix(s); err != nil {
		return fmt.Errorf("%.80q is not a network: write one such as 10.0.0.0/8, or 192.0.2.7/32 for one machine", s)
	}
	return nil
}

var headerName = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

func checkHeader(s string) error {
	if !headerName.MatchString(s) {
		return fmt.Errorf("%.80q is not the name of a header: write letters, digits and hyphens, such as X-Region", s)
	}
	return nil
}

func checkSecret(s string) error {
	if s != "" && len(s) < auth.MinSecretBytes {
		return fmt.Errorf("it has %d bytes: write at least %d random ones, such as `openssl rand -hex 32` prints",
			len(s), auth.MinSecretBytes)
	}
	return nil
}

// maxKeys is how many keys of the cluster there can be: the old, the new, and one or two that were forgotten.
const maxKeys = 4

func checkSecrets(list string) error {
	keys := splitKeys(list)
	for i, key := range keys {
		if err := checkSecret(key); err != nil {
			return fmt.Errorf("key %d of %d: %w", i+1, len(keys), err)
		}
	}
	if len(keys) > maxKeys {
		return fmt.Errorf("it has %d keys: write at most %d, and take out those that no node uses any more", len(keys), maxKeys)
	}
	return nil
}

// checkFormat accepts what the transcoder can make.
func checkFormat(s string) error {
	_, err := transcoder.ParseTarget(s)
	return err
}

func checkChoice(s, choices string) error {
	all := strings.Split(choices, "|")
	if !slices.Contains(all, s) {
		return fmt.Errorf("%.40q is not known: write %s or %s", s, strings.Join(all[:len(all)-1], ", "), all[len(all)-1])
	}
	return nil
}

// checkBound fails if value lies on the far side of bound, which is written as the value itself would be.
func checkBound(value reflect.Value, bound string, side int, words string) error {
	limit := reflect.New(value.Type()).Elem()
	if err := decodeText(limit, bound); err != nil {
		return err
	}
	if (value.Int()-limit.Int())*int64(side) > 0 {
		return fmt.Errorf("%v is out of range: write %s %s", value.Interface(), words, bound)
	}
	return nil
}

// check looks at what single keys cannot show: lists of several values and relations between keys, where right tells
// that each of them alone is.
func (c *Config) check(right func(key string) bool) []error {
	var mistakes []error
	mistake := func(key, format string, arguments ...any) {
		if right(key) {
			mistakes = append(mistakes, fmt.Errorf("%s: "+format, append([]any{key}, arguments...)...))
		}
	}
	if (c.HTTP.TLS.Cert == "") != (c.HTTP.TLS.Key == "") {
		mistake("http.tls.cert", "certificate and key go together: set http.tls.cert and http.tls.key")
	}
	if c.HTTP.TLS.Addr != "" && c.HTTP.TLS.Cert == "" {
		mistake("http.tls.addr", "HTTPS needs a certificate: set http.tls.cert and http.tls.key to PEM files")
	}
	if c.RTSP.TLS.Addr != "" && c.HTTP.TLS.Cert == "" {
		mistake("rtsp.tls.addr", "RTSPS needs a certificate: set http.tls.cert and http.tls.key to PEM files")
	}
	for i, server := range c.RTC.ICEServers {
		if err := server.check(); err != nil {
			mistake("rtc.ice_servers", "item %d: %w", i+1, err)
		}
	}
	users := map[string]bool{}
	for i, user := range c.RTSP.Users {
		if err := user.check(); err != nil {
			mistake("rtsp.users", "item %d: %w", i+1, err)
		}
		if users[user.User] {
			mistake("rtsp.users", "item %d: the user stands there twice: put all of its patterns into one entry", i+1)
		}
		users[user.User] = true
	}
	mistakes = append(mistakes, c.checkHLS(right)...)
	if err := checkLadder(c.Ladder.Default); err != nil {
		mistake("ladder.default", "%w", err)
	}
	for i, rule := range c.Ladder.Streams {
		if err := rule.check(); err != nil {
			mistake("ladder.streams", "item %d: %w", i+1, err)
		}
	}
	for i := range c.Edge.Regions {
		if err := c.Edge.Regions[i].check(); err != nil {
			mistake("edge.regions", "item %d: %w", i+1, err)
		}
	}
	if c.Edge.GeoIP != "" && len(c.Edge.Regions) == 0 {
		mistake("edge.regions", "edge.geoip tells countries, and nothing says which region serves them: write the list")
	}
	pulled := map[media.Name]bool{}
	for i := range c.RTSP.Pull {
		pull := &c.RTSP.Pull[i]
		if err := pull.check(); err != nil {
			mistake("rtsp.pull", "item %d: %w", i+1, err)
		}
		if pulled[pull.Stream] {
			mistake("rtsp.pull", "item %d: stream %s is pulled twice: give each its own name", i+1, pull.Stream)
		}
		pulled[pull.Stream] = true
	}
	return mistakes
}

// checkHLS looks at lengths of time that depend on each other.
func (c *Config) checkHLS(right func(key string) bool) (mistakes []error) {
	mistake := func(format string, arguments ...any) { mistakes = append(mistakes, fmt.Errorf(format, arguments...)) }
	segment := c.HLS.Segment
	if !right("hls.segment") {
		return nil // all others depend on it
	}
	if segment%time.Second != 0 {
		mistake("hls.segment: %v is not a whole number of seconds: write one, so that every node counts segments alike", segment)
	}
	if right("hls.part") && (segment%c.HLS.Part != 0 || c.HLS.Part > segment/2) {
		mistake("hls.part: a segment of %v is not two or more whole parts of %v: write a part that divides it", segment, c.HLS.Part)
	}
	const leastListed = 8 // segments: delta updates need six to skip, and a player two to begin with
	if least := leastListed * segment; right("hls.window") && c.HLS.Window < least {
		mistake("hls.window: %v is less than %d segments of %v: write at least %v", c.HLS.Window, leastListed, segment, least)
	}
	if right("ring.seconds") && c.Ring.Seconds < 2*segment {
		mistake("ring.seconds: %v does not hold two segments of %v: write at least %v", c.Ring.Seconds, segment, 2*segment)
	}
	return mistakes
}

func checkLadder(formats []media.Format) error {
	if len(formats) == 0 {
		return errors.New("formats: the list is empty: write at least one, such as [source]")
	}
	for i, format := range formats {
		if err := checkFormat(string(format)); err != nil {
			return err
		}
		if slices.Contains(formats[:i], format) {
			return fmt.Errorf("format %s stands there twice: take one out", format)
		}
	}
	return nil
}

// check quotes nothing: what stands in the wrong place may be the password.
func (u *RTSPUser) check() error {
	switch {
	case u.User == "" || strings.ContainsAny(u.User, "\"\\:\x00\r\n"):
		return errors.New("user: write a name without quotes, colons and control characters")
	case len(u.Password) < minPassword || strings.ContainsAny(u.Password, "\x00\r\n"):
		return fmt.Errorf("password: write at least %d characters in one line", minPassword)
	case len(u.Publish)+len(u.Play) == 0:
		return errors.New("the user may do nothing: write patterns of stream names in publish, play or both")
	}
	for verb, globs := range map[string][]auth.Glob{"publish": u.Publish, "play": u.Play} {
		for _, glob := range globs {
			if _, err := auth.ParseGlob(string(glob)); err != nil {
				return fmt.Errorf("%s: %w", verb, err)
			}
		}
	}
	return nil
}

// minPassword is the least length of a password of a device. Guessing is slow: each failure costs the connection.
const minPassword = 8

func (r *LadderRule) check() error {
	if _, err := auth.ParseGlob(string(r.Match)); err != nil {
		return fmt.Errorf("match: %w", err)
	}
	return checkLadder(r.Formats)
}

var (
	countryCode = regexp.MustCompile(`^[A-Z]{2}$`)
	continents  = []string{"AF", "AN", "AS", "EU", "NA", "OC", "SA"}
)

func (r *EdgeRegion) check() error {
	if r.Region == "" {
		return errors.New("region: write the node.region of the edges that serve these viewers")
	}
	if err := checkLabel(r.Region); err != nil {
		return fmt.Errorf("region: %w", err)
	}
	if len(r.Countries)+len(r.Continents) == 0 {
		return errors.New("nobody is of this region: write countries, continents or both")
	}
	for _, country := range r.Countries {
		if !countryCode.MatchString(country) {
			return fmt.Errorf("countries: %.40q is no code of a country: write two capital letters, such as DE", country)
		}
	}
	for _, continent := range r.Continents {
		if !slices.Contains(continents, continent) {
			return fmt.Errorf("continents: %.40q is not known: write one of %s", continent, strings.Join(continents, ", "))
		}
	}
	return nil
}

// check also fills in the default transport. The rules are those of the part that pulls, so that no command takes what
// another refuses.
func (p *Pull) check() error {
	p.Transport = cmp.Or(p.Transport, "auto")
	return rtsp.Pull{Stream: string(p.Stream), URL: p.URL, Transport: p.Transport}.Check()
}
