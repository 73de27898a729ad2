package winrm

import (
	"bytes"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/fitout-dev/fitout/modules/fuzzing"
)

// nullSealer signs with four bytes and encrypts nothing.
type nullSealer struct{}

var nullSignature = []byte("sign")

func (nullSealer) Seal(plain []byte) (signature, sealed []byte, err error) {
	return nullSignature, plain, nil
}

func (nullSealer) Unseal(signature, sealed []byte) ([]byte, error) {
	if !bytes.Equal(signature, nullSignature) {
		return nil, errors.New("no signature")
	}
	return sealed, nil
}

func TestSealedMessages(t *testing.T) {
	for _, plain := range []string{"", "hello", "\r\n" + sealedBoundary + "--\r\n", sealedBoundary + "\r\n\tContent-Type: application/octet-stream\r\n", strings.Repeat("\x00\xff", 100_000)} {
		b, err := sealMessage(nullSealer{}, []byte(plain))
		if err != nil {
			t.Fatal(err)
		}
		got, err := unsealMessage(nullSealer{}, b)
		if err != nil || string(got) != plain {
			t.Errorf("%.60q became %.60q, %v", plain, got, err)
		}
	}
}

func FuzzUnseal(f *testing.F) {
	b, _ := sealMessage(nullSealer{}, []byte("<s:Envelope/>"))
	f.Add(b)
	f.Add([]byte("--Encrypted Boundary\r\n\tOriginalContent: type=x;Length=5\r\n--Encrypted Boundary\r\n\tContent-Type: application/octet-stream\r\n\x04\x00\x00\x00signhello--Encrypted Boundary--\r\n"))
	f.Add([]byte("--Encrypted Boundary\r\nLength=99999999999999999999\r\n--Encrypted Boundary\r\n\r\n\xff\xff\xff\xff--Encrypted Boundary--"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > fuzzing.Most {
			return
		}
		fuzzing.Soon(func() {
			plain, err := unsealMessage(nullSealer{}, b)
			if err == nil && !bytes.Contains(b, plain) {
				t.Errorf("%q holds no %q", b, plain)
			}
		})
	})
}

func envelope(body string) string {
	return `<?xml version="1.0"?><s:Envelope xmlns:s="x"><s:Header><a:Action>y</a:Action></s:Header><s:Body>` + body + `</s:Body></s:Envelope>`
}

func TestReplies(t *testing.T) {
	r, err := parseReply([]byte(envelope(`<rsp:ReceiveResponse><rsp:Stream Name="stdout" CommandId="1">aGVs
bG8=</rsp:Stream><rsp:Stream Name="stderr" CommandId="1"><![CDATA[/w==]]></rsp:Stream><rsp:Stream Name="stdout" CommandId="1" End="true"/>` +
		`<rsp:CommandState CommandId="1" State="http://schemas.microsoft.com/wbem/wsman/1/windows/shell/CommandState/Done"><rsp:ExitCode>3221225477</rsp:ExitCode></rsp:CommandState></rsp:ReceiveResponse>`)))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.output) != 2 || string(r.output[0].data) != "hello" || r.output[0].stream != "stdout" || string(r.output[1].data) != "\xff" || !r.done || r.exit != 3221225477 {
		t.Errorf("got %+v", r)
	}
	r, err = parseReply([]byte(envelope(`<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>w:InvalidSelectors</s:Value></s:Subcode></s:Code><s:Reason><s:Text xml:lang="en-US">The shell was not found. </s:Text></s:Reason>` +
		`<s:Detail><f:WSManFault Code="2150858843" Machine="x"><f:Message><f:ProviderFault><f:WSManFault Code="7"><f:Message>Deeper.</f:Message></f:WSManFault></f:ProviderFault></f:Message></f:WSManFault></s:Detail></s:Fault>`)))
	if err != nil || r.fault == nil {
		t.Fatalf("got %+v, %v", r, err)
	}
	if r.fault.subcode != "InvalidSelectors" || r.fault.text != "Deeper." || !(&fault{code: unexpectedSelectors}).noShell() {
		t.Errorf("got %+v", r.fault)
	}
	for _, bad := range []string{
		"", "x", "<html></html>", envelope("")[:60], envelope("<a></b>"), envelope(`<rsp:Stream Name="stdout">!!!</rsp:Stream>`),
		envelope("<rsp:ExitCode>x</rsp:ExitCode>"), envelope(strings.Repeat("<a>", 100)), envelope("&#0;"),
	} {
		if r, err := parseReply([]byte(bad)); err == nil {
			t.Errorf("%.80q: no error, but %+v", bad, r)
		}
	}
}

