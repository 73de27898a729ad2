// Package winrm is the lab's WinRM server: the WS-Management shell of Windows, as its public documents describe it, for
// clients to be tested against. It shares no code with any client.
//
//	s, err := winrm.New(winrm.Config{Users: map[string]winrm.User{"Administrator": {Password: "pw"}}})
//	err = s.Listen("127.0.0.1:0", "127.0.0.1:0")   // HTTP and HTTPS
//	defer s.Close()
//	use(s.HTTPAddr, s.HTTPSAddr, s.Certificate())
//
// Sources: [MS-WSMV] (shell, message encryption), DSP0226 (envelopes, faults), [MS-NLMP] (NTLM), RFC 4178 and [MS-SPNG]
// (SPNEGO), RFC 4559 (Negotiate over HTTP), RFC 4120 and 4121 (Kerberos), RFC 5929 (channel bindings), wsmerror.h of the
// Windows SDK (fault codes).
//
// It is as strict as Windows where that is known, and stricter where it is not: over plain HTTP only sealed bodies
// pass, envelopes over the limit, unknown options, resource URIs, headers that must be understood and missing headers
// are faults, one command runs in a shell at a time, and what is piped to a command in console mode is typed to it, with
// all that a console does to it ([console]).
//
// Authentication belongs to the TCP connection, as with Windows. Faults come on demand: [Server.Inject].
package winrm
