package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// byUse checks a command's arguments by what its Use says: NAME is needed, [NAME] may be left out, NAME... may come again,
// a|b is one of these words.
func byUse(c *cobra.Command, args []string) error {
	usage := func(err error) error { return hint.New(err, "see `%s --help`", c.CommandPath()) }
	rest := args
	for _, want := range strings.Fields(c.Use)[1:] {
		name, many := strings.CutSuffix(strings.Trim(want, "[]"), "...")
		switch {
		case len(rest) == 0 && want[0] == '[':
		case len(rest) == 0:
			return usage(errors.New(strings.ReplaceAll(name, "|", " or ") + " is missing"))
		case strings.ToLower(name) == name && !slices.Contains(strings.Split(name, "|"), rest[0]):
			return usage(fmt.Errorf("%q is not one of %s", rest[0], strings.ReplaceAll(name, "|", ", ")))
		case many:
			rest = nil
		default:
			rest = rest[1:]
		}
	}
	switch {
	case len(rest) == 0:
		return nil
	case c.HasAvailableSubCommands():
		err := fmt.Errorf("%s has no command %q", c.CommandPath(), rest[0])
		c.SuggestionsMinimumDistance = 2
		if near := c.SuggestionsFor(rest[0]); len(near) > 0 {
			return hint.New(err, "did you mean %q?", near[0])
		}
		return usage(err)
	}
	return usage(fmt.Errorf("too much: %s", strings.Join(rest, " ")))
}

// eachByUse makes byUse the rule of a command and of all below it.
func eachByUse(c *cobra.Command) {
	c.Args = byUse
	for _, sub := range c.Commands() {
		eachByUse(sub)
	}
}

// badFlag says what is wrong with a flag.
func badFlag(c *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var value *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		var names []string
		c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if near := hint.Near(unknown.GetSpecifiedName(), names); near != "" {
			return hint.New(err, "did you mean --%s?", near)
		}
	case errors.As(err, &value):
		f := value.GetFlag()
		err = fmt.Errorf("--%s %s: it takes %s", f.Name, value.GetValue(), map[string]string{"int": "a whole number", "bool": "true or false"}[f.Value.Type()])
	}
	return hint.New(err, "see `%s --help`", c.CommandPath())
}
