package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// ask asks whoever sits at the terminal; one question at a time. echo says whether the answer may be seen.
func (a *app) ask(ctx context.Context, question string, echo bool) (string, error) {
	f, ok := a.in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return "", errors.New("there is no terminal to ask on")
	}
	a.asking.Lock()
	defer a.asking.Unlock()
	defer a.aside()()
	fmt.Fprint(a.err, question)
	type reply struct {
		text string
		err  error
	}
	replies := make(chan reply, 1)
	before, _ := term.GetState(int(f.Fd()))
	go func() {
		var r reply
		if echo {
			r.text, r.err = bufio.NewReader(f).ReadString('\n')
		} else {
			var b []byte
			b, r.err = term.ReadPassword(int(f.Fd()))
			r.text = string(b)
		}
		replies <- r
	}()
	select {
	case r := <-replies:
		if !echo {
			fmt.Fprintln(a.err)
		}
		return strings.TrimRight(r.text, "\r\n"), r.err
	case <-ctx.Done():
		if before != nil {
			term.Restore(int(f.Fd()), before)
		}
		fmt.Fprintln(a.err)
		return "", context.Cause(ctx)
	}
}
