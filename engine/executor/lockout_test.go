package executor

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/fitout-dev/fitout/modules/host"
)

const (
	keyOne = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB one"
	keyTwo = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC two"
)

// TestLockOut: what would close the very way that the session has come in by is an error, and what only looks so is none.
func TestLockOut(t *testing.T) {
	byKey, byPassword, unknown := proof{"publickey", fingerprint(keyOne)}, proof{method: "password"}, proof{}
	root := login{User: "root", Address: "10.0.0.5", Port: 22, Home: "/root", Server: "sshd"}
	tech := login{User: "tech", Elevated: true, Address: "10.0.0.5", Port: 22, Home: "/home/tech", Server: "sshd"}
	const debian = "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n"
	for name, c := range map[string]struct {
		login   login
		how     proof
		typ     string
		want    string
		have    string
		op      modules.Op
		changes string // of which properties
		content string // of a file
		files   map[string]string
		says    string // "": it is let through
	}{
		"user removed":            {login: tech, typ: "users", want: `{"name":"tech","state":"absent"}`, op: modules.Delete, says: "would be removed"},
		"another user removed":    {login: tech, typ: "users", want: `{"name":"alice","state":"absent"}`, op: modules.Delete},
		"shell":                   {login: root, typ: "users", want: `{"name":"root","shell":"/usr/sbin/nologin"}`, changes: "shell", says: "its shell would be /usr/sbin/nologin"},
		"a good shell":            {login: root, typ: "users", want: `{"name":"root","shell":"/bin/zsh"}`, changes: "shell"},
		"expired":                 {login: tech, typ: "users", want: `{"name":"tech","expires":"2001-01-01"}`, changes: "expires", says: "would expire"},
		"expires some day":        {login: tech, typ: "users", want: `{"name":"tech","expires":"2999-01-01"}`, changes: "expires"},
		"locked, by password":     {login: root, how: byPassword, typ: "users", want: `{"name":"root","locked":true}`, changes: "locked", says: "would be locked"},
		"locked, by key":          {login: root, how: byKey, typ: "users", want: `{"name":"root","locked":true}`, changes: "locked"},
		"unlocked":                {login: root, how: byPassword, typ: "users", want: `{"name":"root","locked":false}`, changes: "locked"},
		"password, by password":   {login: tech, how: byPassword, typ: "users", want: `{"name":"tech","password":"x"}`, changes: "password", says: "another one"},
		"password, by key":        {login: tech, how: byKey, typ: "users", want: `{"name":"tech","password":"x"}`, changes: "password"},
		"out of sudo":             {login: tech, typ: "users", want: `{"name":"tech","groups":[],"groupsExact":true}`, have: `{"groups":["sudo","users"]}`, changes: "groups", says: "no longer be in group sudo"},
		"out of another":          {login: tech, typ: "users", want: `{"name":"tech","groups":["sudo"],"groupsExact":true}`, have: `{"groups":["sudo","users"]}`, changes: "groups"},
		"sudo's group":            {login: tech, typ: "groups", want: `{"name":"sudo","state":"absent"}`, op: modules.Delete, says: "group sudo"},
		"key in use":              {login: root, how: byKey, typ: "users", want: `{"name":"root","sshKeysExact":true,"sshKeys":["` + keyTwo + `"]}`, have: `{"sshKeys":["` + keyOne + `","` + keyTwo + `"]}`, changes: "sshKeys", says: "the key that it logs in with"},
		"another key":             {login: root, how: byKey, typ: "users", want: `{"name":"root","sshKeysExact":true,"sshKeys":["` + keyOne + `"]}`, have: `{"sshKeys":["` + keyOne + `","` + keyTwo + `"]}`, changes: "sshKeys"},
		"all keys, none known":    {login: root, how: unknown, typ: "users", want: `{"name":"root","sshKeysExact":true,"sshKeys":[]}`, have: `{"sshKeys":["` + keyOne + `"]}`, changes: "sshKeys", says: "none of the keys"},
		"a key more":              {login: root, how: byKey, typ: "users", want: `{"name":"root","sshKeys":["` + keyTwo + `"]}`, have: `{"sshKeys":["` + keyOne + `"]}`, changes: "sshKeys"},
		"key, with a password":    {login: tech, how: byKey, typ: "users", want: `{"name":"tech","sshKeysExact":true,"sshKeys":[]}`, have: `{"sshKeys":["` + keyOne + `"]}`, changes: "sshKeys", files: map[string]string{"/etc/shadow": "tech:$y$x:1::::::\n"}},
		"sshd stopped":            {login: root, typ: "services", want: `{"name":"ssh","running":false}`, changes: "running", says: "would be stopped"},
		"sshd masked":             {login: root, typ: "services", want: `{"name":"sshd.service","masked":true}`, changes: "masked", says: "would be masked"},
		"sshd started":            {login: root, typ: "services", want: `{"name":"ssh","running":true}`, changes: "running"},
		"another service":         {login: root, typ: "services", want: `{"name":"cups","running":false}`, changes: "running"},
		"openssh-server":          {login: root, typ: "packages", want: `{"name":"openssh-server","state":"absent"}`, op: modules.Delete, says: "openssh-server"},
		"sudo":                    {login: tech, typ: "packages", want: `{"name":"sudo","state":"purged"}`, op: modules.Delete, says: "sudo"},
		"sudo, of root":           {login: root, typ: "packages", want: `{"name":"sudo","state":"absent"}`, op: modules.Delete},
		"folder of keys":          {login: root, how: byKey, typ: "directories", want: `{"path":"/root/.ssh","state":"absent"}`, op: modules.Delete, says: "its keys are in /root/.ssh/authorized_keys"},
		"the home":                {login: tech, how: byKey, typ: "directories", want: `{"path":"/home/tech","state":"absent"}`, op: modules.Delete, says: "its keys are in"},
		"another's keys":          {login: root, how: byKey, typ: "directories", want: `{"path":"/home/tech/.ssh","state":"absent"}`, op: modules.Delete},
		"keys, by password":       {login: root, how: byPassword, typ: "directories", want: `{"path":"/root/.ssh","state":"absent"}`, op: modules.Delete},
		"open folder":             {login: root, how: byKey, typ: "directories", want: `{"path":"/root/.ssh","mode":"0777"}`, changes: "mode", says: "others may write"},
		"keys removed":            {login: root, how: byKey, typ: "files", want: `{"path":"/root/.ssh/authorized_keys","state":"absent"}`, op: modules.Delete, files: map[string]string{"/root/.ssh/authorized_keys": keyOne}, says: "would no longer be accepted"},
		"keys replaced":           {login: root, how: byKey, typ: "files", want: `{"path":"/root/.ssh/authorized_keys","content":CONTENT}`, content: keyTwo, changes: "content", files: map[string]string{"/root/.ssh/authorized_keys": keyOne}, says: "would no longer be accepted"},
		"keys kept":               {login: root, how: byKey, typ: "files", want: `{"path":"/root/.ssh/authorized_keys","content":CONTENT}`, content: keyTwo + "\n" + keyOne, changes: "content", files: map[string]string{"/root/.ssh/authorized_keys": keyOne}},
		"key's line":              {login: root, how: byKey, typ: "lines", want: `{"path":"/root/.ssh/authorized_keys","line":"` + keyOne + `","state":"absent"}`, op: modules.Delete, files: map[string]string{"/root/.ssh/authorized_keys": keyOne + "\n" + keyTwo}, says: "would no longer be accepted"},
		"sshd's folder":           {login: root, typ: "directories", want: `{"path":"/etc/ssh","state":"absent"}`, op: modules.Delete, says: "/etc/ssh"},
		"nologin":                 {login: tech, typ: "files", want: `{"path":"/etc/nologin"}`, op: modules.Create, says: "only root"},
		"nologin, of root":        {login: root, typ: "files", want: `{"path":"/etc/nologin"}`, op: modules.Create},
		"sudoers":                 {login: tech, typ: "files", want: `{"path":"/etc/sudoers","state":"absent"}`, op: modules.Delete, says: "/etc/sudoers"},
		"port":                    {login: root, typ: "files", want: `{"path":"/etc/ssh/sshd_config.d/10.conf","content":CONTENT}`, content: "Port 2222\n", op: modules.Create, says: "no longer listen on port 22"},
		"one port more":           {login: root, typ: "files", want: `{"path":"/etc/ssh/sshd_config.d/10.conf","content":CONTENT}`, content: "Port 2222\nPort 22\n", op: modules.Create},
		"port, elsewhere said":    {login: root, typ: "files", want: `{"path":"/etc/ssh/sshd_config.d/10.conf","content":CONTENT}`, content: "Port 2222\n", op: modules.Create, files: map[string]string{"/etc/ssh/sshd_config": debian + "Port 22\n"}},
		"port not included":       {login: root, typ: "files", want: `{"path":"/etc/ssh/sshd_config.d/10.bak","content":CONTENT}`, content: "Port 2222\n", op: modules.Create},
		"port's file removed":     {login: login{User: "root", Port: 2222, Server: "sshd"}, typ: "files", want: `{"path":"/etc/ssh/sshd_config.d/10.conf","state":"absent"}`, op: modules.Delete, files: map[string]string{"/etc/ssh/sshd_config.d/10.conf": "Port 2222"}, says: "no longer listen on port 2222"},
		"port behind a gateway":   {login: login{User: "root", Port: 40022, Server: "sshd"}, typ: "files", want: `{"path":"/etc/ssh/sshd_config.d/10.conf","content":CONTENT}`, content: "Port 2222\n", op: modules.Create},
		"address":                 {login: root, typ: "lines", want: `{"path":"/etc/ssh/sshd_config","line":"ListenAddress 127.0.0.1"}`, op: modules.Create, says: "no longer listen on 10.0.0.5"},
		"its own address":         {login: root, typ: "lines", want: `{"path":"/etc/ssh/sshd_config","line":"ListenAddress 10.0.0.5"}`, op: modules.Create},
		"no root":                 {login: root, typ: "lines", want: `{"path":"/etc/ssh/sshd_config","line":"PermitRootLogin no","match":"^#?PermitRootLogin"}`, op: modules.Update, says: "PermitRootLogin would be no"},
		"no root, for tech":       {login: tech, typ: "lines", want: `{"path":"/etc/ssh/sshd_config","line":"PermitRootLogin no"}`, op: modules.Create},
		"no root, said too late":  {login: root, typ: "lines", want: `{"path":"/etc/ssh/sshd_config","line":"PermitRootLogin no"}`, op: modules.Create, files: map[string]string{"/etc/ssh/sshd_config.d/10.conf": "PermitRootLogin yes"}},
		"no root, in a Match":     {login: root, typ: "lines", want: `{"path":"/etc/ssh/sshd_config","line":"PermitRootLogin no"}`, op: modules.Create, files: map[string]string{"/etc/ssh/sshd_config": "Match User git\n"}},
		"root by key alone":       {login: root, how: byPassword, typ: "lines", want: `{"path":"/etc/ssh/sshd_config","line":"PermitRootLogin prohibit-password"}`, op: modules.Create, says: "logs in by password"},
		"root by key, and it is":  {login: root, how: byKey, typ: "lines", want: `{"path":"/etc/ssh/sshd_config","line":"PermitRootLogin prohibit-password"}`, op: modules.Create},
		"no passwords":            {login: tech, how: byPassword, typ: "files", want: `{"path":"/etc/ssh/sshd_config.d/10.conf","content":CONTENT}`, content: "PasswordAuthentication no\n", op: modules.Create, says: "PasswordAuthentication"},
		"no passwords, by key":    {login: tech, how: byKey, typ: "files", want: `{"path":"/etc/ssh/sshd_config.d/10.conf","content":CONTENT}`, content: "PasswordAuthentication no\n", op: modules.Create},
		"allowed users":           {login: tech, typ: "files", want: `{"path":"/etc/ssh/sshd_config.d/10.conf","content":CONTENT}`, content: "AllowUsers alice bob@10.*\n", op: modules.Create, says: "AllowUsers"},
		"allowed users, it too":   {login: tech, typ: "files", want: `{"path":"/etc/ssh/sshd_config.d/10.conf","content":CONTENT}`, content: "AllowUsers alice te*\n", op: modules.Create},
		"allowed groups":          {login: tech, typ: "files", want: `{"path":"/etc/ssh/sshd_config.d/10.conf","content":CONTENT}`, content: "AllowGroups admins\n", op: modules.Create, says: "AllowGroups"},
		"allowed groups, its own": {login: tech, typ: "files", want: `{"path":"/etc/ssh/sshd_config.d/10.conf","content":CONTENT}`, content: "AllowGroups sudo\n", op: modules.Create},
		"denied":                  {login: tech, typ: "files", want: `{"path":"/etc/ssh/sshd_config.d/10.conf","content":CONTENT}`, content: "DenyUsers tech\n", op: modules.Create, says: "DenyUsers"},
		"content not there yet":   {login: root, typ: "files", want: `{"path":"/etc/ssh/sshd_config.d/10.conf","content":{"hash":"` + strings.Repeat("ab", 32) + `","size":9}}`, op: modules.Create},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			files := map[string]string{"/etc/ssh/sshd_config": debian, "/etc/ssh/sshd_config.d/README": "", "/etc/passwd": "root:x:0:0::/root:/bin/sh\ntech:x:1000:1000::/home/tech:/bin/sh\n",
				"/etc/group": "root:x:0:\nsudo:x:27:tech\ntech:x:1000:\n"}
			for p, text := range c.files {
				files[p] = text
			}
			for p, text := range files {
				p = filepath.Join(dir, p)
				os.MkdirAll(filepath.Dir(p), 0o755)
				if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			sum := sha256.Sum256([]byte(c.content))
			hash := hex.EncodeToString(sum[:])
			store := newContents(t.TempDir())
			store.remember(hash, []byte(c.content))
			blob, _ := json.Marshal(host.Blob{Hash: hash, Size: int64(len(c.content))})
			want := strings.ReplaceAll(c.want, "CONTENT", string(blob))
			look := func(connect map[string]any, l *login) error {
				it := decode([]wire.Resource{{Address: c.typ + "/x", Type: c.typ, Want: json.RawMessage(want), Connect: connect}})[0]
				if it.bad != nil {
					t.Fatal(it.bad)
				}
				f := &found{op: c.op}
				if f.op == "" {
					f.op = modules.Update
				}
				for p := range strings.FieldsSeq(c.changes) {
					f.changes = append(f.changes, modules.Change{Property: p})
				}
				var have map[string]any
				if c.have != "" {
					if err := json.Unmarshal([]byte(c.have), &have); err != nil {
						t.Fatal(err)
					}
				}
				f.have = have
				h := host.New(dir, host.WithBlobs(blobs{store, dir}))
				guard(withLogin(t.Context(), l), h, []*item{it}, []*found{f})
				return f.err
			}
			l := c.login
			l.known = &once{proof: c.how}
			err := look(nil, &l)
			switch {
			case c.says == "" && err != nil:
				t.Errorf("it is refused: %v", err)
			case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(hint.Of(err), "connect")):
				t.Errorf("%q wanted: %v", c.says, err)
			}
			if err := look(map[string]any{"port": 2222}, &l); err != nil {
				t.Errorf("with connect: %v", err)
			}
			if err := look(nil, nil); err != nil {
				t.Errorf("over no ssh: %v", err)
			}
		})
	}
}

