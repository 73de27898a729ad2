// Package accounts declares users and groups.
//
//	var users = modules.Define("users", accounts.Users{})
//	var groups = modules.Define("groups", accounts.Groups{})
//
// On Linux it edits the account databases themselves (/etc/passwd, shadow, group, gshadow, subuid and subgid), under the
// lock that passwd and useradd take and by the rules of /etc/login.defs and /etc/default/useradd. That works the same on
// every distribution, in any root folder, and needs no tool of the device.
//
// It promises that lines it isn't asked about stay byte for byte, that a crash leaves each database whole and the next
// run finishes the work, that a password reaches the device's shadow file only as a hash, and that as root it follows no
// link in a user's home.
package accounts
