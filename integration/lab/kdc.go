package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// KDC is a realm of its own, served by MIT's krb5kdc on this host's loopback.
type KDC struct {
	Realm  string
	Config string // krb5.conf, for KRB5_CONFIG

	dir  string
	proc *exec.Cmd
	said bytes.Buffer
}

// OpenKDC starts a KDC in a folder, with principals and their passwords. Close it.
func OpenKDC(ctx context.Context, dir string, principals map[string]string) (*KDC, error) {
	if err := Available(); err != nil {
		return nil, err
	}
	if err := need(ctx, io.Discard, map[string]string{"krb5kdc": "krb5-kdc", "kadmin.local": "krb5-admin-server", "kdb5_util": "krb5-kdc", "kinit": "krb5-user"}); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	k := &KDC{Realm: "LAB.TEST", dir: dir, Config: filepath.Join(dir, "krb5.conf")}
	conf := fmt.Sprintf(`[libdefaults]
 default_realm = %[1]s
 dns_lookup_realm = false
 dns_lookup_kdc = false
 rdns = false
 dns_canonicalize_hostname = false
 udp_preference_limit = 1
[realms]
 %[1]s = {
  kdc = 127.0.0.1:%[2]d
 }
`, k.Realm, port)
	kdc := fmt.Sprintf(`[kdcdefaults]
 kdc_listen = 127.0.0.1:%[2]d
 kdc_tcp_listen = 127.0.0.1:%[2]d
[realms]
 %[1]s = {
  database_name = %[3]s/principal
  key_stash_file = %[3]s/stash
  acl_file = %[3]s/acl
  supported_enctypes = aes256-cts-hmac-sha1-96:normal aes128-cts-hmac-sha1-96:normal
 }
[logging]
 kdc = FILE:%[3]s/log
`, k.Realm, port, dir)
	for name, text := range map[string]string{"krb5.conf": conf, "kdc.conf": kdc, "acl": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	if err := k.tool(ctx, "kdb5_util", "create", "-s", "-r", k.Realm, "-P", "master-"+randomHex(8)); err != nil {
		return nil, err
	}
	for name, password := range principals {
		if err := k.tool(ctx, "kadmin.local", "-r", k.Realm, "addprinc", "-pw", password, name); err != nil {
			return nil, err
		}
	}
	k.proc = exec.CommandContext(context.WithoutCancel(ctx), "krb5kdc", "-n", "-r", k.Realm)
	k.proc.Env = k.env()
	k.proc.Stdout, k.proc.Stderr = &k.said, &k.said
	group(k.proc)
	if err := k.proc.Start(); err != nil {
		return nil, err
	}
	err = await(ctx, "the KDC", func() bool {
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	if err != nil {
		return nil, errors.Join(err, k.Close(), errors.New(k.said.String()))
	}
	return k, nil
}

func (k *KDC) env() []string {
	return append(os.Environ(), "KRB5_CONFIG="+k.Config, "KRB5_KDC_PROFILE="+filepath.Join(k.dir, "kdc.conf"), "KRB5CCNAME=FILE:"+filepath.Join(k.dir, "cc"))
}

func (k *KDC) tool(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = k.env()
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "while ") {
		return fmt.Errorf("%s: %w: %s", args[0], errors.Join(err), strings.TrimSpace(string(out)))
	}
	return nil
}

// Keytab returns a file with the keys of a principal, which is made if it isn't there: HTTP/pc.lab.test for a service.
func (k *KDC) Keytab(ctx context.Context, principal string) (string, error) {
	_ = k.tool(ctx, "kadmin.local", "-r", k.Realm, "addprinc", "-randkey", principal) // there may be one
	path := filepath.Join(k.dir, strings.NewReplacer("/", "-", "@", "-").Replace(principal)+".keytab")
	return path, k.tool(ctx, "kadmin.local", "-r", k.Realm, "ktadd", "-norandkey", "-k", path, principal)
}

// Close ends the KDC.
func (k *KDC) Close() error {
	if k.proc == nil || k.proc.Process == nil {
		return nil
	}
	_ = k.proc.Process.Kill()
	_ = k.proc.Wait()
	k.proc = nil
	return nil
}

// NewKDC is OpenKDC for a test.
func NewKDC(t TB, dir string, principals map[string]string) *KDC {
	t.Helper()
	if err := Available(); err != nil {
		unavailable(t, err)
	}
	k, err := OpenKDC(t.Context(), dir, principals)
	if err != nil {
		t.Fatalf("start a KDC: %v", err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}
