package elevate

import "strings"

// quote makes one word of a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// program is the elevated shell. It tells that it has begun, with the outer shell's process id and its own.
func program(mark, outer, line string) string {
	return "/bin/sh -c " + quote("echo "+mark+"go:") + outer + quote(":$$ >&2; "+line)
}

// script is what the user's shell runs. Its own words go to stderr, each begun by the mark: that a password is asked for,
// that the program has begun, that the way through a terminal is needed, that there is no
// program to elevate with.
//
// sudo tells by exit code 1 that it refuses; whether for want of a terminal, a second look with -n shows.
func script(method Method, password bool, mark, line string) string {
	run := program(mark, "$$", line)
	sudo := "sudo -n -- " + run
	if password {
		sudo = "sudo -S -p " + mark + "ask -- " + run
	}
	sudo += "; s=$?; if [ $s = 1 ] && sudo -n true 2>&1 | grep -Eq 'have a tty|terminal is required'; then relay sudo; fi; exit $s"
	doas := "doas -n " + run + "; exit"
	if password {
		doas = "if doas -n true 2>/dev/null; then " + doas + "; fi; relay doas"
	}
	missing := "echo " + mark + "missing >&2; exit 127"
	has := func(name, then, otherwise string) string {
		return "if command -v " + name + " >/dev/null 2>&1; then " + then + "; else " + otherwise + "; fi"
	}
	s := "unset LANGUAGE; export LC_MESSAGES=C\n" + relay(mark)
	switch method {
	case Sudo:
		return s + has("sudo", sudo, missing)
	case Doas:
		return s + has("doas", doas, missing)
	}
	return s + has("sudo", sudo, has("doas", doas, missing))
}

// folder is where the FIFOs of a session are. Its name is known beforehand, so that it can be removed whenever the session
// is killed, and nobody else can guess it.
func folder(mark string) string { return "/tmp/fitout-" + mark }

// relay is a shell function that joins this session with what is run in another one, through three FIFOs.
func relay(mark string) string {
	return `relay() {
d=` + folder(mark) + `; mkdir -m 700 "$d" && mkfifo -m 600 "$d/i" "$d/o" "$d/e" || exit 126
echo "` + mark + `relay:$1" >&2
exec 3<&0
cat <&3 >"$d/i" & i=$!
cat <"$d/e" >&2 & e=$!
cat <"$d/o"
wait $e
kill $i 2>/dev/null
exit 0
}
`
}

// terminalScript is what the session with the terminal runs. Opening a FIFO waits for the other side; after that the folder
// isn't needed any more. The shell stays, with the terminal at descriptor 9: a terminal that nobody has open is hung up.
func terminalScript(method, dir string, password bool, mark, line string) string {
	d := quote(dir)
	run := "doas " + program(mark, "$$", line)
	switch {
	case method == "sudo" && password:
		run = "sudo -p " + mark + "ask: -- " + program(mark, "$$", line)
	case method == "sudo":
		run = "sudo -n -- " + program(mark, "$$", line)
	}
	return "unset LANGUAGE; export LC_MESSAGES=C; exec 9>&1 <" + d + "/i >" + d + "/o 2>" + d + "/e; rm -rf " + d + "; " + run + "; exit"
}

// killScript ends an elevated program. Where sudo gave it a process group of its own (use_pty) that is inner's, else it is
// that of the outer shell.
func killScript(outer, inner string) string {
	return "kill -KILL -" + inner + " 2>/dev/null || kill -KILL -" + outer + " 2>/dev/null; kill -KILL " + inner + " 2>/dev/null; :"
}
