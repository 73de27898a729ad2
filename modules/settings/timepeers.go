package settings

import "strings"

// W32Time keeps its servers as one text, each with flags behind a comma: "a.example.lan,0x8 b.example.lan,0x9". See NtpServer in
// https://learn.microsoft.com/windows-server/networking/windows-time-service/windows-time-service-tools-and-settings.

const (
	fromServers   = "NTP"
	fromNowhere   = "NoSync"
	fromTheDomain = "NT5DS"
)

// asClient is the flag of a server that is asked as a client asks, which all servers answer.
const asClient = "0x8"

type peer struct{ name, flags string }

func parsePeers(text string) []peer {
	var out []peer
	for f := range strings.FieldsSeq(text) {
		name, flags, _ := strings.Cut(f, ",")
		if name != "" {
			out = append(out, peer{name, flags})
		}
	}
	return out
}

// nextTime is what W32Time has to be configured to. Servers that were there keep their flags. Undo gives both texts as they were.
func nextTime(want Time, source, peers string) (nextSource, nextPeers string) {
	nextSource, nextPeers = source, strings.TrimRight(peers, " ")
	if want.Source != nil {
		nextSource = *want.Source
	}
	if want.Peers != nil {
		return nextSource, *want.Peers
	}
	if want.Source != nil {
		return nextSource, nextPeers
	}
	if want.Servers != nil {
		flags := map[string]string{}
		for _, p := range parsePeers(peers) {
			flags[strings.ToLower(p.name)] = p.flags
		}
		var list []string
		for _, s := range want.Servers {
			f, known := flags[strings.ToLower(s)]
			switch {
			case !known:
				s += "," + asClient
			case f != "":
				s += "," + f
			}
			list = append(list, s)
		}
		nextPeers = strings.Join(list, " ")
		if strings.EqualFold(source, fromTheDomain) || source == "" {
			nextSource = fromServers
		}
	}
	if want.Automatic != nil {
		switch off := strings.EqualFold(source, fromNowhere); {
		case !*want.Automatic:
			nextSource = fromNowhere
		case off || source == "":
			nextSource = fromServers
		}
	}
	return nextSource, nextPeers
}
