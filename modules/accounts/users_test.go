//go:build unix

package accounts

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
	"github.com/google/go-cmp/cmp"
)

// device is a root with the user bob and some groups.
func device(t *testing.T) *host.Host {
	h := host.New(t.TempDir())
	put(t, h, "/etc/passwd", "root:x:0:0:root:/root:/bin/bash\nbob:x:1000:1000:Bob,Room 7:/home/bob:/bin/bash\n")
	put(t, h, "/etc/shadow", "root:*:19700:0:99999:7:::\nbob:!$1$abcdefgh$QMdYeI7s/oRSyKn31YiLL/:19700:0:99999:7:::\n")
	put(t, h, "/etc/group", "root:x:0:\nsudo:x:27:bob\nvideo:x:44:\nbob:x:1000:\n")
	put(t, h, "/etc/gshadow", "root:*::\nsudo:*::bob\nvideo:*::\nbob:!::\n")
	return h
}

func databasesText(h *host.Host) map[string]string {
	out := map[string]string{}
	for _, p := range []string{"/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow", "/home/bob/.ssh/authorized_keys"} {
		if b, err := h.ReadFile(p); err == nil {
			out[p] = string(b)
		}
	}
	return out
}

func TestUndoPutsBack(t *testing.T) {
	freeze(t)
	ptr := modules.Ptr[string]
	const keyA, keyB = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0000000000000000000000000000000000000000aa a", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1111111111111111111111111111111111111111bb b"
	for name, want := range map[string]User{
		"create":   {Name: "alice", Groups: []string{"sudo"}, Password: ptr("secret"), CreateHome: modules.Ptr(false)},
		"update":   {Name: "bob", UID: modules.Ptr(1234), FullName: ptr("Robert"), Home: ptr("/srv/bob"), CreateHome: modules.Ptr(false), Shell: ptr("/bin/sh"), Group: ptr("video")},
		"groups":   {Name: "bob", Groups: []string{"video"}},
		"exact":    {Name: "bob", Groups: []string{"video"}, GroupsExact: true},
		"password": {Name: "bob", Password: ptr("new"), Locked: modules.Ptr(false)},
		"expires":  {Name: "bob", Expires: ptr("2030-01-01")},
		"keys":     {Name: "bob", SSHKeys: []string{keyA}, SSHKeysExact: true},
	} {
		t.Run(name, func(t *testing.T) {
			h, typ := device(t), modules.Define("users", Users{})
			put(t, h, "/home/bob/.ssh/authorized_keys", keyB+"\n")
			before := databasesText(h)
			have := typ.Observe(t.Context(), h, []any{want})[0]
			if have.Err != nil {
				t.Fatal(have.Err)
			}
			if r := typ.Apply(t.Context(), h, []any{want}, []any{have.Have})[0]; r.Err != nil {
				t.Fatal(r.Err)
			}
			if cmp.Equal(before, databasesText(h)) {
				t.Fatal("nothing changed")
			}
			h.Forget()
			back, err := typ.Inverse(want, have.Have)
			if err != nil {
				t.Fatal(err)
			}
			now := typ.Observe(t.Context(), h, []any{back})[0]
			if r := typ.Apply(t.Context(), h, []any{back}, []any{now.Have})[0]; r.Err != nil {
				t.Fatal(r.Err)
			}
			if d := cmp.Diff(before, databasesText(h)); d != "" {
				t.Errorf("after undo (-before +after):\n%s", d)
			}
		})
	}
}

func TestUndoOfDeletion(t *testing.T) {
	h := device(t)
	want := User{Name: "bob", State: modules.Absent}
	have, err := Users{}.Observe(t.Context(), h, want)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (Users{}).Apply(t.Context(), h, want, have); err != nil {
		t.Fatal(err)
	}
	back, err := Users{}.Inverse(want, have)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (Users{}).Apply(t.Context(), h, back, User{}); err != nil {
		t.Fatal(err)
	}
	h.Forget()
	again, err := Users{}.Observe(t.Context(), h, want)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(have, again); d != "" {
		t.Errorf("(-before +after):\n%s", d)
	}
	want.RemoveHome = true
	put(t, h, "/home/bob/work", "of years")
	if have, err = (Users{}).Observe(t.Context(), h, want); err != nil {
		t.Fatal(err)
	}
	if _, err := (Users{}).Inverse(want, have); err == nil || !strings.Contains(err.Error(), "/home/bob would be lost") {
		t.Errorf("a removed home can't come back: %v", err)
	}
}

