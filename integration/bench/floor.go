package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// floorCommand has this program be the floor: the least that a program with golang.org/x/crypto/ssh can do.
const floorCommand = "floor"

func floor(args []string) error {
	f := flag.NewFlagSet(floorCommand, flag.ExitOnError)
	key, known := f.String("key", "", ""), f.String("known", "", "")
	src, dst := f.String("src", "", ""), f.String("dst", "", "")
	what := args[0]
	f.Parse(args[1:])
	text, err := os.ReadFile(*key)
	if err != nil {
		return err
	}
	signer, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return err
	}
	check, err := knownhosts.New(*known)
	if err != nil {
		return err
	}
	config := &ssh.ClientConfig{User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: check,
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519}, Timeout: 10 * time.Second}
	var mu sync.Mutex
	var work sync.WaitGroup
	for _, host := range f.Args() {
		work.Go(func() {
			if e := reach(config, host, what, *src, *dst); e != nil {
				mu.Lock()
				defer mu.Unlock()
				err = fmt.Errorf("%s: %w", host, e)
			}
		})
	}
	work.Wait()
	return err
}

func reach(config *ssh.ClientConfig, host, what, src, dst string) error {
	c, err := ssh.Dial("tcp", net.JoinHostPort(host, "22"), config)
	if err != nil {
		return err
	}
	defer c.Close()
	s, err := c.NewSession()
	if err != nil {
		return err
	}
	if what == "exec" {
		return s.Run("true")
	}
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	s.Stdin = in
	return s.Run("cat > " + dst)
}
