// Package kerberos is the client's half of Kerberos 5 as GSS-API speaks it inside SPNEGO (RFC 4120, 4121, 4178), on gokrb5,
// which has neither mutual authentication nor sealing.
//
//	c, err := kerberos.Login(ctx, kerberos.Options{User: "admin@EXAMPLE.COM", Password: ask})
//	s, err := c.Session(ctx, "HTTP/lt-042.example.com", nil)
//	err = s.Accept(answerTo(s.Token()))
//	signature, sealed := s.Seal(plain)
//
// It promises: a password is given to a key distribution centre at most once for each Login; the service has proven itself
// before anything is sealed for it; only AES is used. Answers may be any bytes.
package kerberos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/credentials"
	"github.com/jcmturner/gokrb5/v8/iana/etypeID"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/krberror"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
)

// Options say who logs in.
type Options struct {
	User  string // name or name@REALM; "" is the one of the keytab or ticket cache
	Realm string // "" is the user's, or the default of krb5.conf
	// Password is asked for only if there is neither a keytab nor a ticket. Nil: there is none.
	Password func() (string, error)
	Keytab   string // a file

	Config string // default: KRB5_CONFIG, /etc/krb5.conf, or none: KDCs are then found by DNS
	Cache  string // default: KRB5CCNAME, /tmp/krb5cc_UID
}

// Reason sorts failures by what to do about them.
type Reason int

const (
	Other Reason = iota
	NoCredentials
	Unreachable // no KDC answers, or none is known: no password was judged
	WrongPassword
	UnknownUser
	UnknownService
	Skew
	Expired // the password
	Revoked // the account is disabled or locked
)

// Error is what this package returns.
type Error struct {
	Reason Reason
	Err    error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Client has a ticket to get tickets with.
type Client struct {
	krb  *client.Client
	User string // name@REALM
}

// Close forgets the tickets.
func (c *Client) Close() { c.krb.Destroy() }

// HasTicket says whether there is a ticket cache to log in with.
func (o Options) HasTicket() bool {
	_, err := os.Stat(o.cache())
	return err == nil
}

func (o Options) cache() string {
	if o.Cache != "" {
		return o.Cache
	}
	if name := os.Getenv("KRB5CCNAME"); name != "" {
		return strings.TrimPrefix(name, "FILE:")
	}
	return "/tmp/krb5cc_" + strconv.Itoa(os.Getuid())
}

func (o Options) config() (*config.Config, error) {
	path, must := o.Config, true
	if path == "" {
		path = os.Getenv("KRB5_CONFIG")
	}
	if path == "" {
		path, must = "/etc/krb5.conf", false
	}
	c, err := config.Load(path)
	switch {
	case err == nil:
	case !must && errors.Is(err, os.ErrNotExist), !must && !exists(path):
		c = config.New()
		c.LibDefaults.DNSLookupKDC = true
	default:
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if o.Realm != "" {
		c.LibDefaults.DefaultRealm = strings.ToUpper(o.Realm)
	}
	c.LibDefaults.UDPPreferenceLimit = 1 // TCP: an answer with Windows' group list doesn't fit a datagram
	for _, list := range []*[]int32{&c.LibDefaults.DefaultTktEnctypeIDs, &c.LibDefaults.DefaultTGSEnctypeIDs, &c.LibDefaults.PermittedEnctypeIDs} {
		*list = slices.DeleteFunc(slices.Clone(*list), func(id int32) bool { return !isAES(id) })
		if len(*list) == 0 {
			*list = []int32{etypeID.AES256_CTS_HMAC_SHA1_96, etypeID.AES128_CTS_HMAC_SHA1_96}
		}
	}
	return c, nil
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// isAES says whether a key is of a kind that is used. Those with SHA-2 (RFC 8009) aren't: no Windows has them, and gokrb5 makes
// keys of the wrong size for one.
func isAES(id int32) bool {
	return id == etypeID.AES128_CTS_HMAC_SHA1_96 || id == etypeID.AES256_CTS_HMAC_SHA1_96
}

// Login gets a ticket to get tickets with: from the keytab, the ticket cache, or for the password.
func Login(ctx context.Context, o Options) (*Client, error) {
	conf, err := o.config()
	if err != nil {
		return nil, &Error{Other, err}
	}
	name, realm, hasRealm := strings.Cut(o.User, "@")
	if realm = strings.ToUpper(realm); !hasRealm {
		realm = conf.LibDefaults.DefaultRealm
	}
	krb, err := o.client(name, realm, conf)
	if err != nil {
		return nil, err
	}
	err = within(ctx, func() error { return guarded(krb.Login) })
	user := krb.Credentials.UserName() + "@" + krb.Credentials.Domain()
	if err != nil {
		krb.Destroy()
		return nil, explain("login of "+user, err)
	}
	return &Client{krb: krb, User: user}, nil
}

func (o Options) client(name, realm string, conf *config.Config) (*client.Client, error) {
	settings := client.DisablePAFXFAST(true) // Active Directory refuses what gokrb5 makes of it
	if o.Keytab != "" {
		kt, err := keytab.Load(o.Keytab)
		if err != nil {
			return nil, &Error{NoCredentials, fmt.Errorf("keytab %s: %w", o.Keytab, err)}
		}
		if name == "" && len(kt.Entries) > 0 {
			p := kt.Entries[0].Principal
			name, realm = strings.Join(p.Components, "/"), p.Realm
		}
		return client.NewWithKeytab(name, realm, kt, conf, settings), nil
	}
	if cc, err := credentials.LoadCCache(o.cache()); err == nil {
		if owner := cc.GetClientPrincipalName().PrincipalNameString(); name == "" || name == owner && (realm == "" || realm == cc.GetClientRealm()) {
			krb, err := client.NewFromCCache(cc, conf, settings)
			if err == nil {
				if err = krb.Login(); err == nil { // asks nobody: it looks whether the ticket is still good
					return krb, nil
				}
			}
			if o.Password == nil {
				return nil, &Error{NoCredentials, fmt.Errorf("ticket cache %s: %w", o.cache(), err)}
			}
		}
	}
	if o.Password == nil {
		return nil, &Error{NoCredentials, errors.New("kerberos: there is neither a ticket, nor a keytab, nor a password")}
	}
	if name == "" || realm == "" {
		return nil, &Error{NoCredentials, fmt.Errorf("kerberos: the realm of the user %s is not known", name)}
	}
	password, err := o.Password()
	if err != nil {
		return nil, &Error{NoCredentials, err}
	}
	return client.NewWithPassword(name, realm, password, conf, settings), nil
}

// ticket is for a service.
func (c *Client) ticket(ctx context.Context, service string) (ticket messages.Ticket, key types.EncryptionKey, err error) {
	err = within(ctx, func() error {
		return guarded(func() (err error) {
			ticket, key, err = c.krb.GetServiceTicket(service)
			return err
		})
	})
	if err != nil {
		return ticket, key, explain("ticket for "+service, err)
	}
	if !isAES(key.KeyType) {
		return ticket, key, &Error{Other, fmt.Errorf("kerberos: the ticket for %s has a key of type %d, and only AES is used", service, key.KeyType)}
	}
	return ticket, key, nil
}

// slow is when we give up: gokrb5 gives each KDC five seconds, and the DNS as long as it takes.
const slow = 20 * time.Second

var errSlow = &Error{Unreachable, fmt.Errorf("kerberos: no KDC has answered within %v", slow)}

// within runs what knows no context. A call that is left alone ends soon after.
func within(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, slow, errSlow)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// guarded makes an error of a panic: gokrb5 trusts what it decodes.
func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the answer can't be read: %v", p)
		}
	}()
	return f()
}

