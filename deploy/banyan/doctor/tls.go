package doctor

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// shortLife is how long a certificate had better be good yet: who renews them does so a month before, and a fortnight
// later something is wrong with that.
const shortLife = 14 * 24 * time.Hour

// examineTLS looks at the files of http.tls at now; nothing where there are none.
func examineTLS(certFile, keyFile string, now time.Time) []Finding {
	if certFile == "" && keyFile == "" {
		return nil
	}
	const check, keyCheck = "http.tls.cert", "http.tls.key"
	certPEM, certErr := os.ReadFile(certFile)
	keyPEM, keyErr := os.ReadFile(keyFile)
	var findings []Finding
	if certErr != nil {
		findings = append(findings, unreadable(check, certErr))
	}
	if keyErr != nil {
		findings = append(findings, unreadable(keyCheck, keyErr))
	}
	if len(findings) > 0 {
		return findings
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return []Finding{{check, Fail, fmt.Sprintf("%s and %s are no pair: %s", certFile, keyFile, strings.TrimPrefix(err.Error(), "tls: ")),
			"set http.tls.cert to the chain in PEM, the server's certificate first, and http.tls.key to the private key that was made for it"}}
	}
	findings = append(findings, examineCertificate(pair.Leaf, now))
	if info, err := os.Stat(keyFile); err == nil && info.Mode().Perm()&0o007 != 0 {
		findings = append(findings, Finding{keyCheck, Warn, fmt.Sprintf("all users of this machine may read %s", keyFile),
			"run: chmod o= " + keyFile})
	}
	return findings
}

func unreadable(key string, err error) Finding {
	remedy := "set " + key + " to a PEM file that is there"
	if errors.Is(err, os.ErrPermission) {
		remedy = "give the user that runs Banyan the right to read it"
	}
	return Finding{key, Fail, fmt.Sprintf("it cannot be read: %v", err), remedy}
}

func examineCertificate(c *x509.Certificate, now time.Time) Finding {
	const check, renew = "http.tls.cert", "renew it; a running server takes the new file up by itself"
	names := strings.Join(c.DNSNames, ", ")
	for _, ip := range c.IPAddresses {
		names = strings.TrimPrefix(names+", "+ip.String(), ", ")
	}
	switch left := c.NotAfter.Sub(now); {
	case left <= 0:
		return Finding{check, Fail, "it has expired on " + c.NotAfter.UTC().Format(time.DateOnly), renew}
	case now.Before(c.NotBefore):
		return Finding{check, Fail, "it is good only from " + c.NotBefore.UTC().Format(time.DateTime) + " UTC on",
			"look at the clock of this machine, or use another certificate until then"}
	case left < shortLife:
		return Finding{check, Warn, fmt.Sprintf("it expires in %d days, on %s", int(left.Hours()/24), c.NotAfter.UTC().Format(time.DateOnly)), renew}
	case names == "":
		return Finding{check, Warn, "it names no host as a subject alternative name, so that browsers refuse it",
			"have one made for the name by which viewers reach this server"}
	}
	return good(check, "for %s, good until %s", names, c.NotAfter.UTC().Format(time.DateOnly))
}
