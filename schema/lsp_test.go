package schema

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/textproto"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What an editor shows with the committed schema, asked of the language server that editors run.
func TestEditor(t *testing.T) {
	e := startEditor(t)

	t.Run("no diagnostics where all is right", func(t *testing.T) {
		e.t = t
		if got := e.diagnostics(designExample(t)); len(got) > 0 {
			t.Errorf("got %v", got)
		}
	})
	t.Run("completion of a top-level key", func(t *testing.T) {
		e.t = t
		got := e.complete("profile: x\nhost|\n")
		e.has(got, "hostname")
		if doc := fmt.Sprint(got["hostname"].Documentation); !strings.Contains(doc, "The machine's name") {
			t.Errorf("hostname is documented as %q", doc)
		}
		all := e.complete("profile: x\n|\n")
		e.has(all, "users", "packages", "services", "variables")
		e.lacks(all, "profile")
	})
	t.Run("completion of a property", func(t *testing.T) {
		e.t = t
		got := e.complete("users:\n  - name: alice\n    |\n")
		e.has(got, "shell", "groups", "state", "when", "forEach")
		e.lacks(got, "name", "members")
	})
	t.Run("completion of an enum", func(t *testing.T) {
		e.t = t
		e.has(e.complete("users:\n  - name: alice\n    state: |\n"), "present", "absent")
		e.has(e.complete("updates:\n  install: |\n"), "security", "all", "none")
		e.has(e.complete("users:\n  - name: alice\n    locked: |\n"), "true", "false")
	})
	t.Run("hover", func(t *testing.T) {
		e.t = t
		for _, c := range []struct{ text, want string }{
			{"directories:\n  - path: /srv\n    mo|de: \"0750\"\n", "permissions"},
			{"users:\n  - name: alice\n    st|ate: absent\n", "the user should exist"},
			{"users:\n  - name: alice\n    wh|en: x\n", "expression"},
			{"us|ers:\n  - name: alice\n", "user of the device"},
			{"host|name: a\n", "machine's name"},
		} {
			if got := e.hover(c.text); !strings.Contains(got, c.want) {
				t.Errorf("%q: %q says nothing of %q", c.text, got, c.want)
			}
		}
	})
	t.Run("diagnostics", func(t *testing.T) {
		e.t = t
		for _, c := range []struct {
			text, place, want string
		}{
			{"directories:\n  - path: /srv\n    mode: 5\n", "2:10", "string"},
			{"directories:\n  - path: /srv\n    mode: \"9\"\n", "2:10", "must be three or four digits from 0 to 7"},
			{"users:\n  - name: alice\n    shel: /bin/sh\n", "2:4", "shel"},
			{"user: []\n", "0:0", "user"},
			{"users:\n  - name: alice\n    state: gone\n", "2:11", "present"},
			{"users:\n  - name: alice\n    locked: maybe\n", "2:12", "must be true or false, or an expression"},
			{"users:\n  - shell: /bin/sh\n", "1:4", "name"},
			{"packages: nano\n", "0:10", "array"},
		} {
			got := e.diagnostics(c.text)
			if len(got) != 1 || got[0].place() != c.place || !strings.Contains(got[0].Message, c.want) {
				t.Errorf("%q: got %v, want one at %s with %q", c.text, got, c.place, c.want)
			}
		}
	})
}

func designExample(t *testing.T) string {
	t.Helper()
	all, err := os.ReadFile("testdata/profile.txtar")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(all), "-- design.profile --\n# yaml-language-server: $schema=profile.schema.json\n")
	text, _, _ = strings.Cut(text, "-- ")
	return text
}

// editor talks to a language server over its stdin and stdout.
type editor struct {
	t      *testing.T // the one that is running
	dir    string
	in     io.Writer
	news   chan message
	nextID int
	files  int
}

type message struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id,omitzero"`
	Method  string          `json:"method,omitzero"`
	Params  json.RawMessage `json:"params,omitzero"`
	Result  json.RawMessage `json:"result,omitzero"`
	Error   json.RawMessage `json:"error,omitzero"`
}

type diagnostic struct {
	Message string
	Range   struct{ Start position }
}

type position struct {
	Line      int `json:"line"`
	Character int `json:"character"`
}

