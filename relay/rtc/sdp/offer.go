package sdp

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	pion "github.com/pion/sdp/v3"

	"banyan/relay/media"
)

// Role is what the peer that makes the offer wants to do.
type Role uint8

// The roles.
const (
	Publish Role = iota + 1 // the peer sends: its m-lines are sendonly or sendrecv
	Play                    // the peer receives: its m-lines are recvonly or sendrecv
)

// direction is that of an m-line of a peer that does nothing else.
func (r Role) direction() string {
	if r == Publish {
		return "sendonly"
	}
	return "recvonly"
}

// Bounds of an offer. Browsers stay far below all of them.
const (
	MaxBytes     = 128 << 10
	maxLine      = 4 << 10
	maxMedia     = 8
	maxPayloads  = 128
	maxMID       = 32
	maxSSRCs     = 64
	maxExtension = 255
	maxRIDs      = 8
)

// Error says what is wrong with a description, in a sentence fit for the peer. Understood tells a description that
// is well formed but asks for what cannot be had (422) from one that is broken (400).
type Error struct {
	Detail     string
	Understood bool
}

func (e *Error) Error() string { return e.Detail }

func bad(format string, args ...any) error {
	return &Error{Detail: fmt.Sprintf(format, args...)}
}

func unable(format string, args ...any) error {
	return &Error{Detail: fmt.Sprintf(format, args...), Understood: true}
}

// Offer is a description that passed all checks. It does not change once parsed.
type Offer struct {
	Text  string // what the WebRTC stack is given
	Media []Media

	Ufrag, Password string // the peer's ICE credentials
	Fingerprint     string // of the peer's certificate, as "sha-256 4A:AD:…"
	Setup           string // who is to begin with DTLS: "actpass", or "active" where the peer does, or "passive"
}

// Media is one m-line.
type Media struct {
	MID    string
	Kind   media.Kind
	Codecs []Codec // those that Banyan can carry, in the peer's order of preference; empty only of a peer that plays

	// TransportSeq is the id of the header extension that counts a session's packets (RFC 8285 section 4.2), 1 to 14;
	// zero where the peer does not have it, or not in the one-byte form.
	TransportSeq uint8
	// ReducedSize is whether the peer knows RTCP packets that are not compound (RFC 5506): an answer says so only where
	// the offer does.
	ReducedSize bool
}

// TransportSeqURI names that extension (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 2.1).
const TransportSeqURI = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"

// Of is the m-line of a kind, or nil. An offer has at most one of each.
func (o *Offer) Of(kind media.Kind) *Media {
	for i := range o.Media {
		if o.Media[i].Kind == kind {
			return &o.Media[i]
		}
	}
	return nil
}

