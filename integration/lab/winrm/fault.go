package winrm

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// A Fault is what the server answers in the place of a result: an HTTP status and a SOAP fault with Windows' own code.
type Fault struct {
	Status  int    // of HTTP; default 500
	Code    uint32 // of wsmerror.h, or a Win32 error
	Value   string // s:Sender or s:Receiver
	Subcode string // such as w:TimedOut
	Reason  string

	detail string // wsman's fault detail URI
	header string // an XML element of the envelope's header
}

func (f *Fault) Error() string { return fmt.Sprintf("fault %d (%s): %s", f.Code, f.Subcode, f.Reason) }

// Fault codes of wsmerror.h. Win32 errors are plain numbers.
const (
	codeInvalidAction     = 2150858753 // ERROR_WSMAN_INVALID_ACTIONURI
	codeTimedOut          = 2150858793 // ERROR_WSMAN_OPERATION_TIMEDOUT
	codeConcurrency       = 2150858802 // ERROR_WSMAN_CONCURRENCY
	codeEncodingLimit     = 2150858805 // ERROR_WSMAN_ENCODING_LIMIT
	codeInvalidOptions    = 2150858809 // ERROR_WSMAN_INVALID_OPTIONS
	codeInvalidParameter  = 2150858810 // ERROR_WSMAN_INVALID_PARAMETER
	codeInvalidURI        = 2150858811 // ERROR_WSMAN_INVALID_RESOURCE_URI
	codeSchema            = 2150858817 // ERROR_WSMAN_SCHEMA_VALIDATION_ERROR
	codeMaxEnvelope       = 2150858823 // ERROR_WSMAN_MAX_ENVELOPE_SIZE
	codeShellNotFound     = 2150858843 // ERROR_WSMAN_UNEXPECTED_SELECTORS
	codeReceiveInProgress = 2150859047 // ERROR_WINRS_RECEIVE_IN_PROGRESS
	codeMaxShells         = 2150859173 // ERROR_WSMAN_QUOTA_MAX_SHELLS
	codeMaxOperations     = 2150859174 // ERROR_WSMAN_QUOTA_MAX_OPERATIONS

	win32FileNotFound    = 2
	win32AccessDenied    = 5
	win32BrokenPipe      = 109
	win32Directory       = 267
	win32OperationAbort  = 995
	faultDetailNamespace = "http://schemas.dmtf.org/wbem/wsman/1/wsman/faultDetail/"
)

func sender(code uint32, subcode, reason string) *Fault {
	return &Fault{Code: code, Value: "s:Sender", Subcode: subcode, Reason: reason}
}

func receiver(code uint32, subcode, reason string) *Fault {
	return &Fault{Code: code, Value: "s:Receiver", Subcode: subcode, Reason: reason}
}

func faultSchema(why string) *Fault {
	return sender(codeSchema, "w:SchemaValidationError", "The SOAP XML in the message does not match the corresponding XML schema definition. "+
		"Change the XML and retry. ("+why+")")
}

func faultHeader(name string) *Fault {
	return sender(codeSchema, "a:MessageInformationHeaderRequired", "A required header is missing or has no valid value: "+name+".")
}

func faultNotUnderstood(name xml.Name) *Fault {
	f := &Fault{Code: codeSchema, Value: "s:MustUnderstand", Reason: "The WS-Management service cannot process a SOAP header that must be understood: " + name.Local + "."}
	f.header = `<s:NotUnderstood qname="q:` + escape(name.Local) + `" xmlns:q="` + escape(name.Space) + `"/>`
	return f
}

func faultEnvelopeTooSmall(n int) *Fault {
	f := sender(codeEncodingLimit, "w:EncodingLimit", fmt.Sprintf("The MaxEnvelopeSize of the request is below the minimum of %d: %d.", minEnvelope, n))
	f.detail = faultDetailNamespace + "MinimumEnvelopeLimit"
	return f
}

func faultEnvelopeTooLarge(limit int) *Fault {
	f := sender(codeEncodingLimit, "w:EncodingLimit", fmt.Sprintf("The WS-Management service cannot process the request because the encoding of the request "+
		"exceeds an internal encoding limit of %d bytes.", limit))
	f.detail = faultDetailNamespace + "ServiceEnvelopeLimit"
	return f
}

func faultTimeoutValue() *Fault {
	f := sender(codeInvalidParameter, "a:InvalidMessageInformationHeader", "The OperationTimeout is no duration.")
	f.detail = faultDetailNamespace + "OperationTimeout"
	return f
}

func faultAction(action string) *Fault {
	return sender(codeInvalidAction, "a:ActionNotSupported", "The WS-Management service cannot process the request. The WS-Addressing action URI is invalid: "+action)
}

func faultResource(uri string) *Fault {
	return sender(codeInvalidURI, "w:InvalidResourceURI", "The WS-Management service cannot process the request. The resource URI is missing or it has an incorrect format: "+uri)
}

func faultOption(name string) *Fault {
	return sender(codeInvalidOptions, "w:InvalidOptions", "The WS-Management service cannot process the request because one or more options are not valid: "+name)
}

func faultShell(id string) *Fault {
	return sender(codeShellNotFound, "w:InvalidSelectors", "The request for the Windows Remote Shell with ShellId "+id+" failed because the shell was not found on the server. "+
		"Possible causes are: the specified ShellId is incorrect or the shell no longer exists on the server.")
}

func faultCommand(id string) *Fault {
	return sender(codeInvalidParameter, "w:InvalidParameter", "The shell has no command with the CommandId "+id+".")
}

func faultTimedOut() *Fault {
	return receiver(codeTimedOut, "w:TimedOut", "The WS-Management service cannot complete the operation within the time specified in OperationTimeout.")
}

func faultAborted() *Fault {
	return receiver(win32OperationAbort, "w:InternalError", "The I/O operation has been aborted because of either a thread exit or an application request.")
}

func faultDenied() *Fault {
	return sender(win32AccessDenied, "w:AccessDenied", "Access is denied.")
}

// answer renders the fault as the answer to m by machine.
func (f *Fault) answer(m *message, machine string) []byte {
	var subcode, detail string
	if f.Subcode != "" {
		subcode = "<s:Subcode><s:Value>" + escape(f.Subcode) + "</s:Value></s:Subcode>"
	}
	if f.detail != "" {
		detail = "<w:FaultDetail>" + f.detail + "</w:FaultDetail>"
	}
	value := f.Value
	if value == "" {
		value = "s:Receiver"
	}
	b := respond(m, "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault", "<s:Fault><s:Code><s:Value>"+value+"</s:Value>"+subcode+
		`</s:Code><s:Reason><s:Text xml:lang="en-US">`+escape(f.Reason)+" </s:Text></s:Reason><s:Detail>"+detail+
		`<f:WSManFault xmlns:f="http://schemas.microsoft.com/wbem/wsman/1/wsmanfault" Code="`+fmt.Sprint(f.Code)+`" Machine="`+escape(machine)+
		`"><f:Message>`+escape(f.Reason)+" </f:Message></f:WSManFault></s:Detail></s:Fault>")
	if f.header != "" {
		b = []byte(strings.Replace(string(b), "</s:Header>", f.header+"</s:Header>", 1))
	}
	return b
}
