package run

import (
	"fmt"
	"strings"

	"github.com/fitout-dev/fitout/engine/executor/bundle"
)

// posix speaks to whatever a device has as its login shell through sh.
type posix struct{}

func (posix) start(t Target, e *bundle.Executor) (string, error) {
	return shell(startScript(t, e)), nil
}

func (posix) push(t Target, e *bundle.Executor, c carriage) (string, error) {
	return shell(pushScript(t, e, c)), nil
}

// clean removes the executor's folder, and what starts runs that stopped half-way. The lock is the executor's, which may need a
// moment after a run's end; where flock(1) is missing, nobody can ask, and an empty lock file must do.
func (posix) clean(t Target) (string, error) {
	return shell(t.folder() + `; [ -d "$d" ] || exit 0
if command -v flock >/dev/null 2>&1; then [ ! -e "$d/lock" ] || flock -n "$d/lock" true || { sleep 1; flock -n "$d/lock" true; } || exit 75
elif [ -s "$d/lock" ]; then exit 75; fi
rm -rf "$d"
[ "$d" != /var/lib/fitout ] || for f in /etc/systemd/system/fitout-boot-*.service; do
if [ -e "$f" ]; then rm -f "$f" "${f%/*}/multi-user.target.wants/${f##*/}"; fi; done`), nil
}

// folder is a line of shell that sets d to the executor's folder and u to the user who must own it.
func (t Target) folder() string {
	switch {
	case t.Dir != "":
		return "d=" + quote(t.Dir) + "; u=$(id -u)"
	case t.Privileged || t.Elevate:
		return "d=/var/lib/fitout; u=0"
	}
	return `d=${XDG_DATA_HOME:-$HOME/.local/share}/fitout; u=$(id -u)`
}

// shell makes a command line of a script, whatever the login shell is.
func shell(script string) string { return "exec sh -c " + quote(script) }

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// startScript runs the executor if every part of its path belongs to root or the user and nobody else may write there
// (a sticky folder protects what others own), and if its size is right. It starts one process (stat) beside it.
func startScript(t Target, e *bundle.Executor) string {
	return fmt.Sprintf(`%s; f=$d/bin/%s/executor; set -- "$f"; p=$f; while p=${p%%/*}; [ -n "$p" ]; do set -- "$p" "$@"; done
s=$(stat -Lc %%u:%%a:%%s / "$@" 2>/dev/null || stat -Lf %%u:%%Lp:%%z / "$@" 2>&1)
for l in $s; do case $l in
0:*[0145][0145]:*|$u:*[0145][0145]:*|0:1???:*|$u:1???:*) ;;
*:*:*) s="a part of its path is not safe ($l)"; break;;
*) s="not there"; break;;
esac; done
case $s in *:%d) exec "$f" -dir "$d" -root %s;; esac
echo; echo "%s $(uname -s) $(uname -m) $s"`, t.folder(), e.Hash, e.Size, quote(orSlash(t.Root)), missingLine)
}

func orSlash(s string) string {
	if s == "" {
		return "/"
	}
	return s
}

// pushScript takes the executor from a file or from stdin, hashes it, as the user who will run it, and gives it its name.
func pushScript(t Target, e *bundle.Executor, c carriage) string {
	source := "-"
	if c.uploaded {
		source = c.file()
	}
	mode := "755"
	if !t.Privileged && !t.Elevate {
		mode = "700"
	}
	return fmt.Sprintf(`%s; set -e; umask 022; t=$d/bin/.new-%s; r=$d/bin/%s; trap "rm -rf \"$t\" %s" EXIT
mkdir -p "$d/bin"; chmod %s "$d" "$d/bin"; mkdir "$t"; gzip -dc %s >"$t/executor"
h=$( (sha256sum "$t/executor" || shasum -a 256 "$t/executor" || openssl dgst -r -sha256 "$t/executor") 2>/dev/null ); h=${h%%%% *}
if [ "${h#\\}" != %s ]; then echo "it arrived damaged: its hash is ${h:-unknown}" >&2; exit 65; fi
chmod 755 "$t/executor"; chmod %s "$t"; rm -rf "$r"; mv "$t" "$r"; echo; echo %s`,
		t.folder(), c.id, e.Hash, c.sent(), mode, source, e.Hash, mode, installedLine)
}
