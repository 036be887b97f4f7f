package rtsp

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"

	"banyan/relay/auth"
	"banyan/relay/media"
)

const realm = "banyan"

// User is somebody who may use Digest authentication, and Basic over TLS.
type User struct {
	Name, Password string
	Publish, Play  []string // globs over stream names, see auth.Glob
}

// verb is what somebody wants to do with a stream.
type verb string

const (
	publish verb = "publish"
	play    verb = "play"
)

// user is a checked User.
type user struct {
	password string
	may      map[verb][]auth.Glob
}

type users map[string]user

func checkUsers(list []User) (users, error) {
	all := users{}
	for i, u := range list {
		if _, twice := all[u.Name]; u.Name == "" || u.Password == "" || twice {
			return nil, fmt.Errorf("rtsp.users: item %d: give each user a name of its own and a password", i+1)
		}
		checked := user{password: u.Password, may: map[verb][]auth.Glob{}}
		for v, texts := range map[verb][]string{publish: u.Publish, play: u.Play} {
			globs, err := parseGlobs(texts)
			if err != nil {
				return nil, fmt.Errorf("rtsp.users: item %d: %s: %w", i+1, v, err)
			}
			checked.may[v] = globs
		}
		all[u.Name] = checked
	}
	return all, nil
}

func parseGlobs(texts []string) (globs []auth.Glob, err error) {
	for _, text := range texts {
		glob, err := auth.ParseGlob(text)
		if err != nil {
			return nil, err
		}
		globs = append(globs, glob)
	}
	return globs, nil
}

// grant is what a connection has proven: that it may do verb with name. check asks again, as tokens run out and are
// taken back; it is nil where there is none.
type grant struct {
	verb    verb
	name    media.Name
	expires time.Time
	check   func() error
}

// Why requests are turned down, besides the errors of package auth.
var (
	errWrongPassword = errors.New("wrong user or password")
	errStale         = errors.New("the nonce is used up, or not this connection's")
	errBasicInPlain  = errors.New("a password in the clear, by Basic authentication without TLS")
)

// prove finds out whether a request may do verb with name, by what it carries. What a connection has proven once
// holds for it from then on, unless it was by a token that is not good any more.
func (s *Server) prove(c *client, req *base.Request, v verb, name media.Name) (grant, error) {
	i := slices.IndexFunc(c.grants, func(g grant) bool { return g.verb == v && g.name == name })
	if i >= 0 {
		if again := c.grants[i].check; again != nil {
			if err := again(); err != nil {
				return grant{}, err
			}
		}
		return c.grants[i], nil
	}
	g, err := s.proveFresh(c, req, v, name)
	if err == nil && len(c.grants) < maxTracks {
		c.grants = append(c.grants, g)
	}
	return g, err
}

func (s *Server) proveFresh(c *client, req *base.Request, v verb, name media.Name) (grant, error) {
	token, header := queryToken(req.URL), req.Header["Authorization"]
	if token != "" || len(header) == 0 {
		return s.byToken(token, v, name)
	}
	given, err := parseAuthorization(header)
	if err != nil {
		return grant{}, err
	}
	u, known := s.users[given.user]
	switch {
	case given.digest != nil:
		err = c.checkDigest(req, given, u.password, known)
	case !c.conn.secure:
		return s.withoutBasic(v, name)
	case !known:
		return s.byToken(given.password, v, name)
	case subtle.ConstantTimeCompare([]byte(given.password), []byte(u.password)) != 1:
		err = errWrongPassword
	}
	if err != nil {
		return grant{}, err
	}
	if !slices.ContainsFunc(u.may[v], func(g auth.Glob) bool { return g.Match(name) }) {
		return grant{}, fmt.Errorf("user %q: %w", given.user, auth.ErrForbidden)
	}
	return grant{verb: v, name: name}, nil
}

// checkDigest tells whether a digest is that of a known user, and used for the first time.
func (c *client) checkDigest(req *base.Request, given credentials, password string, known bool) error {
	switch {
	case given.digest.nonce != c.nonce.text:
		return errStale
	case !given.digest.answers(req, given.user, password) || !known:
		return errWrongPassword
	case !c.nonce.take(given.digest):
		return errStale
	}
	return nil
}

// withoutBasic lets in whom nobody asks for anything; others have to prove themselves in another way.
func (s *Server) withoutBasic(v verb, name media.Name) (grant, error) {
	g, err := s.byToken("", v, name)
	if errors.Is(err, auth.ErrNoToken) {
		err = errBasicInPlain
	}
	return g, err
}

// queryToken is the token in the URL. Players append "/trackID=1" to the query.
func queryToken(u *base.URL) string {
	if u == nil {
		return ""
	}
	_, query := splitControl(u)
	values, err := url.ParseQuery(query)
	if err != nil {
		return ""
	}
	return values.Get("token")
}

