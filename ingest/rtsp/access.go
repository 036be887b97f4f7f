package rtsp

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	lib "github.com/bluenviron/gortsplib/v4/pkg/auth"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"

	"banyan/relay/auth"
	"banyan/relay/media"
)

const realm = "banyan"

// User is somebody who may use Digest authentication.
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
		for v, globs := range map[verb][]string{publish: u.Publish, play: u.Play} {
			for _, s := range globs {
				glob, err := auth.ParseGlob(s)
				if err != nil {
					return nil, fmt.Errorf("rtsp.users: item %d: %s: %w", i+1, v, err)
				}
				checked.may[v] = append(checked.may[v], glob)
			}
		}
		all[u.Name] = checked
	}
	return all, nil
}

// grant is what a connection has proven: that it may do verb with name. check asks again, when the
// token has run out; it is nil where nothing runs out.
type grant struct {
	verb    verb
	name    media.Name
	expires time.Time
	check   func() error
}

var errWrongPassword = errors.New("wrong user or password")

// prove finds out whether a request may do verb with name, by what it carries.
func (s *Server) prove(c *client, req *base.Request, v verb, name media.Name) (grant, error) {
	i := slices.IndexFunc(c.grants, func(g grant) bool { return g.verb == v && g.name == name })
	if i >= 0 {
		return c.grants[i], nil
	}
	g, err := s.proveFresh(c, req, v, name)
	if err == nil && len(c.grants) < maxTracks {
		c.grants = append(c.grants, g)
	}
	return g, err
}

func (s *Server) proveFresh(c *client, req *base.Request, v verb, name media.Name) (grant, error) {
	var given headers.Authorization
	if values := req.Header["Authorization"]; len(values) == 0 {
		return s.byToken(queryToken(req.URL), v, name)
	} else if err := given.Unmarshal(values); err != nil {
		return grant{}, errWrongPassword
	}
	u, known := s.users[given.Username]
	switch {
	case given.Method == headers.AuthMethodBasic && !known:
		return s.byToken(given.BasicPass, v, name)
	case given.Method == headers.AuthMethodBasic:
		if subtle.ConstantTimeCompare([]byte(given.BasicPass), []byte(u.password)) != 1 {
			return grant{}, errWrongPassword
		}
	case given.Nonce != c.nonce:
		return grant{}, errStale
	case !known || lib.Verify(req, given.Username, u.password, digests, realm, c.nonce) != nil:
		return grant{}, errWrongPassword
	}
	if !slices.ContainsFunc(u.may[v], func(g auth.Glob) bool { return g.Match(name) }) {
		return grant{}, fmt.Errorf("user %q: %w", given.Username, auth.ErrForbidden)
	}
	return grant{verb: v, name: name}, nil
}

var (
	errStale = errors.New("the nonce is not this connection's")
	digests  = []lib.VerifyMethod{lib.VerifyMethodDigestMD5, lib.VerifyMethodDigestSHA256}
)

// queryToken is the token in the URL of FFmpeg. Players append "/trackID=1" to the query.
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

// refuse answers a request that prove turned down. The error, where there is one, closes the
// connection: who guesses has to connect anew, and connections are counted.
func (s *Server) refuse(c *client, err error) (*base.Response, error) {
	switch {
	case errors.Is(err, auth.ErrForbidden):
		s.counters.refusedAuth.Add(1)
		return answer(base.StatusForbidden, "You may not do this with this stream: ask the operator for a token that allows it."), nil
	case errors.Is(err, auth.ErrNoToken):
		return s.challenge(c, false), nil
	case errors.Is(err, errStale):
		return s.challenge(c, true), nil
	}
	s.counters.refusedAuth.Add(1)
	s.config.Logger.Warn("wrong RTSP credentials", "peer", c.peer)
	return s.challenge(c, false), fmt.Errorf("wrong credentials from %s", c.peer)
}

// challenge asks for credentials. The order matters: FFmpeg prefers Digest wherever it is offered, and
// of several takes the last, but knows only MD5.
func (s *Server) challenge(c *client, stale bool) *base.Response {
	res := answer(base.StatusUnauthorized, "This needs a token: send it as the password, with any user, or as ?token= in the URL.")
	ask := base.HeaderValue{headers.Authenticate{Method: headers.AuthMethodBasic, Realm: realm}.Marshal()[0]}
	if len(s.users) > 0 {
		for _, algorithm := range []headers.AuthAlgorithm{headers.AuthAlgorithmSHA256, headers.AuthAlgorithmMD5} {
			digest := headers.Authenticate{Method: headers.AuthMethodDigest, Realm: realm, Nonce: c.nonce, Algorithm: &algorithm}
			if stale {
				yes := "true"
				digest.Stale = &yes
			}
			ask = append(ask, digest.Marshal()[0])
		}
	}
	res.Header["WWW-Authenticate"] = ask
	return res
}

// answer is a response with a sentence for whoever reads it.
func answer(status base.StatusCode, sentence string) *base.Response {
	return &base.Response{
		StatusCode: status,
		Header:     base.Header{"Content-Type": base.HeaderValue{"text/plain; charset=utf-8"}},
		Body:       []byte(sentence + "\n"),
	}
}
