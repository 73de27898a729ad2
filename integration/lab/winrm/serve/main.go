// Command serve is the lab's WinRM server on a Windows machine of the lab: serve CONFIG, a file that [lab.Machine.StartWinRM]
// writes.
package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"

	"github.com/fitout-dev/fitout/integration/lab/winrm"
)

func main() {
	if err := serve(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "winrm:", err)
		os.Exit(1)
	}
	select {}
}

func serve(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: serve CONFIG")
	}
	b, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	var c struct {
		winrm.Config
		HTTP, HTTPS string
		Cert, Key   string // in PEM
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return err
	}
	pair, err := tls.X509KeyPair([]byte(c.Cert), []byte(c.Key))
	if err != nil {
		return err
	}
	c.Config.Certificate = &pair
	s, err := winrm.New(c.Config)
	if err != nil {
		return err
	}
	return s.Listen(c.HTTP, c.HTTPS)
}
