//go:build !linux && !windows

package preflight

import "github.com/fitout-dev/fitout/engine/executor/wire"

func (d device) looks() []func(Options) []wire.Finding { return nil }
