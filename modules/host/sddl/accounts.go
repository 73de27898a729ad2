package sddl

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/fitout-dev/fitout/modules/hint"
)

// known are accounts that each Windows has, under names that depend on its language.
// https://learn.microsoft.com/windows-server/identity/ad-ds/manage/understand-security-identifiers
var known = map[string]string{
	"everyone": "S-1-1-0", "creator owner": "S-1-3-0", "creator group": "S-1-3-1", "owner rights": "S-1-3-4",
	"network": "S-1-5-2", "interactive": "S-1-5-4", "service": "S-1-5-6", "anonymous logon": "S-1-5-7", "authenticated users": "S-1-5-11",
	"system": "S-1-5-18", "local service": "S-1-5-19", "network service": "S-1-5-20",
	"administrators": "S-1-5-32-544", "users": "S-1-5-32-545", "guests": "S-1-5-32-546", "power users": "S-1-5-32-547", "backup operators": "S-1-5-32-551",
	"remote desktop users": "S-1-5-32-555", "network configuration operators": "S-1-5-32-556", "iis_iusrs": "S-1-5-32-568",
	"hyper-v administrators": "S-1-5-32-578", "remote management users": "S-1-5-32-580",
	"trustedinstaller": "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464",
}

// Known is the SID of an account that each Windows has, by its English name, or "".
func Known(name string) string {
	name = strings.ToLower(name)
	for _, authority := range []string{`builtin\`, `nt authority\`, `nt service\`} {
		if bare, ok := strings.CutPrefix(name, authority); ok {
			return known[bare]
		}
	}
	return known[name]
}

var sidText = regexp.MustCompile(`^(?i)s-1-[0-9]{1,15}(-[0-9]{1,10}){1,15}$`)

// IsSID says whether a text is a SID, or was meant to be one: then an error says what is wrong with it.
func IsSID(text string) (bool, error) {
	if len(text) < 4 || !strings.EqualFold(text[:4], "S-1-") {
		return false, nil
	}
	if !sidText.MatchString(text) {
		return true, hint.New(fmt.Errorf("%q is no SID", text), "one is S-1- and numbers with dashes between them, as S-1-5-32-544; whoami /all shows those of an account")
	}
	return true, nil
}
