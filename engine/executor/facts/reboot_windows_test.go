package facts

import (
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/modules/host"
	"golang.org/x/sys/windows/registry"
)

// TestRebootPending gives a registry what Windows writes there when it wants to be restarted.
func TestRebootPending(t *testing.T) {
	h := host.New("/")
	if why := RebootPending(h); why != "" {
		t.Fatalf("before: %s", why)
	}
	key := func(path string) registry.Key {
		k, _, err := registry.CreateKey(registry.LOCAL_MACHINE, path, registry.ALL_ACCESS)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	says := func(want string) {
		t.Helper()
		if why := RebootPending(h); (why == "") != (want == "") || !strings.Contains(why, want) {
			t.Errorf("%q, want %q", why, want)
		}
	}
	for path, want := range map[string]string{servicing: "parts of Windows", updates: "updates of Windows"} {
		key(path).Close()
		says(want)
		if err := registry.DeleteKey(registry.LOCAL_MACHINE, path); err != nil {
			t.Fatal(err)
		}
	}
	k := key(manager)
	defer k.Close()
	defer k.DeleteValue("PendingFileRenameOperations")
	for _, c := range []struct {
		pairs []string
		want  string
	}{
		{[]string{`\??\C:\old`, ""}, ""},
		{[]string{`\??\C:\old`, "", `\??\C:\new`, `!\??\C:\in use`}, `C:\in use was in use`},
		{[]string{`\??\C:\1`, `\??\C:\2`, `\??\C:\3`, `\??\C:\4`}, `C:\2 and 1 more`},
	} {
		// SetStringsValue writes them one behind the other, with an end of its own: an empty one stays.
		if err := k.SetStringsValue("PendingFileRenameOperations", c.pairs); err != nil {
			t.Fatal(err)
		}
		says(c.want)
	}
	k.DeleteValue("PendingFileRenameOperations")
	n := key(nameThen)
	defer n.Close()
	was, _, err := n.GetStringValue("ComputerName")
	if err != nil {
		t.Fatal(err)
	}
	defer n.SetStringValue("ComputerName", was)
	if err := n.SetStringValue("ComputerName", "OTHER"); err != nil {
		t.Fatal(err)
	}
	says("called OTHER")
}
