package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/pkg/sftp"
	gossh "golang.org/x/crypto/ssh"

	"github.com/fitout-dev/fitout/engine/transport"
	"github.com/fitout-dev/fitout/modules/hint"
)

// Upload writes a file by SFTP, replacing what was there. Its mode is what the device makes of 0666: choose a folder that
// others can't enter.
func (t *Transport) Upload(ctx context.Context, path string, r io.Reader) error {
	ch, reqs, err := t.open(ctx, func(ch gossh.Channel) error {
		ok, err := ch.SendRequest("subsystem", true, gossh.Marshal(struct{ Name string }{"sftp"}))
		if err == nil && !ok {
			return errNoSFTP
		}
		return err
	})
	if errors.Is(err, errNoSFTP) {
		return t.noUpload(errNoSFTP)
	}
	if err != nil {
		return err
	}
	go gossh.DiscardRequests(reqs)
	finished := make(chan error, 1)
	go func() { finished <- t.upload(ch, path, r) }()
	select {
	case err = <-finished:
	case <-ctx.Done():
		go ch.Close()
		err = &transport.Error{Err: fmt.Errorf("%s: uploading %s: %w", t.hop.label, path, context.Cause(ctx))}
	}
	return err
}

var errNoSFTP = errors.New("there is no SFTP")

func (t *Transport) noUpload(err error) error {
	return &transport.Error{Kind: transport.NoUpload, Err: hint.New(fmt.Errorf("%s offers no SFTP: %w", t.hop.label, err), "files go over a program's stdin instead; for speed, enable the sftp subsystem in its sshd_config")}
}

func (t *Transport) upload(ch gossh.Channel, path string, r io.Reader) error {
	defer ch.Close()
	c, err := sftp.NewClientPipe(ch, ch, sftp.UseConcurrentWrites(true))
	if err != nil {
		if !t.alive() {
			return t.lost()
		}
		return t.noUpload(err) // the subsystem is configured, but its program isn't there
	}
	defer c.Close()
	err = write(c, path, r)
	switch {
	case err == nil:
		return nil
	case t.broken():
		return t.lost()
	case errors.Is(err, fs.ErrPermission):
		err = hint.New(err, "choose a folder that %s may write to", t.hop.user)
	case errors.Is(err, fs.ErrNotExist):
		err = hint.New(err, "create the folder first")
	}
	return &transport.Error{Err: fmt.Errorf("%s: uploading %s: %w", t.hop.label, path, err)}
}

func write(c *sftp.Client, path string, r io.Reader) error {
	f, err := c.Create(path)
	if err != nil {
		return err
	}
	_, err = f.ReadFrom(r)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