func (d diagnostic) place() string {
	return fmt.Sprintf("%d:%d", d.Range.Start.Line, d.Range.Start.Character)
}
func (d diagnostic) String() string { return d.place() + " " + d.Message }

type completion struct {
	Label         string
	Documentation any // text, or a map with it
}

func startEditor(t *testing.T) *editor {
	t.Helper()
	server := languageServer(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "profile.schema.json"), Profile(), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "node", server, "--stdio")
	cmd.Dir = dir
	cmd.WaitDelay = 5 * time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	e := &editor{t: t, dir: dir, in: in, news: make(chan message, 1000)}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // killed
	})
	go receive(out, e.news)
	e.call("initialize", map[string]any{
		"processId": os.Getpid(), "rootUri": fileURI(dir),
		"capabilities": map[string]any{
			"workspace": map[string]any{"configuration": true},
			"textDocument": map[string]any{
				"completion": map[string]any{"completionItem": map[string]any{"documentationFormat": []string{"markdown"}, "snippetSupport": true}},
				"hover":      map[string]any{"contentFormat": []string{"markdown"}},
			},
		},
	})
	e.notify("initialized", map[string]any{})
	return e
}

// languageServer is the server's program. It is fetched by npm once, as testdata/editor/package-lock.json pins it, into
// the user's cache.
func languageServer(t *testing.T) string {
	t.Helper()
	skip := t.Skipf
	if os.Getenv("FITOUT_LAB") == "required" {
		skip = t.Fatalf
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		skip("needs npm: %v", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		skip("needs a cache folder: %v", err)
	}
	sum := sha256.New()
	var files = map[string][]byte{}
	for _, name := range []string{"package.json", "package-lock.json"} {
		b, err := os.ReadFile(filepath.Join("testdata", "editor", name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = b
		sum.Write(b)
	}
	dir := filepath.Join(cache, "fitout-test", fmt.Sprintf("editor-%x", sum.Sum(nil)[:8]))
	program := filepath.Join("node_modules", "yaml-language-server", "bin", "yaml-language-server")
	if _, err := os.Stat(filepath.Join(dir, program)); err == nil {
		return filepath.Join(dir, program)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	fresh, err := os.MkdirTemp(filepath.Dir(dir), "fresh-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(fresh)
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(fresh, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=1")
	cmd.Dir = fresh
	cmd.WaitDelay = 5 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		skip("npm can't fetch the language server: %v\n%s", err, out)
	}
	if err := os.Rename(fresh, dir); err != nil { // unless another test was faster
		if _, there := os.Stat(filepath.Join(dir, program)); there != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, program)
}

func fileURI(path string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return (&url.URL{Scheme: "file", Path: path}).String()
}

func receive(out io.Reader, news chan<- message) {
	defer close(news)
	r := bufio.NewReader(out)
	for {
		header, err := textproto.NewReader(r).ReadMIMEHeader()
		if err != nil {
			return
		}
		n, err := strconv.Atoi(header.Get("Content-Length"))
		if err != nil {
			return
		}
		body := make([]byte, n)
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		var m message
		if json.Unmarshal(body, &m) == nil {
			news <- m
		}
	}
}

func (e *editor) send(m message) {
	e.t.Helper()
	m.JSONRPC = "2.0"
	b, err := json.Marshal(m)
	if err == nil {
		_, err = fmt.Fprintf(e.in, "Content-Length: %d\r\n\r\n%s", len(b), b)
	}
	if err != nil {
		e.t.Fatal(err)
	}
}

func raw(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func (e *editor) notify(method string, params any) {
	e.t.Helper()
	e.send(message{Method: method, Params: raw(params)})
}

// until takes messages, and answers the server's own questions, until one is wanted.
func (e *editor) until(what string, wanted func(message) bool) message {
	e.t.Helper()
	deadline := time.After(2 * time.Minute)
	for {
		select {
		case <-deadline:
			e.t.Fatalf("no %s within two minutes", what)
		case m, ok := <-e.news:
			switch {
			case !ok:
				e.t.Fatalf("the language server ended before %s", what)
			case wanted(m):
				return m
			case m.Method == "workspace/configuration":
				var p struct{ Items []struct{ Section string } }
				if err := json.Unmarshal(m.Params, &p); err != nil {
					e.t.Fatal(err)
				}
				answer := make([]any, len(p.Items))
				for i, item := range p.Items {
					if item.Section == "yaml" { // no schema from the network
						answer[i] = map[string]any{
							"schemaStore": map[string]any{"enable": false}, "validate": true, "completion": true, "hover": true,
						}
					}
				}
				e.send(message{ID: m.ID, Result: raw(answer)})
			case len(m.ID) > 0 && m.Method != "":
				e.send(message{ID: m.ID, Result: json.RawMessage("null")})
			}
		}
	}
}

func (e *editor) call(method string, params any) json.RawMessage {
	e.t.Helper()
	e.nextID++
	id := strconv.Itoa(e.nextID)
	e.send(message{ID: json.RawMessage(id), Method: method, Params: raw(params)})
	m := e.until("answer to "+method, func(m message) bool { return m.Method == "" && string(m.ID) == id })
	if len(m.Error) > 0 {
		e.t.Fatalf("%s: %s", method, m.Error)
	}
	return m.Result
}

const modeline = "# yaml-language-server: $schema=profile.schema.json\n"

// open opens a new file in the editor, and returns its URI and where | was in text.
func (e *editor) open(text string) (string, position) {
	e.t.Helper()
	before, after, _ := strings.Cut(text, "|")
	e.files++
	uri := fileURI(filepath.Join(e.dir, fmt.Sprintf("p%d.yaml", e.files)))
	e.notify("textDocument/didOpen", map[string]any{"textDocument": map[string]any{
		"uri": uri, "languageId": "yaml", "version": 1, "text": modeline + before + after,
	}})
	lines := strings.Split(modeline+before, "\n")
	return uri, position{len(lines) - 1, len(lines[len(lines)-1])}
}

// diagnostics are what is underlined in text, with positions in it.
func (e *editor) diagnostics(text string) []diagnostic {
	e.t.Helper()
	var p struct {
		URI         string
		Diagnostics []diagnostic
	}
	e.files++
	uri := fileURI(filepath.Join(e.dir, fmt.Sprintf("p%d.yaml", e.files)))
	e.notify("textDocument/didOpen", map[string]any{"textDocument": map[string]any{
		"uri": uri, "languageId": "yaml", "version": 1, "text": modeline + text,
	}})
	e.until("diagnostics", func(m message) bool {
		return m.Method == "textDocument/publishDiagnostics" && json.Unmarshal(m.Params, &p) == nil && p.URI == uri
	})
	for i := range p.Diagnostics {
		p.Diagnostics[i].Range.Start.Line -= strings.Count(modeline, "\n")
	}
	return p.Diagnostics
}

func (e *editor) complete(text string) map[string]completion {
	e.t.Helper()
	uri, at := e.open(text)
	var list struct{ Items []completion }
	answer := e.call("textDocument/completion", map[string]any{"textDocument": map[string]any{"uri": uri}, "position": at})
	if err := json.Unmarshal(answer, &list); err != nil {
		e.t.Fatalf("%s: %v", answer, err)
	}
	byLabel := map[string]completion{}
	for _, c := range list.Items {
		byLabel[c.Label] = c
	}
	return byLabel
}

func (e *editor) hover(text string) string {
	e.t.Helper()
	uri, at := e.open(text)
	var h struct{ Contents struct{ Value string } }
	answer := e.call("textDocument/hover", map[string]any{"textDocument": map[string]any{"uri": uri}, "position": at})
	if err := json.Unmarshal(answer, &h); err != nil {
		e.t.Fatalf("%s: %v", answer, err)
	}
	return h.Contents.Value
}

func (e *editor) has(got map[string]completion, labels ...string) {
	e.t.Helper()
	for _, l := range labels {
		if _, ok := got[l]; !ok {
			e.t.Errorf("no completion %q among %q", l, labelsOf(got))
		}
	}
}

func (e *editor) lacks(got map[string]completion, labels ...string) {
	e.t.Helper()
	for _, l := range labels {
		if _, ok := got[l]; ok {
			e.t.Errorf("completion %q isn't right there", l)
		}
	}
}

func labelsOf(got map[string]completion) []string {
	var labels []string
	for l := range got {
		labels = append(labels, l)
	}
	slices.Sort(labels)
	return labels
}
