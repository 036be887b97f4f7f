package config

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// maxICEText bounds names and passwords of ICE servers: a Link header carries them (RFC 8489 section 14.3 has 508 bytes
// for a name).
const maxICEText = 256

// check quotes nothing: what stands in the wrong place may be the password.
func (s *ICEServer) check() error {
	scheme, address, _ := strings.Cut(s.URL, ":")
	address, query, hasQuery := strings.Cut(address, "?")
	switch scheme {
	case "stun", "stuns":
		if s.Username+s.Credential+s.Secret != "" {
			return errors.New("STUN knows no users: take username, credential and secret out, or write turn: in the url")
		}
		if hasQuery {
			return errors.New("url: STUN servers take no ?transport=: take it out")
		}
	case "turn", "turns":
		if hasQuery && query != "transport=udp" && query != "transport=tcp" {
			return errors.New("url: behind the ? only transport=udp or transport=tcp can stand")
		}
		if err := s.checkUser(); err != nil {
			return err
		}
	default:
		return errors.New("url: it is no ICE server: write stun:host:port, turn:host:port or turn:host:port?transport=tcp (stuns: and turns: for TLS)")
	}
	if !isHostPort(address) {
		return errors.New("url: it has no good host and port: write them without slashes, such as stun:stun.example.org:3478")
	}
	return nil
}

func (s *ICEServer) checkUser() error {
	switch plain := s.Username != "" && s.Credential != ""; {
	case s.Secret != "" && s.Username+s.Credential != "":
		return errors.New("username and credential are made from the secret: write either the two or secret")
	case s.Secret == "" && !plain:
		return errors.New("TURN asks who it serves: write username and credential, or secret where the server makes them with one")
	}
	for key, text := range map[string]string{"username": s.Username, "credential": s.Credential} {
		if len(text) > maxICEText || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
			return errors.New(key + ": write at most " + strconv.Itoa(maxICEText) + " ASCII characters in one line")
		}
	}
	return nil
}

// isHostPort takes a host, with or without a port: "turn.example.org", "192.0.2.7:3478", "[2001:db8::1]:3478".
func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"), "3478"
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return false
	}
	_, err = netip.ParseAddr(host)
	return err == nil || hostName.MatchString(host)
}
