// Package auth decides who may publish, play and use the API.
//
// # Tokens
//
// A token is a JWT (RFC 7519), signed with HMAC-SHA-256 under the one secret of the installation. It says what its
// holder may do, so that every node can check it alone:
//
//	iss "banyan"   aud "banyan"   exp   iat   nbf (optional)   jti
//	sub            who holds it: a user's name, or one made up from jti
//	publish, play  lists of globs over stream names, see [Glob]
//	api            true if the REST API may be used
//
// Everything else about a token is refused rather than interpreted, because each liberty of the JOSE family has been
// somebody's break-in: the header holds alg and typ and nothing more (no kid, jku, x5u, jwk, crit), alg is HS256, a
// JSON member appears once, times are numbers, the audience is "banyan" alone (a token that also opens another
// service could be replayed by it), the life is at most [MaxTTL]. Times are allowed [Leeway] of clock skew.
//
// # The flow
//
//	token, err := auth.Bearer(r)                       // HTTP: one Authorization header, nothing else
//	claims, err := guard.CheckPublish(token, name)     // nil: go ahead
//	problem.WriteError(w, err)                         // or answer 401 or 403; the error knows which
//
// RTSP has no bearer header: the password of Basic authentication is the token, the user is free, and the same Check
// methods decide. Errors are [ErrNoToken], [ErrBadToken] and [ErrForbidden]; only their text for strangers reaches
// the client, the precise reason is for the log.
//
// Publishing and playing each have a [Mode]. In mode open no token is needed; the API always needs one.
//
// # Sessions
//
// A session id names a session and is no credential (CHECKLISTS S9). Whoever made a session with a token is its owner:
// package relay/rtc/wish, which keeps the sessions of WHIP and WHEP, lets only a good token of the same subject touch
// it, and an RTSP session belongs to its connection. A session lasts no longer than the grant that it was made with:
// whoever runs it gives [Watch] the Expires of its Claims.
//
// The package also keeps secrets out of logs, see [Redact]. It knows no HTTP routes, no sessions and no streams
// beyond their names, and imports only relay/media.
package auth
