package winrm

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Namespaces of the protocol.
const (
	nsSoap       = "http://www.w3.org/2003/05/soap-envelope"
	nsAddressing = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
	nsWSMan      = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
	nsMicrosoft  = "http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd"
	nsTransfer   = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
	nsShell      = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
	nsIdentify   = "http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"

	anonymous = nsAddressing + "/role/anonymous"
	cmdShell  = nsShell + "/cmd"
)

type element struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Text     string     `xml:",chardata"`
	Children []*element `xml:",any"`
}

func (e *element) is(space, local string) bool {
	return e.XMLName.Space == space && e.XMLName.Local == local
}

// child returns the first child of that name, or nil; it may be called on nil.
func (e *element) child(space, local string) *element {
	if e == nil {
		return nil
	}
	for _, c := range e.Children {
		if c.is(space, local) {
			return c
		}
	}
	return nil
}

func (e *element) attr(local string) string {
	for _, a := range e.Attrs {
		if a.Name.Local == local {
			return a.Value
		}
	}
	return ""
}

func (e *element) text() string {
	if e == nil {
		return ""
	}
	return strings.TrimSpace(e.Text)
}

func isTrue(s string) bool { return strings.EqualFold(s, "true") || s == "1" }

// A message is a parsed request.
type message struct {
	action, id, resource string
	maxEnvelope          int
	timeout              time.Duration
	selectors            map[string]string
	options              map[string]string
	body                 *element
}

// known lists the headers that the service understands.
var known = map[xml.Name]bool{
	{Space: nsAddressing, Local: "To"}: true, {Space: nsAddressing, Local: "ReplyTo"}: true, {Space: nsAddressing, Local: "FaultTo"}: true,
	{Space: nsAddressing, Local: "From"}: true, {Space: nsAddressing, Local: "MessageID"}: true, {Space: nsAddressing, Local: "Action"}: true,
	{Space: nsAddressing, Local: "RelatesTo"}: true,
	{Space: nsWSMan, Local: "ResourceURI"}:    true, {Space: nsWSMan, Local: "MaxEnvelopeSize"}: true, {Space: nsWSMan, Local: "OperationTimeout"}: true,
	{Space: nsWSMan, Local: "Locale"}: true, {Space: nsWSMan, Local: "SelectorSet"}: true, {Space: nsWSMan, Local: "OptionSet"}: true,
	{Space: nsMicrosoft, Local: "DataLocale"}: true, {Space: nsMicrosoft, Local: "SessionId"}: true, {Space: nsMicrosoft, Local: "OperationID"}: true,
	{Space: nsMicrosoft, Local: "SequenceId"}: true, {Space: nsMicrosoft, Local: "ActivityId"}: true,
}

// minEnvelope is the smallest MaxEnvelopeSize that a client may ask for (DSP0226, R13.1-6).
const minEnvelope = 8192

// parse reads a request. Even with a fault the message holds what is needed to answer it.
func parse(b []byte) (*message, *Fault) {
	m := &message{selectors: map[string]string{}, options: map[string]string{}}
	var root element
	d := xml.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&root); err != nil || !root.is(nsSoap, "Envelope") {
		return m, faultSchema("the request is no SOAP 1.2 envelope")
	}
	m.body = root.child(nsSoap, "Body")
	header := root.child(nsSoap, "Header")
	if m.body == nil {
		return m, faultSchema("the envelope has no body")
	}
	if m.body.child(nsIdentify, "Identify") != nil {
		m.action = nsIdentify + "/Identify"
		return m, nil
	}
	if header == nil {
		return m, faultHeader("Action")
	}
	m.id = header.child(nsAddressing, "MessageID").text()
	for _, h := range header.Children {
		if isTrue(h.attr("mustUnderstand")) && !known[h.XMLName] {
			return m, faultNotUnderstood(h.XMLName)
		}
	}
	for _, name := range []string{"Action", "To", "MessageID"} {
		if header.child(nsAddressing, name).text() == "" {
			return m, faultHeader(name)
		}
	}
	if header.child(nsAddressing, "ReplyTo").child(nsAddressing, "Address").text() != anonymous {
		return m, faultHeader("ReplyTo")
	}
	m.action = header.child(nsAddressing, "Action").text()
	m.resource = header.child(nsWSMan, "ResourceURI").text()
	if m.resource == "" {
		return m, faultHeader("ResourceURI")
	}
	m.maxEnvelope = 1 << 30
	if e := header.child(nsWSMan, "MaxEnvelopeSize"); e != nil {
		n, err := strconv.Atoi(e.text())
		if err != nil || n < minEnvelope {
			return m, faultEnvelopeTooSmall(n)
		}
		m.maxEnvelope = n
	}
	if e := header.child(nsWSMan, "OperationTimeout"); e != nil {
		d, err := duration(e.text())
		if err != nil {
			return m, faultTimeoutValue()
		}
		m.timeout = d
	}
	if set := header.child(nsWSMan, "SelectorSet"); set != nil {
		for _, s := range set.Children {
			m.selectors[strings.ToLower(s.attr("Name"))] = s.text()
		}
	}
	if set := header.child(nsWSMan, "OptionSet"); set != nil {
		for _, o := range set.Children {
			m.options[strings.ToUpper(o.attr("Name"))] = o.text()
		}
	}
	return m, nil
}

var durationForm = regexp.MustCompile(`^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$`)

// duration reads an xs:duration without years and months.
func duration(s string) (time.Duration, error) {
	f := durationForm.FindStringSubmatch(s)
	if f == nil || strings.HasSuffix(s, "P") || strings.HasSuffix(s, "T") {
		return 0, fmt.Errorf("no duration: %q", s)
	}
	var d float64
	for i, unit := range []float64{86400, 3600, 60, 1} {
		if f[i+1] != "" {
			n, err := strconv.ParseFloat(f[i+1], 64)
			if err != nil {
				return 0, err
			}
			d += n * unit
		}
	}
	return time.Duration(d * float64(time.Second)), nil
}

func escape(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}

// respond wraps a body in an envelope that answers m.
func respond(m *message, action, body string) []byte {
	var relates string
	if m.id != "" {
		relates = "<a:RelatesTo>" + escape(m.id) + "</a:RelatesTo>"
	}
	return []byte(`<s:Envelope xml:lang="en-US" xmlns:s="` + nsSoap + `" xmlns:a="` + nsAddressing + `" xmlns:x="` + nsTransfer +
		`" xmlns:w="` + nsWSMan + `" xmlns:rsp="` + nsShell + `" xmlns:p="` + nsMicrosoft + `"><s:Header><a:Action>` + action +
		`</a:Action><a:MessageID>uuid:` + newID() + `</a:MessageID><a:To>` + anonymous + `</a:To>` + relates +
		`</s:Header><s:Body>` + body + `</s:Body></s:Envelope>`)
}