func TestCheck(t *testing.T) {
	ptr := modules.Ptr[string]
	for name, u := range map[string]User{
		"":                                 {Name: "alice", FullName: ptr("Ålice"), Password: ptr("a:b"), Groups: []string{"Debian-exim"}, Expires: ptr("never")},
		"user name \"Alice\" is not valid": {Name: "Alice"},
		"user name \"1st\" is not valid":   {Name: "1st"},
		"user name \"a:b\" is not valid":   {Name: "a:b"},
		"user name \"\" is not valid":      {},
		"user name \"" + strings.Repeat("a", 33) + "\" is not valid": {Name: strings.Repeat("a", 33)},
		"fullName \"a:b\" must not hold ':'":                         {Name: "a", FullName: ptr("a:b")},
		"fullName \"B, A\" must not hold ','":                        {Name: "a", FullName: ptr("B, A")},
		"shell \"/bin/sh\\nx\" must not hold '\\n'":                  {Name: "a", Shell: ptr("/bin/sh\nx")},
		"home \"home/a\" is not an absolute path":                    {Name: "a", Home: ptr("home/a")},
		"groups: \"a,b\" is no name of a group":                      {Name: "a", Groups: []string{"a,b"}},
		"group: \"100\" is no name of a group":                       {Name: "a", Group: ptr("100")},
		"uid 4294967295 is not valid":                                {Name: "a", UID: modules.Ptr(1<<32 - 1)},
		"uid -1 is not valid":                                        {Name: "a", UID: modules.Ptr(-1)},
		"the password is empty: anybody could log on":                {Name: "a", Password: ptr("")},
		"the password has a line break":                              {Name: "a", Password: ptr("secret\n")},
		"the password is a locked hash":                              {Name: "a", Password: ptr("!$1$abcdefgh$QMdYeI7s/oRSyKn31YiLL/")},
		"sshKeys[1] is no line of authorized_keys":                   {Name: "a", SSHKeys: []string{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0000000000000000000000000000000000000000aa", "ssh-ed25519 nothing"}},
		"expires \"2023-02-29\" is no date":                          {Name: "a", Expires: ptr("2023-02-29")},
	} {
		got := ""
		if err := modules.Define("users", Users{}).CheckOn("linux", u); err != nil {
			got = err.Error()
		}
		if got != name {
			t.Errorf("got %q, want %q", got, name)
		}
	}
}

func TestUnreadableShadow(t *testing.T) {
	h := device(t)
	if err := os.Chmod(filepath.Join(h.Root(), "etc/shadow"), 0); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chmod(filepath.Dir(h.Root()), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Seteuid(65534); err != nil {
			t.Fatal(err)
		}
		defer syscall.Seteuid(0)
	}
	have, err := Users{}.Observe(t.Context(), h, User{Name: "bob", Shell: modules.Ptr("/bin/sh")})
	if err != nil || have.Password != nil || have.Locked != nil || *have.Shell != "/bin/bash" {
		t.Errorf("%+v, %v", have, err)
	}
	_, err = Users{}.Observe(t.Context(), h, User{Name: "bob", Password: modules.Ptr("secret")})
	if !errors.Is(err, fs.ErrPermission) || hint.Of(err) == "" || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v, hint %q", err, hint.Of(err))
	}
}

// ldap answers as getent(1) where a directory server knows alice and the number 1000.
type ldap struct{}

func (ldap) Run(_ context.Context, c host.Cmd) (host.Result, error) {
	switch strings.Join(c.Args, " ") {
	case "getent passwd alice", "getent passwd 1000":
		return host.Result{Stdout: []byte("alice:*:1000:1000::/home/alice:/bin/sh\n")}, nil
	}
	return host.Result{Code: 2}, nil
}

func TestOtherNameServices(t *testing.T) {
	h := host.New("/", host.WithRunner(ldap{})) // nothing is written
	if _, err := host.Memo(h, "/etc/nsswitch.conf", func() (string, error) { return "passwd: files ldap\n", nil }); err != nil {
		t.Fatal(err)
	}
	db := &databases{h: h, passwd: parseTable("/etc/passwd", "", passwdForm), group: parseTable("/etc/group", "", groupForm)}
	_, err := db.newUser(t.Context(), User{Name: "alice"})
	if err == nil || !strings.Contains(err.Error(), `user "alice" exists already, with number 1000`) || hint.Of(err) == "" {
		t.Errorf("got %v", err)
	}
	if uid, err := db.freeID(t.Context(), "passwd", false); err != nil || uid != 1001 {
		t.Errorf("got %d, %v", uid, err)
	}
}

// What is interrupted between two files is finished by the next run, with the same numbers.
func TestInterruptedCreation(t *testing.T) {
	freeze(t)
	want := User{Name: "alice", Groups: []string{"sudo"}, Password: modules.Ptr("secret"), CreateHome: modules.Ptr(false)}
	whole := device(t)
	if _, err := (Users{}).Apply(t.Context(), whole, want, User{}); err != nil {
		t.Fatal(err)
	}
	final := databasesText(whole)
	for _, files := range [][]string{{"/etc/gshadow"}, {"/etc/gshadow", "/etc/group"}, {"/etc/gshadow", "/etc/group", "/etc/shadow"}} {
		h := device(t)
		for _, f := range files {
			put(t, h, f, final[f])
		}
		have, err := Users{}.Observe(t.Context(), h, want)
		if err != nil || have.State != modules.Absent {
			t.Fatalf("half a user is there: %+v, %v", have, err)
		}
		if _, err := (Users{}).Apply(t.Context(), h, want, have); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(final, databasesText(h)); d != "" {
			t.Errorf("after a crash behind %v (-want +got):\n%s", files, d)
		}
	}
}
