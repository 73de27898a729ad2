package ssh

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Defaults of what Options leave out.
const (
	defaultPort    = "22"
	defaultTimeout = 15 * time.Second
	maxJumps       = 8
)

// defaultIdentities are tried where neither Options nor the configuration name any, as OpenSSH does.
var defaultIdentities = []string{"id_ed25519", "id_ecdsa", "id_rsa"}

// Options say how to reach a device. Only Address is required. What is set here prevails over ~/.ssh/config.
type Options struct {
	Device  string // the device's name, for messages
	Address string // a name, an IP address or a Host of ~/.ssh/config; with or without port
	Port    int
	User    string // default: the local user

	// Password is called when the device is to get it; nil if there is none.
	Password     func() (string, error)
	IdentityFile string // a private key; ~/ is the home folder. Its certificate is IdentityFile-cert.pub.
	// Jump lists the hosts to go through, as ssh -J does: "admin@gate:22,inner". "none" is no host, whatever the
	// configuration says.
	Jump string
	// HostKey pins the host key: its fingerprint ("SHA256:...") or a line of a known_hosts or .pub file.
	HostKey string
	// KnownHosts is fitout's own file of host keys, which prevails over the user's and the system's.
	KnownHosts string

	// Prompt asks for passphrases and passwords; nil is never.
	Prompt Prompt
	// Timeout bounds the connection, and then each step of the handshake. Default: 15 seconds.
	Timeout time.Duration

	ConfigFile string // default: ~/.ssh/config and /etc/ssh/ssh_config; "none" is none
	HomeDir    string // default: the user's

	knownAs string // the name in known_hosts, of a machine that has moved
}

// hop is one host to connect to, with everything decided.
type hop struct {
	label string // what messages call it
	trust string // the command that trusts its key, without "fitout trust"
	host  string
	port  string
	user  string

	identities        []string
	requiredIdentity  string // given by Options; of the others, those that are missing are passed over
	identitiesOnly    bool
	defaultIdentities []string
	agent             string
	password          func() (string, error)
	prompt            Prompt

	hostKeyName string // normalized, as known_hosts has it
	hostKey     string // the pin
	knownHosts  []string
	timeout     time.Duration
	config      *caches
	certFiles   []string

	via *hop // the jump host before it
}

func (h *hop) address() string { return net.JoinHostPort(h.host, h.port) }

// caches are shared by all devices of a process.
type caches struct {
	configs    fileCache[[]directive]
	keys       fileCache[*keyFile]
	knownHosts fileCache[*hostKeys]
}

// resolve decides everything that can be known before the first packet.
func (c *caches) resolve(o Options) (*hop, error) {
	if o.HomeDir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			home = "/"
		}
		o.HomeDir = home
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	ds, err := c.configuration(o)
	if err != nil {
		return nil, fmt.Errorf("ssh configuration: %w", err)
	}
	h, jump, err := c.resolveHop(o, ds)
	if err != nil {
		return nil, err
	}
	h.password = o.Password
	h.hostKey = strings.TrimSpace(o.HostKey)
	h.trust = o.Device
	if h.trust == "" {
		h.trust = "--device ssh://" + h.user + "@" + h.address()
	}
	h.label = h.address()
	if o.Device != "" && o.Device != h.host {
		h.label = o.Device + " (" + h.label + ")"
	}
	if o.Jump != "" {
		jump = o.Jump
	}
	h.via, err = c.resolveJumps(o, ds, jump, 0)
	return h, err
}

