package executor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/fitout-dev/fitout/engine/executor/wire"
	"github.com/fitout-dev/fitout/modules"
	"github.com/fitout-dev/fitout/modules/host"
)

// BenchmarkObserveAll is a look at 500 files that are as they should be, reports included.
func BenchmarkObserveAll(b *testing.B) {
	root := b.TempDir()
	_, content := blob("")
	var rs []wire.Resource
	for i := range 500 {
		if err := os.WriteFile(filepath.Join(root, fmt.Sprintf("f%d", i)), nil, 0o644); err != nil {
			b.Fatal(err)
		}
		rs = append(rs, resource("files", fmt.Sprintf("/f%d", i), content+`,"mode":"0644"`))
	}
	b.ReportAllocs()
	for b.Loop() {
		h := host.New(root)
		items := decode(rs)
		for a, f := range observeAll(context.Background(), h, items, nil) {
			if f.op != modules.Same {
				b.Fatal(a, f)
			}
		}
	}
}
