package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/fitout-dev/fitout/modules/registry"
	"github.com/fitout-dev/fitout/schema"
	"github.com/spf13/cobra"
)

func newExplainCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "explain [TYPE[.PROPERTY]]",
		Short: "Explain what can be declared, and how",
		Example: `  fitout explain
  fitout explain users
  fitout explain files.mode
  fitout explain run`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			names := []string{schema.Run, schema.Entry}
			for _, t := range registry.Types {
				names = append(names, t.Name)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error { return runExplain(a, args) },
	}
}

func runExplain(a *app, args []string) error {
	if len(args) == 0 {
		var names []string
		for _, t := range registry.Types {
			names = append(names, t.Name)
		}
		for _, name := range append(names, schema.Run, schema.Entry) {
			ref, err := schema.Explain(name, "")
			if err != nil {
				return err
			}
			first, _, _ := strings.Cut(strings.ReplaceAll(ref.Description, "\n", " "), ". ")
			fmt.Fprintf(a.out, "%-14s %s\n", name, strings.TrimSuffix(strings.TrimSpace(first), "."))
		}
		a.say("\n`fitout explain TYPE` tells more.")
		return nil
	}
	typ, property, _ := strings.Cut(args[0], ".")
	ref, err := schema.Explain(typ, property)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(ref)
	}
	width, ok := terminal(a.out)
	if !ok {
		width = 100
	}
	if property == "" {
		fmt.Fprintf(a.out, "%s  %s\n\n%s\n", a.paint(a.out, "1", ref.Name), ref.Title, wrap(ref.Description, width, ""))
		if len(ref.Platforms) < 3 {
			fmt.Fprintf(a.out, "\nOn %s only.\n", strings.Join(ref.Platforms, " and "))
		}
		if ref.Short != "" {
			fmt.Fprintf(a.out, "\nShort form: a bare text stands for %s.\n", ref.Short)
		}
		fmt.Fprintln(a.out)
	}
	var common []string
	for _, p := range ref.Properties {
		if p.Role == "entry" && property == "" && ref.Name != schema.Entry {
			common = append(common, p.Name)
			continue
		}
		explainProperty(a, p, width, "")
	}
	if len(common) > 0 {
		text := fmt.Sprintf("As any entry, it may also have %s: see `fitout explain %s`.", strings.Join(common, ", "), schema.Entry)
		fmt.Fprintf(a.out, "\n%s\n", wrap(text, width, ""))
	}
	return nil
}

func explainProperty(a *app, p schema.Property, width int, indent string) {
	notes := []string{p.Type}
	switch {
	case p.Role == "observed":
		notes = append(notes, "observed, can't be declared")
	case p.Required:
		notes = append(notes, "required")
	case p.Role == "behaviour":
		notes = append(notes, "how to apply")
	case p.Role == "entry":
		notes = append(notes, "every entry may have it")
	}
	if p.Secret {
		notes = append(notes, "secret")
	}
	if len(p.Enum) > 0 {
		notes = append(notes, "one of "+strings.Join(p.Enum, ", "))
	}
	if p.Default != nil {
		notes = append(notes, "default "+jsonText(p.Default))
	}
	if p.Example != nil {
		notes = append(notes, "for example "+jsonText(p.Example))
	}
	fmt.Fprintf(a.out, "%s%s  %s\n", indent, a.paint(a.out, "1", p.Name), a.paint(a.out, "2", strings.Join(notes, "; ")))
	indent += "    "
	fmt.Fprintln(a.out, wrap(p.Title+". "+p.Description, width, indent))
	for _, key := range p.Keys {
		explainProperty(a, key, width, indent)
	}
}

func jsonText(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSpace(b.String())
}

// wrap breaks a text into lines of at most width, each behind indent.
func wrap(text string, width int, indent string) string {
	var out strings.Builder
	col := 0
	for _, word := range strings.Fields(text) {
		if col > 0 && col+1+len(word) > width-len(indent) {
			out.WriteByte('\n')
			col = 0
		}
		if col == 0 {
			out.WriteString(indent)
		} else {
			out.WriteByte(' ')
			col++
		}
		out.WriteString(word)
		col += len(word)
	}
	return out.String()
}