// said has the words of an error of gokrb5 without its layers.
type said struct {
	text string
	err  error
}

func (s *said) Error() string { return s.text }
func (s *said) Unwrap() error { return s.err }

// explain finds the reason. gokrb5 keeps the KDC's error code only as a word in its text.
func explain(what string, cause error) error {
	if e, ok := errors.AsType[*Error](cause); ok {
		return e
	}
	text := cause.Error()
	short := text
	if _, code, ok := strings.Cut(text, "KRB Error: "); ok {
		short = code
	} else if i := strings.LastIndex(text, "Error: "); i >= 0 {
		short = text[i+len("Error: "):]
	}
	err := &said{"kerberos: " + what + ": " + short, cause}
	for _, r := range []struct {
		word   string
		reason Reason
	}{
		{"KDC_ERR_PREAUTH_FAILED", WrongPassword},
		{"client password/keytab incorrect", WrongPassword},
		{"KDC_ERR_C_PRINCIPAL_UNKNOWN", UnknownUser},
		{"KDC_ERR_S_PRINCIPAL_UNKNOWN", UnknownService},
		{"KRB_AP_ERR_MODIFIED", UnknownService}, // the name is another machine's
		{"KRB_AP_ERR_SKEW", Skew},
		{"clock skew", Skew},
		{"KDC_ERR_KEY_EXPIRED", Expired},
		{"KDC_ERR_CLIENT_REVOKED", Revoked},
	} {
		if strings.Contains(text, r.word) {
			return &Error{r.reason, err}
		}
	}
	if k, ok := errors.AsType[krberror.Krberror](cause); ok && (k.RootCause == krberror.NetworkingError || k.RootCause == krberror.ConfigError) {
		return &Error{Unreachable, err}
	}
	return &Error{Other, err}
}