func TestFingerprint(t *testing.T) {
	blob, _ := base64.StdEncoding.DecodeString(strings.Fields(keyOne)[1])
	sum := sha256.Sum256(blob)
	want := "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
	for _, line := range []string{keyOne, `from="10.*",command="a b" ` + keyOne} {
		if got := fingerprint(line); got != want {
			t.Errorf("%s: %s", line, got)
		}
	}
	for _, line := range []string{"", "# a comment", "ssh-ed25519 AAAA... alice"} {
		if got := fingerprint(line); got != "" {
			t.Errorf("%s: %s", line, got)
		}
	}
}

func TestAccepted(t *testing.T) {
	for line, want := range map[string]proof{
		"Accepted publickey for root from 10.0.0.1 port 4711 ssh2: ED25519 SHA256:abc/DEF+1": {"publickey", "SHA256:abc/DEF+1"},
		"Accepted password for root from 10.0.0.1 port 4711 ssh2":                            {"password", ""},
		"Accepted keyboard-interactive/pam for root from ::1 port 4711 ssh2":                 {"keyboard-interactive/pam", ""},
	} {
		m := accepted.FindStringSubmatch(line)
		if m == nil || m[2] != "root" || (proof{m[1], m[3]}) != want {
			t.Errorf("%s: %q", line, m)
		}
	}
}
