package main

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // what TURN servers check credentials with; as an HMAC it is not broken
	"encoding/base64"
	"net/url"
	"strconv"
	"time"

	"banyan/deploy/config"
	"banyan/relay/rtc/wish"
)

// turnLifetime is how long credentials that are made for one client are good. TURN servers ask for them again with each
// refresh of an allocation, so that they bound a session through TURN too.
const turnLifetime = 24 * time.Hour

// maxTURNUser bounds what of a user's name goes into the credentials, bytes.
const maxTURNUser = 128

// iceServers tells the clients of WHIP and WHEP which servers to use (RFC 9725 section 4.6); nil where there are none.
func iceServers(list []config.ICEServer, now func() time.Time) func(user string) []wish.ICEServer {
	if len(list) == 0 {
		return nil
	}
	return func(user string) []wish.ICEServer {
		told := make([]wish.ICEServer, len(list))
		for i, server := range list {
			told[i] = wish.ICEServer{URL: server.URL, Username: server.Username, Credential: server.Credential}
			if server.Secret != "" {
				told[i].Username, told[i].Credential = turnCredentials(server.Secret, user, now().Add(turnLifetime))
			}
		}
		return told
	}
}

// turnCredentials are good until a time (draft-uberti-behave-turn-rest-00 section 2.2, as coturn has it): the name is
// that time and the user, the password an HMAC of the name.
func turnCredentials(secret, user string, until time.Time) (name, password string) {
	name = strconv.FormatInt(until.Unix(), 10)
	if user != "" {
		user = url.QueryEscape(user) // to ASCII without quotes: it stands in a header, and servers may normalise the rest
		name += ":" + user[:min(len(user), maxTURNUser)]
	}
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(name))
	return name, base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
