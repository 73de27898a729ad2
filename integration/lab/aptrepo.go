package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// AptSuite names a repository as its Release file does.
type AptSuite struct {
	Name   string // suite and codename
	Origin string
	Label  string
}

var (
	Main     = AptSuite{suite, "Debian", "Debian"}
	Security = AptSuite{suite + "-security", "Debian", "Debian-Security"}
)

// AptRepo is an apt repository that the test's process serves on the lab's bridge:
//
//	repo := l.AptRepo(t)
//	repo.Build(t, lab.Deb{Name: "hello", Version: "1.0"})
//	repo.Fetch(t, "nano", "curl")      // real packages, with all they depend on that the base lacks
//	repo.Publish(t)
//	repo.Use(t, m)
//	m.Run(t, "apt-get update && apt-get install -y hello=1.0 nano")
type AptRepo struct {
	Suite AptSuite
	URL   string

	lab      *Lab
	dir      string
	requests atomic.Int64

	mu        sync.Mutex
	published time.Time // of the last Release file, as HTTP tells it
}

// Deb is a package to build.
type Deb struct {
	Name         string
	Version      string
	Architecture string            // default: all
	Fields       map[string]string // more of the control file: Depends, Conflicts, Essential, ...
	Files        map[string]string // contents by absolute path; what lies in a bin or sbin folder is executable
	Conffiles    []string          // those of Files that dpkg treats as configuration; by default what is in /etc
	Scripts      map[string]string // preinst, postinst, prerm, postrm: shell commands, such as "exit 1"
}

// AptRepo makes a repository without packages and serves it until the lab closes. The suite is Main unless one is given.
func (l *Lab) AptRepo(t TB, s ...AptSuite) *AptRepo {
	t.Helper()
	r, err := l.OpenAptRepo(append(s, Main)[0])
	if err != nil {
		t.Fatalf("apt repository: %v", err)
	}
	r.Publish(t)
	return r
}

// OpenAptRepo is AptRepo for use outside tests. Nothing is published yet.
func (l *Lab) OpenAptRepo(s AptSuite) (*AptRepo, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errors.New("the lab is closed")
	}
	if l.repos == nil {
		server, err := serveRepos(l.Gateway)
		if err != nil {
			return nil, err
		}
		l.repos = server
	}
	return l.repos.add(l, s)
}

// Build makes a package and puts it into the repository; Publish shows it.
func (r *AptRepo) Build(t TB, d Deb) {
	t.Helper()
	Must(t, r.BuildDeb(t.Context(), d))
}

// Fetch puts real packages of the host's mirror into the repository, with the dependencies that the base lacks; Publish shows them.
func (r *AptRepo) Fetch(t TB, packages ...string) {
	t.Helper()
	Must(t, r.FetchDebs(t.Context(), packages...))
}

// Publish writes the repository's index.
func (r *AptRepo) Publish(t TB) {
	t.Helper()
	Must(t, r.PublishIndex(t.Context()))
}

// Use makes the repository one of the machine's. It doesn't run apt-get update.
func (r *AptRepo) Use(t TB, machines ...*Machine) {
	t.Helper()
	for _, m := range machines {
		Must(t, r.AddTo(t.Context(), m))
	}
}

// Requests is how many HTTP requests the repository has had.
func (r *AptRepo) Requests() int { return int(r.requests.Load()) }

// Source is the line that a sources.list has for the repository.
func (r *AptRepo) Source() string {
	return fmt.Sprintf("deb [trusted=yes] %s %s main", r.URL, r.Suite.Name)
}

// AddTo is Use for use outside tests.
func (r *AptRepo) AddTo(ctx context.Context, m *Machine) error {
	_, err := m.Exec(ctx, fmt.Sprintf("echo '%s' >/etc/apt/sources.list.d/lab-%s.list", r.Source(), filepath.Base(r.dir)))
	return err
}