func (c *caches) resolveJumps(o Options, ds []directive, jump string, depth int) (*hop, error) {
	if jump == "" || jump == "none" {
		return nil, nil
	}
	if depth >= maxJumps {
		return nil, fmt.Errorf("jump host %s: more than %d jumps, or a loop", jump, maxJumps)
	}
	before, last := "", jump
	if i := strings.LastIndexByte(jump, ','); i >= 0 {
		before, last = jump[:i], jump[i+1:]
	}
	user, address := splitUser(strings.TrimSpace(last))
	// A device's key may be tried at the jump host; its password is for nobody else.
	h, own, err := c.resolveHop(Options{
		Address: address, User: user, IdentityFile: o.IdentityFile, KnownHosts: o.KnownHosts, HomeDir: o.HomeDir, Timeout: o.Timeout, Prompt: o.Prompt,
	}, ds)
	if err != nil {
		return nil, fmt.Errorf("jump host %s: %w", last, err)
	}
	h.label = "jump host " + h.address()
	h.trust = "--device ssh://" + h.user + "@" + h.address()
	if before == "" {
		before = own
	}
	h.via, err = c.resolveJumps(o, ds, before, depth+1)
	return h, err
}

// splitUser takes "user@host:port" or "ssh://user@host:port" apart.
func splitUser(s string) (user, address string) {
	if u, err := url.Parse(s); err == nil && u.Scheme == "ssh" {
		return u.User.Username(), u.Host
	}
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		return s[:i], s[i+1:]
	}
	return "", s
}

// splitAddress takes "host", "host:port", "[v6]:port" and "v6" apart.
func splitAddress(address string) (host, port string) {
	if host, port, err := net.SplitHostPort(address); err == nil {
		return host, port
	}
	return strings.TrimSuffix(strings.TrimPrefix(address, "["), "]"), ""
}

// resolveHop joins Options with what the configuration says of their address.
func (c *caches) resolveHop(o Options, ds []directive) (h *hop, jump string, err error) {
	name, port := splitAddress(o.Address)
	if name == "" {
		return nil, "", fmt.Errorf("address %q: the host is missing", o.Address)
	}
	s := lookup(ds, name, o.User)
	h = &hop{host: name, user: s.first("user"), prompt: o.Prompt, timeout: o.Timeout, config: c}
	if v := s.first("hostname"); v != "" {
		h.host = strings.NewReplacer("%%", "%", "%h", name).Replace(v)
	}
	if h.user == "" {
		h.user = localUser()
	}
	switch {
	case o.Port != 0:
		h.port = strconv.Itoa(o.Port)
	case port != "":
		h.port = port
	case s.first("port") != "":
		h.port = s.first("port")
	default:
		h.port = defaultPort
	}
	if n, err := strconv.Atoi(h.port); err != nil || n < 1 || n > 65535 {
		return nil, "", fmt.Errorf("address %q: port %q is not a number from 1 to 65535", o.Address, h.port)
	}
	// Anything other than 'none' and a proxy that we can't run would be silently another way than the one that was meant.
	if p := s.first("proxycommand"); p != "" && p != "none" && s.first("proxyjump") == "" && o.Jump == "" {
		return nil, "", fmt.Errorf("%s: ProxyCommand in the ssh configuration is not supported; use ProxyJump, or `jump` in the inventory", name)
	}

	expand := strings.NewReplacer("%%", "%", "%d", o.HomeDir, "%h", h.host, "%n", name, "%p", h.port, "%r", h.user, "%u", localUser()).Replace
	path := func(p string) string { return expandHome(expand(p), o.HomeDir) }
	if o.IdentityFile != "" {
		h.requiredIdentity = expandHome(o.IdentityFile, o.HomeDir)
		h.identities = append(h.identities, h.requiredIdentity)
	}
	for _, f := range s["identityfile"] {
		if f != "none" && !slices.Contains(h.identities, path(f)) {
			h.identities = append(h.identities, path(f))
		}
	}
	if len(s["identityfile"]) == 0 && o.IdentityFile == "" {
		for _, f := range defaultIdentities {
			h.defaultIdentities = append(h.defaultIdentities, filepath.Join(o.HomeDir, ".ssh", f))
		}
	}
	for _, f := range s["certificatefile"] {
		h.certFiles = append(h.certFiles, path(f))
	}
	h.identitiesOnly = strings.EqualFold(s.first("identitiesonly"), "yes")
	h.agent = agentSocket(s.first("identityagent"), path)

	h.hostKeyName = normalize(strings.ToLower(h.host), h.port)
	if alias := s.first("hostkeyalias"); alias != "" {
		h.hostKeyName = strings.ToLower(alias)
	}
	if o.knownAs != "" {
		h.hostKeyName = o.knownAs
	}
	if o.KnownHosts != "" {
		h.knownHosts = append(h.knownHosts, expandHome(o.KnownHosts, o.HomeDir))
	}
	files := s["userknownhostsfile"]
	if files == nil {
		files = []string{"~/.ssh/known_hosts", "~/.ssh/known_hosts2"}
	}
	if global := s["globalknownhostsfile"]; global != nil {
		files = append(slices.Clone(files), global...)
	} else {
		files = append(slices.Clone(files), systemKnownHosts())
	}
	for _, f := range files {
		if f != "none" {
			h.knownHosts = append(h.knownHosts, path(f))
		}
	}
	return h, s.first("proxyjump"), nil
}

