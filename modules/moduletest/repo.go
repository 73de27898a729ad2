package moduletest

import (
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/integration/lab"
)

// Build makes packages and publishes them with the others of the repository. Each is "NAME VERSION", then perhaps lines:
// "FIELD: VALUE" of the control file, "preinst: COMMANDS" or another script, "conffile: TEXT" of /etc/NAME.conf.
func Build(t testing.TB, repo *lab.AptRepo, packages ...string) {
	t.Helper()
	for _, p := range packages {
		first, rest, _ := strings.Cut(p, "\n")
		name, version, _ := strings.Cut(first, " ")
		d := lab.Deb{Name: name, Version: version, Fields: map[string]string{}, Files: map[string]string{}, Scripts: map[string]string{}}
		for line := range strings.Lines(rest) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			switch key {
			case "preinst", "postinst", "prerm", "postrm":
				d.Scripts[key] = value
			case "conffile":
				d.Files["/etc/"+name+".conf"] = value + " " + version + "\n"
			default:
				d.Fields[key] = value
			}
		}
		repo.Build(t, d)
	}
	repo.Publish(t)
}
