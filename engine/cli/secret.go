package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/fitout-dev/fitout/engine/secret"
	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/spf13/cobra"
)

// defaultSecrets is the file of secrets where no other is named.
const defaultSecrets = "secrets.age"

type secretOptions struct {
	file       string
	recipients []string
}

func newSecretCommand(a *app) *cobra.Command {
	o := secretOptions{file: defaultSecrets}
	c := &cobra.Command{
		Use:   "secret",
		Short: "Keep secrets in a file that is encrypted with age",
		Long: `Keep secrets in a file that is encrypted with age (https://age-encryption.org), for age and SSH keys. A profile uses one
as ${secrets.NAME}. An inventory names the file ("secrets: secrets.age"); without an inventory it is the secrets.age beside
the profile, or here. FITOUT_SECRET_NAME in the environment prevails.

Your own key is the one that FITOUT_IDENTITY names, or ~/.config/fitout/identity.txt, ~/.ssh/id_ed25519, ~/.ssh/id_rsa.
Where there is none, the first ` + "`fitout secret set`" + ` makes one.`,
		Example: `  fitout secret set alice
  fitout secret list`,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.PersistentFlags().StringVarP(&o.file, "file", "f", o.file, "the `file` of secrets")
	set := &cobra.Command{
		Use:   "set NAME",
		Short: "Keep a secret; its text is asked for, or read from stdin",
		Example: `  fitout secret set alice
  pwgen 20 1 | fitout secret set alice
  fitout secret set alice --recipient "$(cat ~ben/.ssh/id_ed25519.pub)"`,
		RunE: func(c *cobra.Command, args []string) error { return runSecretSet(c.Context(), a, &o, args[0]) },
	}
	set.Flags().StringArrayVar(&o.recipients, "recipient", nil, "let this public `key` read the file too: age1..., or an SSH public key")
	c.AddCommand(set,
		&cobra.Command{
			Use:     "list",
			Short:   "List the names of the secrets",
			Example: "  fitout secret list",
			RunE: func(c *cobra.Command, _ []string) error {
				names, err := a.secrets(c.Context(), o.file).List()
				for _, n := range names {
					fmt.Fprintln(a.out, n)
				}
				return err
			},
		},
		&cobra.Command{
			Use:     "remove NAME",
			Short:   "Forget a secret",
			Example: "  fitout secret remove alice",
			RunE: func(c *cobra.Command, args []string) error {
				return a.secrets(c.Context(), o.file).Remove(args[0])
			},
		})
	return c
}

// secrets is the file of secrets at path.
func (a *app) secrets(ctx context.Context, path string) *secret.File {
	return &secret.File{Path: path, Keys: a.keys(ctx)}
}

// keys finds the user's private keys.
func (a *app) keys(ctx context.Context) secret.Keys {
	k := secret.Keys{Tell: func(text string) { a.say("%s", text) }}
	if _, ok := terminal(a.in); ok {
		k.Prompt = func(question string) (string, error) { return a.ask(ctx, question, false) }
	}
	return k
}

func runSecretSet(ctx context.Context, a *app, o *secretOptions, name string) error {
	text, err := a.secretText(ctx, name)
	if err != nil {
		return err
	}
	f := a.secrets(ctx, o.file)
	if err := f.Set(name, text); err != nil {
		return err
	}
	if len(o.recipients) > 0 {
		if err := f.AddRecipients(o.recipients...); err != nil {
			return err
		}
	}
	a.say("%s is in %s", name, o.file)
	return nil
}

// secretText asks twice on a terminal, and reads stdin to its end elsewhere; one newline at the end isn't part of it.
func (a *app) secretText(ctx context.Context, name string) (string, error) {
	if _, ok := terminal(a.in); ok {
		text, err := a.ask(ctx, name+": ", false)
		if err != nil {
			return "", err
		}
		again, err := a.ask(ctx, name+", again: ", false)
		if err != nil {
			return "", err
		}
		if text != again {
			return "", errors.New("the two are not the same")
		}
		if text == "" {
			return "", errors.New("nothing was typed")
		}
		return text, nil
	}
	const most = 1 << 20
	b, err := io.ReadAll(io.LimitReader(a.in, most+1))
	switch {
	case err != nil:
		return "", err
	case len(b) > most:
		return "", errors.New("a secret can't be larger than 1 MiB")
	case len(b) == 0:
		return "", hint.New(errors.New("stdin is empty"), "pipe the secret in, or run this on a terminal to be asked")
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), nil
}
