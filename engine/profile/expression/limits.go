package expression

import (
	"fmt"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/vm/runtime"
)

// What an expression may give is more than any profile needs, and little enough for every device of a fleet.
const (
	mostText  = 1 << 20 // bytes of what repeat, replace and join make
	mostItems = 100_000 // of a list or a map
)

// limit has the functions that make much of little look before they do.
func limit(c *conf.Config) {
	texts := func(x any) (n, size int) {
		switch list := x.(type) {
		case []any:
			for _, v := range list {
				s, _ := v.(string)
				size += len(s)
			}
			return len(list), size
		case []string:
			for _, s := range list {
				size += len(s)
			}
			return len(list), size
		}
		return 0, 0
	}
	length := func(x any) int {
		s, _ := x.(string)
		return len(s)
	}
	for name, f := range map[string]struct {
		size  func(args []any) int
		types []any
	}{
		"repeat": {func(args []any) int {
			return length(args[0]) * min(runtime.ToInt(args[1]), mostText+1)
		}, []any{strings.Repeat}},
		"replace": {func(args []any) int {
			old, _ := args[1].(string)
			s, _ := args[0].(string)
			return len(s) + strings.Count(s, old)*length(args[2])
		}, []any{strings.Replace, strings.ReplaceAll}},
		"join": {func(args []any) int {
			n, size := texts(args[0])
			if len(args) == 2 {
				size += n * length(args[1])
			}
			return size
		}, []any{new(func([]any, string) string), new(func([]any) string), new(func([]string, string) string), new(func([]string) string)}},
	} {
		own := builtin.Builtins[builtin.Index[name]]
		c.Disabled[name] = true
		expr.Function(name, func(args ...any) (any, error) {
			if size := f.size(args); size > mostText {
				return nil, fmt.Errorf("%s gives more than 1 MiB of text", name)
			}
			if own.Safe != nil {
				x, _, err := own.Safe(args...)
				return x, err
			}
			return own.Func(args...)
		}, f.types...)(c)
	}
}