// ParseOffer checks the offer of a peer with the given role. Errors are of type *Error.
func ParseOffer(text string, role Role) (*Offer, error) {
	d, err := parse(text)
	if err != nil {
		return nil, err
	}
	o := &Offer{Text: oneWay(sanitise(text), role)}
	for _, check := range []func(*Offer, *pion.SessionDescription, Role) error{
		checkMedia, checkMIDs, checkBundle, checkICE, checkFingerprint, checkSetup,
	} {
		if err := check(o, d, role); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// parse reads the lines of a description that has media.
func parse(text string) (*pion.SessionDescription, error) {
	if err := checkText(text, MaxBytes); err != nil {
		return nil, err
	}
	d := &pion.SessionDescription{}
	if err := d.UnmarshalString(text); err != nil {
		return nil, bad("This is not a session description (RFC 8866). Send the SDP of your peer connection as it is.")
	}
	if len(d.MediaDescriptions) == 0 {
		return nil, bad("The description has no media. Add a video or an audio track before you make it.")
	}
	if len(d.MediaDescriptions) > maxMedia {
		return nil, bad("The description has %d m-lines. Send at most one for video and one for audio.", len(d.MediaDescriptions))
	}
	return d, nil
}

func checkText(text string, most int) error {
	switch {
	case strings.TrimSpace(text) == "":
		return bad("The body is empty. Send the SDP of your peer connection.")
	case len(text) > most:
		return bad("The description has %d bytes. Send at most %d.", len(text), most)
	case strings.IndexByte(text, 0) >= 0 || !utf8.ValidString(text):
		return bad("The description holds bytes that are not text. Send SDP in UTF-8.")
	}
	for line := range strings.Lines(text) {
		if len(line) > maxLine {
			return bad("A line of the description has %d bytes. Send lines of at most %d.", len(line), maxLine)
		}
		if i := strings.IndexByte(strings.TrimRight(line, "\r\n"), '\r'); i >= 0 {
			return bad("A line of the description holds a carriage return. End lines with CRLF and use CR nowhere else.")
		}
	}
	return nil
}

// checkMedia reads each m-line. It is also all there is to the rule of a single MediaStream (RFC 9725 section 4.4.2), by
// which clients write one msid in all m-lines and servers refuse what they do not support. What that rule keeps out is
// more than one track of a kind, and that is refused. Which MediaStream a client's tracks are in is looked at no
// further: a stream here has one track of each kind whatever their msids say, so two MediaStreams of one track each mean
// the same as one of both, and are what clients write whose tracks each name a MediaStream: pages that capture screen
// and microphone apart, programs that choose the ids themselves. Tracks in no MediaStream, with the msid "-" or none,
// come from pages that call addTrack or addTransceiver with the track alone; some clients write msids with a=ssrc only.
func checkMedia(o *Offer, d *pion.SessionDescription, role Role) error {
	for _, m := range d.MediaDescriptions {
		kind := kindOf(m.MediaName.Media)
		if kind == 0 {
			return unable("The offer has an m-line for %.20q. Only video and audio are carried here: remove data channels and the like.",
				m.MediaName.Media)
		}
		if m.MediaName.Port.Value == 0 && !bundleOnly(m) { // it would have to be answered so (RFC 3264 section 6)
			return unable("The %v m-line has the port 0, by which it is switched off. Leave it out, or mark it as a=bundle-only.", kind)
		}
		if o.Of(kind) != nil {
			return unable("The offer has more than one %v m-line. Send one; publish further tracks as streams of their own.", kind)
		}
		if err := checkDirection(d, m, role); err != nil {
			return err
		}
		line, err := readMedia(m, kind)
		if err != nil {
			return err
		}
		if len(line.Codecs) == 0 && role == Publish { // who plays may be made another offer
			return unable("The %v m-line offers no codec that is carried here. Offer one of: %s.", kind, names(kind))
		}
		o.Media = append(o.Media, line)
	}
	return nil
}

// readMedia reads an m-line of the given kind.
func readMedia(m *pion.MediaDescription, kind media.Kind) (Media, error) {
	if !slices.Contains(m.MediaName.Protos, "SAVPF") || !slices.Contains(m.MediaName.Protos, "TLS") {
		return Media{}, bad("An m-line has the transport %.40q. Use UDP/TLS/RTP/SAVPF, which is what WebRTC peers write.",
			strings.Join(m.MediaName.Protos, "/"))
	}
	if err := checkAttributes(m); err != nil {
		return Media{}, err
	}
	codecs, err := readCodecs(m, kind)
	if err != nil {
		return Media{}, err
	}
	mid, _ := m.Attribute("mid")
	_, reduced := m.Attribute("rtcp-rsize")
	return Media{MID: mid, Kind: kind, Codecs: codecs, TransportSeq: transportSeq(m), ReducedSize: reduced}, nil
}

// transportSeq finds the extension that counts packets, if the peer would receive it.
func transportSeq(m *pion.MediaDescription) uint8 {
	for _, a := range m.Attributes {
		fields := strings.Fields(a.Value)
		if a.Key != "extmap" || len(fields) < 2 || fields[1] != TransportSeqURI {
			continue
		}
		number, direction, _ := strings.Cut(fields[0], "/")
		id, err := strconv.ParseUint(number, 10, 8)
		if err == nil && id >= 1 && id <= 14 && (direction == "" || direction == "sendrecv" || direction == "recvonly") {
			return uint8(id)
		}
	}
	return 0
}

func kindOf(name string) media.Kind {
	switch name {
	case "video":
		return media.Video
	case "audio":
		return media.Audio
	}
	return 0
}

func checkDirection(d *pion.SessionDescription, m *pion.MediaDescription, role Role) error {
	direction := directionOf(d, m)
	want := role.direction()
	if direction != want && direction != "sendrecv" {
		return unable("The %s m-line is %s. Make it %s.", m.MediaName.Media, direction, want)
	}
	return nil
}

func directionOf(d *pion.SessionDescription, m *pion.MediaDescription) string {
	direction := "sendrecv" // RFC 8866 section 6.7: the default
	for _, attributes := range [][]pion.Attribute{d.Attributes, m.Attributes} {
		for _, a := range attributes {
			if isDirection(a.Key) {
				direction = a.Key
			}
		}
	}
	return direction
}

func isDirection(attribute string) bool {
	switch attribute {
	case "sendrecv", "sendonly", "recvonly", "inactive":
		return true
	}
	return false
}

// checkAttributes checks what nobody needs to understand but a hostile peer may misuse.
func checkAttributes(m *pion.MediaDescription) error {
	if _, ok := m.Attribute("rtcp-mux"); !ok {
		return bad("An m-line lacks a=rtcp-mux. RTP and RTCP share one port here: offer it (rtcpMuxPolicy \"require\").")
	}
	extensions, ssrcs, rids := map[int]bool{}, map[uint32]bool{}, map[string]bool{}
	for _, a := range m.Attributes {
		var err error
		switch a.Key {
		case "extmap":
			err = checkExtension(a.Value, extensions)
		case "ssrc":
			err = checkSSRC(a.Value, ssrcs)
		case "rid":
			err = checkRID(a.Value, rids)
		}
		if err != nil {
			return err
		}
	}
	for _, a := range m.Attributes {
		var err error
		switch a.Key {
		case "ssrc-group":
			err = checkSSRCGroup(a.Value, ssrcs)
		case "simulcast":
			err = checkSimulcast(a.Value, rids)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkExtension checks an a=extmap (RFC 8285 section 5).
func checkExtension(value string, seen map[int]bool) error {
	number, _, _ := strings.Cut(value, " ")
	number, _, _ = strings.Cut(number, "/")
	id, err := strconv.Atoi(number)
	switch {
	case err != nil || id < 1 || id > maxExtension || id == 15:
		return bad("a=extmap:%.20q has no valid id. Use 1 to 14, or 16 to 255 (RFC 8285).", number)
	case seen[id]:
		return bad("Two a=extmap lines have the id %d. Give each extension its own.", id)
	}
	seen[id] = true
	return nil
}

func checkSSRC(value string, seen map[uint32]bool) error {
	number, _, _ := strings.Cut(value, " ")
	ssrc, err := strconv.ParseUint(number, 10, 32)
	if err != nil || ssrc == 0 {
		return bad("a=ssrc:%.20q is not a synchronisation source. Use 1 to 4294967295.", number)
	}
	seen[uint32(ssrc)] = true
	if len(seen) > maxSSRCs {
		return bad("An m-line names more than %d sources. Send fewer.", maxSSRCs)
	}
	return nil
}

// checkSSRCGroup checks an a=ssrc-group (RFC 5576 section 4.2): known sources, each once.
func checkSSRCGroup(value string, known map[uint32]bool) error {
	fields := strings.Fields(value)
	if len(fields) < 2 {
		return bad("An a=ssrc-group names no sources. Write its semantics and the sources it groups.")
	}
	seen := map[uint64]bool{}
	for _, field := range fields[1:] {
		ssrc, err := strconv.ParseUint(field, 10, 32)
		if err != nil || !known[uint32(ssrc)] || seen[ssrc] {
			return bad("An a=ssrc-group names %.20q, which is not one of the m-line's sources or is named twice.", field)
		}
		seen[ssrc] = true
	}
	return nil
}

func checkRID(value string, seen map[string]bool) error {
	const longest = 16
	id, _, _ := strings.Cut(value, " ")
	if id == "" || len(id) > longest || !token(id) || seen[id] {
		return bad("a=rid:%.20q is not valid or comes twice. Use up to %d letters and digits, each id once.", id, longest)
	}
	seen[id] = true
	if len(seen) > maxRIDs {
		return bad("An m-line has more than %d a=rid lines. Send fewer.", maxRIDs)
	}
	return nil
}

// checkSimulcast checks that a=simulcast (RFC 8853) names known restrictions only.
func checkSimulcast(value string, known map[string]bool) error {
	for i, field := range strings.Fields(value) {
		if i%2 == 0 {
			continue // "send" or "recv"
		}
		for id := range strings.FieldsFuncSeq(field, func(r rune) bool { return r == ';' || r == ',' }) {
			if id = strings.TrimPrefix(id, "~"); !known[id] {
				return bad("a=simulcast names the unknown rid %.20q. Declare each with a=rid.", id)
			}
		}
	}
	return nil
}

func checkMIDs(o *Offer, d *pion.SessionDescription, _ Role) error {
	seen := map[string]bool{}
	for _, m := range o.Media {
		switch {
		case m.MID == "" || len(m.MID) > maxMID || !token(m.MID):
			return bad("An m-line has no valid a=mid. Give each one of up to %d letters and digits.", maxMID)
		case seen[m.MID]:
			return bad("Two m-lines have the mid %q. Give each its own.", m.MID)
		}
		seen[m.MID] = true
	}
	return nil
}

// checkBundle wants all m-lines on one transport (RFC 9725 section 4.4.1: max-bundle).
func checkBundle(o *Offer, d *pion.SessionDescription, _ Role) error {
	bundled := map[string]bool{}
	for _, a := range d.Attributes {
		if fields := strings.Fields(a.Value); a.Key == "group" && len(fields) > 0 && fields[0] == "BUNDLE" {
			if len(bundled) > 0 {
				return bad("The description has two BUNDLE groups. Put all m-lines into one (bundlePolicy \"max-bundle\").")
			}
			for _, mid := range fields[1:] {
				bundled[mid] = true
			}
		}
	}
	for _, m := range o.Media {
		if !bundled[m.MID] && (len(bundled) > 0 || len(o.Media) > 1) {
			return bad("The m-line %q is not in the BUNDLE group. Put all into one (bundlePolicy \"max-bundle\").", m.MID)
		}
	}
	if len(bundled) > len(o.Media) {
		return bad("The BUNDLE group names an m-line that is not there. Name the mids that are in use.")
	}
	return nil
}

// transportValues are the values of an attribute of the bundled transport, wherever it is written.
func transportValues(d *pion.SessionDescription, key string) []string {
	var values []string
	collect := func(attributes []pion.Attribute) {
		for _, a := range attributes {
			if a.Key == key && !slices.Contains(values, a.Value) {
				values = append(values, a.Value)
			}
		}
	}
	collect(d.Attributes)
	for _, m := range d.MediaDescriptions {
		collect(m.Attributes)
	}
	return values
}

func checkICE(o *Offer, d *pion.SessionDescription, _ Role) error {
	ufrags, passwords := transportValues(d, "ice-ufrag"), transportValues(d, "ice-pwd")
	if len(ufrags) != 1 || len(passwords) != 1 {
		return bad("The description needs exactly one a=ice-ufrag and one a=ice-pwd, the same in all m-lines.")
	}
	if err := checkCredentials(ufrags[0], passwords[0]); err != nil {
		return err
	}
	o.Ufrag, o.Password = ufrags[0], passwords[0]
	return nil
}

// checkCredentials checks the grammar of RFC 8839 section 5.4.
func checkCredentials(ufrag, password string) error {
	const (
		leastUfrag, leastPassword = 4, 22
		most                      = 256
	)
	switch {
	case len(ufrag) < leastUfrag || len(ufrag) > most || !iceChars(ufrag):
		return bad("a=ice-ufrag is not valid. It has %d to %d letters, digits, \"+\" and \"/\".", leastUfrag, most)
	case len(password) < leastPassword || len(password) > most || !iceChars(password):
		return bad("a=ice-pwd is not valid. It has %d to %d letters, digits, \"+\" and \"/\".", leastPassword, most)
	}
	return nil
}

// digests are the sizes of the hashes that a certificate may be pinned with. RFC 8122 knows MD5 and SHA-1 too; they
// can be forged.
var digests = map[string]int{"sha-256": 32, "sha-384": 48, "sha-512": 64}

func checkFingerprint(o *Offer, d *pion.SessionDescription, _ Role) error {
	prints := transportValues(d, "fingerprint")
	if len(prints) != 1 {
		return bad("The description has %d different a=fingerprint lines. Send exactly one, that of your DTLS certificate.", len(prints))
	}
	hash, value, _ := strings.Cut(prints[0], " ")
	size := digests[strings.ToLower(hash)]
	if size == 0 {
		return bad("The fingerprint's hash %.20q is not accepted. Use sha-256.", hash)
	}
	octets := strings.Split(value, ":")
	for _, octet := range octets {
		if _, err := strconv.ParseUint(octet, 16, 8); err != nil || len(octet) != 2 {
			size = 0
		}
	}
	if len(octets) != size {
		return bad("The a=fingerprint is not a %s digest. Write it as pairs of hexadecimal digits with colons between.", hash)
	}
	o.Fingerprint = strings.ToLower(hash) + " " + strings.ToUpper(value)
	return nil
}

func checkSetup(o *Offer, d *pion.SessionDescription, _ Role) error {
	setups := transportValues(d, "setup")
	if len(setups) != 1 || !slices.Contains([]string{"actpass", "active", "passive"}, setups[0]) {
		return bad("The offer needs one a=setup, the same in all m-lines: write actpass.")
	}
	o.Setup = setups[0]
	return nil
}

// token tells whether s is made of the characters that ids have in practice.
func token(s string) bool {
	for i := range len(s) {
		if !alphanumeric(s[i]) && s[i] != '-' && s[i] != '_' && s[i] != '.' && s[i] != '{' && s[i] != '}' {
			return false
		}
	}
	return true
}

func iceChars(s string) bool {
	for i := range len(s) {
		if !alphanumeric(s[i]) && s[i] != '+' && s[i] != '/' && s[i] != '-' && s[i] != '_' && s[i] != '=' {
			return false
		}
	}
	return true
}

func alphanumeric(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9'
}