func agentSocket(configured string, path func(string) string) string {
	env := os.Getenv("SSH_AUTH_SOCK")
	switch {
	case configured == "none":
		return ""
	case configured == "" || configured == "SSH_AUTH_SOCK":
		if env == "" {
			return defaultAgent
		}
		return env
	case strings.HasPrefix(configured, "$"):
		return os.Getenv(strings.Trim(configured, "${}"))
	}
	return path(configured)
}

func systemFolder() string {
	if dir := os.Getenv("ProgramData"); dir != "" && os.PathSeparator == '\\' {
		return filepath.Join(dir, "ssh")
	}
	return "/etc/ssh"
}

func systemKnownHosts() string { return filepath.Join(systemFolder(), "ssh_known_hosts") }

// configuration returns the parsed files, the user's before the system's. A file that isn't there is empty, unless it was
// asked for by name.
func (c *caches) configuration(o Options) ([]directive, error) {
	type file struct{ path, folder string }
	userFolder := filepath.Join(o.HomeDir, ".ssh")
	files := []file{{filepath.Join(userFolder, "config"), userFolder}, {filepath.Join(systemFolder(), "ssh_config"), systemFolder()}}
	switch o.ConfigFile {
	case "":
	case "none":
		return nil, nil
	default:
		files = []file{{expandHome(o.ConfigFile, o.HomeDir), userFolder}}
	}
	return c.configs.get(o.HomeDir+"\x00"+o.ConfigFile, func(read func(string) ([]byte, error)) ([]directive, error) {
		var all []directive
		for _, f := range files {
			ds, err := parseConfig(f.path, o.HomeDir, f.folder, 0, read)
			if isMissing(err) && o.ConfigFile == "" {
				continue
			}
			if err != nil {
				return nil, err
			}
			all = append(all, directive{key: "include", included: ds})
		}
		return all, nil
	})
}

// keyFile returns an identity file's keys.
func (h *hop) keyFile(path string) (*keyFile, error) {
	return h.config.keys.get(path+"\x00"+strings.Join(h.certFiles, "\x00"), func(read func(string) ([]byte, error)) (*keyFile, error) {
		k, err := loadKeyFile(path, read)
		if err != nil {
			return nil, err
		}
		for _, f := range h.certFiles {
			if text, err := read(f); err == nil && k.useCertificate(text) {
				break
			}
		}
		return k, nil
	})
}

// hostKeyDB returns what is known of all hosts.
func (h *hop) hostKeyDB() (*hostKeys, error) {
	return h.config.knownHosts.get(strings.Join(h.knownHosts, "\x00"), func(read func(string) ([]byte, error)) (*hostKeys, error) {
		db := &hostKeys{revoked: map[string]string{}}
		for _, path := range h.knownHosts {
			text, err := read(path)
			if err != nil && !isMissing(err) {
				return nil, fmt.Errorf("known hosts: %w", err)
			}
			db.parseHostFile(path, text)
		}
		return db, nil
	})
}
