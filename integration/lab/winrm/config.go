package winrm

import (
	"crypto/tls"
	"time"
)

// Authentication methods that Config.Auth lists.
const (
	Basic       = "basic"
	NTLM        = "ntlm"
	Kerberos    = "kerberos"
	Certificate = "certificate"
)

// Config of a server. Defaults are those of Windows Server 2012 R2 and later.
type Config struct {
	Users            map[string]User // by name, without a domain; case doesn't matter
	Auth             []string        // methods allowed; default: Basic, NTLM and Certificate, and Kerberos where Keytab is set
	AllowUnencrypted bool            // bodies in the clear over plain HTTP

	Hostname    string           // the machine's name, default WINLAB
	Certificate *tls.Certificate `json:"-"` // of HTTPS; default: a self-signed one made at start
	Names       []string         // DNS names and addresses in the self-signed certificate besides Hostname
	Keytab      []byte           // Kerberos keys of HTTP/host
	RequireCBT  bool             // over HTTPS refuse NTLM and Kerberos without channel bindings

	MaxEnvelopeSize  int           // bytes, default 512000
	MaxShellsPerUser int           // default 30
	MaxOperations    int           // at once for each user, default 1500
	IdleTimeout      time.Duration // of shells that don't ask for one, default 2 h
	OperationTimeout time.Duration // the longest that an operation may take, default 60 s

	Runner Runner `json:"-"` // default: the platform's own
}

// User of a server.
type User struct {
	Password     string
	Disabled     bool     // the password is right and the logon refused all the same
	Denied       bool     // may log on but not use the service, as a local administrator under UAC's remote restrictions
	Certificates []string // subject common names of client certificates that are this user
}

func (c Config) withDefaults() Config {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	dur := func(p *time.Duration, v time.Duration) {
		if *p == 0 {
			*p = v
		}
	}
	if c.Hostname == "" {
		c.Hostname = "WINLAB"
	}
	if c.Auth == nil {
		c.Auth = []string{Basic, NTLM, Certificate}
		if len(c.Keytab) > 0 {
			c.Auth = append(c.Auth, Kerberos)
		}
	}
	def(&c.MaxEnvelopeSize, 512000)
	def(&c.MaxShellsPerUser, 30)
	def(&c.MaxOperations, 1500)
	dur(&c.IdleTimeout, 2*time.Hour)
	dur(&c.OperationTimeout, time.Minute)
	if c.Runner == nil {
		c.Runner = native{}
	}
	return c
}
