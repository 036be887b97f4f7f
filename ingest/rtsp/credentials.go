package rtsp

import (
	"crypto/md5" // of RFC 2617; cameras and FFmpeg know nothing newer
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"regexp"
	"strconv"
	"strings"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
)

// credentials are what an Authorization header carries: either Basic (RFC 7617) or Digest (RFC 7616).
type credentials struct {
	user     string
	password string  // of Basic
	digest   *digest // nil for Basic
}

// digest is a proof that its sender knows a password. Clients that know no more than RFC 2069, as most cameras and
// players, leave qop, count and cnonce away.
type digest struct {
	realm, nonce, uri, response string
	algorithm                   string // in capitals
	qop, count, cnonce          string
}

var errUnreadable = errors.New("the Authorization header cannot be read")

// parseAuthorization reads the values of the header.
func parseAuthorization(header base.HeaderValue) (credentials, error) {
	if len(header) != 1 {
		return credentials{}, errUnreadable
	}
	scheme, text, _ := strings.Cut(header[0], " ")
	switch strings.ToLower(scheme) {
	case "basic":
		plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
		user, password, is := strings.Cut(string(plain), ":")
		if err != nil || !is {
			return credentials{}, errUnreadable
		}
		return credentials{user: user, password: password}, nil
	case "digest":
		return parseDigest(text)
	}
	return credentials{}, errUnreadable
}

// parameter is name=value or name="value"; in quotes, \ stands before " and itself (RFC 9110, section 5.6.4).
var parameter = regexp.MustCompile(`([A-Za-z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))`)

var quotedPair = regexp.MustCompile(`\\(.)`)

func parseDigest(text string) (credentials, error) {
	given := map[string]string{}
	for _, found := range parameter.FindAllStringSubmatch(text, -1) {
		name := strings.ToLower(found[1])
		if _, twice := given[name]; twice {
			return credentials{}, errUnreadable
		}
		given[name] = quotedPair.ReplaceAllString(found[2], "$1") + found[3]
	}
	d := &digest{
		realm: given["realm"], nonce: given["nonce"], uri: given["uri"], response: given["response"],
		algorithm: strings.ToUpper(given["algorithm"]),
		qop:       given["qop"], count: given["nc"], cnonce: given["cnonce"],
	}
	if given["username"] == "" || d.uri == "" || d.response == "" {
		return credentials{}, errUnreadable
	}
	return credentials{user: given["username"], digest: d}, nil
}

// The algorithms of Digest, in the order in which they are offered: of several FFmpeg takes the last, and it knows
// MD5 alone.
const (
	algorithmSHA256 = "SHA-256"
	algorithmMD5    = "MD5"
)

// answers tells whether d is what somebody who knows the password makes of the request.
func (d *digest) answers(req *base.Request, user, password string) bool {
	var fresh func() hash.Hash
	switch d.algorithm {
	case algorithmSHA256:
		fresh = sha256.New
	case algorithmMD5, "":
		fresh = md5.New
	default:
		return false
	}
	of := func(parts ...string) string {
		h := fresh()
		_, _ = h.Write([]byte(strings.Join(parts, ":"))) // a hash does not fail
		return hex.EncodeToString(h.Sum(nil))
	}
	secret, request := of(user, d.realm, password), of(string(req.Method), d.uri)
	var want string
	switch d.qop {
	case "":
		want = of(secret, d.nonce, request)
	case "auth":
		want = of(secret, d.nonce, d.count, d.cnonce, d.qop, request)
	default:
		return false
	}
	return d.realm == realm && d.isFor(req) &&
		subtle.ConstantTimeCompare([]byte(want), []byte(strings.ToLower(d.response))) == 1
}

// isFor tells whether the digest was made for the URL of a request. VLC takes that of the stream for its tracks.
func (d *digest) isFor(req *base.Request) bool {
	if req.URL == nil {
		return false
	}
	url := req.URL.String()
	if d.uri == url {
		return true
	}
	stream, _, is := strings.Cut(url, "trackID=")
	return is && req.Method == base.Setup && d.uri == stream
}

// nonce is what the next proof on a connection has to be made with. It is good for one proof, or, with clients that
// count, for one of each count, and each count is higher than the one before (RFC 7616, section 3.4): what was heard
// on the way is of no use to anybody.
type nonce struct {
	text  string
	spent bool
	count uint64 // the highest so far
}

func newNonce() nonce { return nonce{text: rand.Text()} }

// take uses the nonce up for a proof that has been found right; it tells whether the nonce was still good.
func (n *nonce) take(d *digest) bool {
	if d.qop == "" {
		fresh := !n.spent && n.count == 0
		n.spent = true
		return fresh
	}
	count, err := strconv.ParseUint(d.count, 16, 32)
	if err != nil || n.spent || count <= n.count {
		return false
	}
	n.count = count
	return true
}

// challenges are the values of WWW-Authenticate. Basic shows the password to everybody on the way, so it is for TLS.
func challenges(nonce string, stale, secure bool) base.HeaderValue {
	var all base.HeaderValue
	if secure {
		all = append(all, fmt.Sprintf(`Basic realm="%s"`, realm))
	}
	for _, algorithm := range []string{algorithmSHA256, algorithmMD5} {
		value := fmt.Sprintf(`Digest realm="%s", nonce="%s", algorithm="%s", qop="auth"`, realm, nonce, algorithm)
		if stale {
			value += `, stale="true"`
		}
		all = append(all, value)
	}
	return all
}