// BuildDeb is Build for use outside tests.
func (r *AptRepo) BuildDeb(ctx context.Context, d Deb) error {
	tmp, err := os.MkdirTemp(r.lab.dir, "deb-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if d.Architecture == "" {
		d.Architecture = "all"
	}
	var control, conffiles strings.Builder
	fields := map[string]string{
		"Package": d.Name, "Version": d.Version, "Architecture": d.Architecture,
		"Maintainer": "lab <lab@localhost>", "Description": "made by the lab", "Section": "misc", "Priority": "optional",
	}
	maps.Copy(fields, d.Fields)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		fmt.Fprintf(&control, "%s: %s\n", name, fields[name])
	}
	files := map[string]string{"DEBIAN/control": control.String()}
	for path, content := range d.Files {
		files[path] = content
		if d.Conffiles == nil && strings.HasPrefix(path, "/etc/") || slices.Contains(d.Conffiles, path) {
			fmt.Fprintln(&conffiles, path)
		}
	}
	if conffiles.Len() > 0 {
		files["DEBIAN/conffiles"] = conffiles.String()
	}
	for name, script := range d.Scripts {
		files["DEBIAN/"+name] = "#!/bin/sh\nset -e\n" + script + "\n"
	}
	for path, content := range files {
		mode := os.FileMode(0o644)
		_, script := d.Scripts[filepath.Base(path)]
		if dir := filepath.Base(filepath.Dir(path)); dir == "bin" || dir == "sbin" || dir == "DEBIAN" && script {
			mode = 0o755
		}
		path = filepath.Join(tmp, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			return err
		}
	}
	if err := os.Chmod(tmp, 0o755); err != nil { // it becomes the package's root folder
		return err
	}
	file := filepath.Join(r.dir, "pool", debFile(d.Name, d.Version, d.Architecture))
	return run(ctx, "dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tmp, file)
}

func debFile(name, version, arch string) string {
	return fmt.Sprintf("%s_%s_%s.deb", name, strings.ReplaceAll(version, ":", "%3a"), arch)
}

// Withdraw takes a package's versions out of the repository; Publish shows it.
func (r *AptRepo) Withdraw(name, version string) error {
	files, err := filepath.Glob(filepath.Join(r.dir, "pool", debFile(name, version, "*")))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("withdraw %s %s: %w", name, version, fs.ErrNotExist)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	return nil
}

// PublishIndex is Publish for use outside tests.
func (r *AptRepo) PublishIndex(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	arch, err := output(ctx, "dpkg", "--print-architecture")
	if err != nil {
		return err
	}
	arch = strings.TrimSpace(arch)
	script := `cd "$1"; top=dists/$2; bin=$top/main/binary-$5; mkdir -p "$bin"; rm -f "$top/Release"
		apt-ftparchive packages pool >"$bin/Packages"; gzip -1kf "$bin/Packages"
		apt-ftparchive -o "APT::FTPArchive::Release::Suite=$2" -o "APT::FTPArchive::Release::Codename=$2" \
			-o "APT::FTPArchive::Release::Origin=$3" -o "APT::FTPArchive::Release::Label=$4" \
			-o "APT::FTPArchive::Release::Architectures=$5" -o APT::FTPArchive::Release::Components=main release "$top" >Release
		mv Release "$top/"`
	if err := run(ctx, "sh", "-ec", script, "sh", r.dir, r.Suite.Name, r.Suite.Origin, r.Suite.Label, arch); err != nil {
		return fmt.Errorf("publish %s: %w", r.Suite.Name, err)
	}
	// HTTP counts in seconds: two Releases in one of them would pass for the same.
	if now := time.Now(); now.Sub(r.published) < time.Second {
		r.published = r.published.Add(time.Second)
	} else {
		r.published = now
	}
	return os.Chtimes(filepath.Join(r.dir, "dists", r.Suite.Name, "Release"), r.published, r.published)
}

// repoServer serves all repositories of a lab, each under its number.
type repoServer struct {
	listener net.Listener
	http     http.Server

	mu    sync.Mutex
	repos map[string]*AptRepo
}

func serveRepos(address string) (*repoServer, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return nil, err
	}
	s := &repoServer{listener: l, repos: map[string]*AptRepo{}}
	s.http.Handler = http.HandlerFunc(s.serve)
	go func() { _ = s.http.Serve(l) }()
	return s, nil
}

func (s *repoServer) close() { s.http.Close() }

func (s *repoServer) add(l *Lab, suite AptSuite) (*AptRepo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := fmt.Sprint(len(s.repos) + 1)
	r := &AptRepo{
		Suite: suite, lab: l, dir: filepath.Join(l.dir, "apt", n),
		URL: fmt.Sprintf("http://%s/%s", s.listener.Addr(), n),
	}
	s.repos[n] = r
	return r, os.MkdirAll(filepath.Join(r.dir, "pool"), 0o755)
}

func (s *repoServer) serve(w http.ResponseWriter, req *http.Request) {
	n, _, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/"), "/")
	s.mu.Lock()
	r := s.repos[n]
	s.mu.Unlock()
	if r == nil {
		http.NotFound(w, req)
		return
	}
	r.requests.Add(1)
	http.StripPrefix("/"+n, http.FileServer(http.Dir(r.dir))).ServeHTTP(w, req)
}