// Long output is read in another way.
func TestLongReplies(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 4000)
	stream := func(name, data string) string {
		return `<rsp:Stream Name="` + name + `" CommandId="1">` + base64.StdEncoding.EncodeToString([]byte(data)) + `</rsp:Stream>`
	}
	r, err := parseReply([]byte(envelope(stream("stdout", "short") + stream("stdout", long) + `<rsp:Stream Name="stdout" End="true"/>` + stream("stderr", long+"!") + stream("stdout", "last"))))
	if err != nil {
		t.Fatal(err)
	}
	want := []output{{"stdout", []byte("short")}, {"stdout", []byte(long)}, {"stderr", []byte(long + "!")}, {"stdout", []byte("last")}}
	if !slices.EqualFunc(r.output, want, func(a, b output) bool { return a.stream == b.stream && bytes.Equal(a.data, b.data) }) {
		t.Errorf("%d pieces of output", len(r.output))
	}
	for _, bad := range []string{stream("stdout", long)[:40000] + "*" + strings.Repeat("A", 5000) + "</rsp:Stream>", `<rsp:Stream Name="stdout">*0</rsp:Stream>`} {
		if _, err := parseReply([]byte(envelope(bad))); err == nil {
			t.Errorf("%.60q: no error", bad)
		}
	}
}

func FuzzReply(f *testing.F) {
	f.Add([]byte(envelope(`<rsp:Stream Name="stdout">` + strings.Repeat("aGVsbG8h", 600) + `</rsp:Stream><rsp:Stream Name="stderr">*0</rsp:Stream>`)))
	f.Add([]byte(envelope(`<rsp:Stream Name="stdout">aGVsbG8=</rsp:Stream><rsp:CommandState State="/CommandState/Done"><rsp:ExitCode>0</rsp:ExitCode></rsp:CommandState>`)))
	f.Add([]byte(envelope(`<s:Fault><s:Code><s:Subcode><s:Value>w:TimedOut</s:Value></s:Subcode></s:Code><f:WSManFault Code="2150858793"><f:Message>x</f:Message></f:WSManFault></s:Fault>`)))
	f.Add([]byte(envelope(`<w:Selector Name="ShellId">1</w:Selector><rsp:CommandId>2</rsp:CommandId><MaxEnvelopeSizekb>500</MaxEnvelopeSizekb>`)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > fuzzing.Most {
			return
		}
		fuzzing.Soon(func() {
			r, err := parseReply(b)
			if err != nil {
				return
			}
			for _, o := range r.output {
				if n := base64.StdEncoding.EncodedLen(len(o.data)); n > len(b) {
					t.Errorf("%d bytes of output from %d of input", len(o.data), len(b))
				}
			}
			if r.fault != nil {
				_ = r.fault.Error()
			}
		})
	})
}

// A command line arrives as it is, whatever it holds.
func TestCommandIsEscaped(t *testing.T) {
	for _, line := range []string{`echo a & b > "c" < ']]>' %PATH% é`, "</rsp:Command>", "&amp;"} {
		m := requests{"http://x/wsman"}.command("shell", line)
		r, err := parseReply([]byte(strings.Replace(m, "rsp:Command>", "rsp:CommandId>", 2)))
		if err != nil || r.command != line {
			t.Errorf("%q became %q, %v", line, r.command, err)
		}
	}
}