func (s *Server) byToken(token string, v verb, name media.Name) (grant, error) {
	check := s.config.Guard.CheckPlay
	if v == publish {
		check = s.config.Guard.CheckPublish
	}
	claims, err := check(token, name)
	if err != nil {
		return grant{}, err
	}
	again := func() error { _, err := check(token, name); return err }
	return grant{verb: v, name: name, expires: claims.Expires, check: again}, nil
}

// maxFailures is how many wrong credentials a connection may show; the last one costs it, for who guesses shall have to
// connect anew, and connections are counted. It is not the first, as FFmpeg sends a request that was answered 401
// twice, and tells its user what the second answer was.
const maxFailures = 2

// refuse answers a request that prove turned down. The error, where there is one, closes the connection.
func (h *handler) refuse(c *client, v verb, name media.Name, cause error) (*base.Response, error) {
	switch {
	case errors.Is(cause, auth.ErrNoToken): // as every login begins
		c.unproven = name
		return c.challenge(needsToken, false), nil
	case errors.Is(cause, errStale):
		return c.challenge(needsToken, true), nil
	}
	h.counters.refusedAuth.Add(1)
	c.failures++
	h.logRefusal(c, string(name), fmt.Errorf("may not %s: %w", v, cause))
	var res *base.Response
	switch {
	case errors.Is(cause, auth.ErrForbidden):
		res = answer(base.StatusForbidden, fmt.Sprintf("You may not %s this stream: ask the operator for a token that allows it.", v))
	case errors.Is(cause, errBasicInPlain):
		res = c.challenge(needsOtherThanBasic, false)
	case errors.Is(cause, auth.ErrBadToken):
		res = c.challenge("The token is not valid, or no longer: ask the operator for a new one.", false)
	default:
		res = c.challenge("The user or the password is wrong. A token goes into the URL as ?token=.", false)
	}
	if c.failures < maxFailures {
		return res, nil
	}
	res.Header["Connection"] = base.HeaderValue{"close"}
	return res, fmt.Errorf("wrong credentials from %s", c.peer)
}

const (
	needsToken          = "This needs a token: put ?token= into the URL."
	needsOtherThanBasic = "Without TLS the password would be read on the way: put the token into the URL as ?token=, or use rtsps."
)

// challenge asks for credentials, with a nonce that nobody has seen.
func (c *client) challenge(sentence string, stale bool) *base.Response {
	c.nonce = newNonce()
	res := answer(base.StatusUnauthorized, sentence)
	res.Header["WWW-Authenticate"] = challenges(c.nonce.text, stale, c.conn.secure)
	return res
}

// maxRefusalLines is how many refusals of a connection are logged; it may go on being refused without us.
const maxRefusalLines = 3

// logRefusal tells the operator what a client asked for and why it did not get it. The path, which the cause may
// repeat, is the client's: it may be long, and hold a token in the wrong place.
func (h *handler) logRefusal(c *client, path string, cause error) {
	if c.refusals++; c.refusals > maxRefusalLines {
		return
	}
	h.refusals.Write(time.Now(), "RTSP request refused", "stream", printable(strings.TrimPrefix(path, "/")), "peer", c.peer,
		"method", c.request.Method, "cause", auth.RedactText(cause.Error()))
}

// printable is what may be logged of a path that a client sent.
func printable(path string) string {
	const most = 120
	path = strings.ToValidUTF8(auth.RedactText(path), "?")
	if len(path) > most {
		path = strings.ToValidUTF8(path[:most], "") + "…"
	}
	return path
}

// reject refuses a request for another reason than its credentials.
func (h *handler) reject(c *client, path string, status base.StatusCode, cause error) *base.Response {
	h.logRefusal(c, path, cause)
	return answer(status, auth.RedactText(cause.Error()))
}

// answer is a response with a sentence for whoever reads it: in the body, and in the status line, which is what
// FFmpeg and GStreamer show.
func answer(status base.StatusCode, sentence string) *base.Response {
	const most = 200 // bytes that a status line may have with room to spare (gortsplib reads 255)
	phrase := base.StatusMessages[status] + ": " + oneLine.Replace(sentence)
	if len(phrase) > most {
		phrase = strings.ToValidUTF8(phrase[:most], "")
	}
	return &base.Response{
		StatusCode:    status,
		StatusMessage: phrase,
		Header:        base.Header{"Content-Type": base.HeaderValue{"text/plain; charset=utf-8"}},
		Body:          []byte(sentence + "\n"),
	}
}

var oneLine = strings.NewReplacer("\r", " ", "\n", " ")
