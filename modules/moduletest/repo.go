package moduletest

import (
	_ "embed"
	"net"
	"net/http"
	"path/filepath"

	"github.com/fitout-dev/fitout/integration/lab"
)

//go:embed repo.sh
var repoScript string

// Repo is an apt repository with packages made by a test, for one machine.
type Repo struct {
	d   *Device
	URL string
}

// Repo serves a repository to the machine over the lab's bridge, as its only source: two suites, main and lab-security.
func (d *Device) Repo(l *lab.Lab) *Repo {
	d.t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort(l.Gateway, "0"))
	must(d.t, err)
	files := http.FileServer(http.Dir(filepath.Join(d.root, "srv/repo")))
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("If-Modified-Since") // lists made within one second of each other differ
		files.ServeHTTP(w, r)
	})}
	go server.Serve(ln)
	d.t.Cleanup(func() { server.Close() })
	r := &Repo{d, "http://" + ln.Addr().String()}
	d.M.Run(d.t, "rm -rf /etc/apt/sources.list.d/*; for s in main lab-security; do echo deb [trusted=yes] "+r.URL+"/$s ./; done >/etc/apt/sources.list")
	return r
}

// Make runs a shell script on the machine that may use the words of repo.sh, deb and index, and makes the lists.
func (r *Repo) Make(script string) {
	r.d.t.Helper()
	r.d.M.Run(r.d.t, repoScript+"\n"+script+"\nindex")
}
