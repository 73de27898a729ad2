package main

import "reflect"

// A field tagged expression may be computed, from the environment as a rule. Texts may be so anyway.

// inventory is the list of devices.
type inventory struct {
	// What holds for every device, unless one of its groups or the device itself says something else.
	Defaults *settings `json:"defaults,omitzero" title:"Defaults" null:"true"`
	// The devices, by name.
	Devices map[string]*device `json:"devices,omitzero" title:"Devices" names:"^[^-\\s/,][^\\s/,]*$" nameMessage:"a device's name has no spaces, slashes and commas, and doesn't begin with -" null:"true"`
	// The groups that devices name, with what holds for their members.
	Groups map[string]*settings `json:"groups,omitzero" title:"Groups" names:"^[^-\\s/,][^\\s/,]*$" nameMessage:"a group's name has no spaces, slashes and commas, and doesn't begin with -" null:"true"`
	// The file of secrets, made by "fitout secret": a path relative to this file.
	Secrets string `json:"secrets,omitzero" title:"Secrets" example:"secrets.age" null:"true"`
}

// settings may be said of all devices, of a group and of a device. Device settings win over groups, later groups over
// earlier ones, groups over defaults.
type settings struct {
	// The profile to apply: a path relative to the inventory, or a name, which is NAME.yaml beside the inventory or else a
	// shipped profile.
	Profile string `json:"profile,omitzero" title:"Profile" example:"sales-laptop" null:"true"`
	// The user to log on as.
	User string `json:"user,omitzero" title:"User" example:"admin" null:"true"`
	// How to reach the device: a map, or the transport's name alone.
	Connect connect `json:"connect,omitzero" title:"Connect" null:"true"`
	// Values of any kind, used as ${vars.NAME} in profiles. They win over the profile's own.
	Variables map[string]any `json:"variables,omitzero" title:"Variables" names:"^[A-Za-z_][A-Za-z0-9_]*$" nameMessage:"a variable's name has letters, digits and _, and begins with no digit" example:"{region: lu}" null:"true"`
}

// device is one machine.
type device struct {
	// The host name or IP address to connect to. Without it, the device's name is used.
	Address string `json:"address,omitzero" expression:"true" title:"Address" pattern:"^\\S+$" example:"10.0.3.42" null:"true"`
	// The groups that the device is in. What later ones say wins over earlier ones.
	Groups []string `json:"groups,omitzero" title:"Groups" example:"[laptops, luxembourg]" null:"true"`
	settings
}

// connect says how a device is reached. null takes away what others say.
type connect struct {
	// The way to the device: ssh, winrm, or local for the machine that fitout runs on.
	Transport string `json:"transport,omitzero" expression:"true" fit:",short" title:"Transport" enum:"ssh,winrm,local" null:"true"`
	// The TCP port. Without it, it is 22 for ssh, and 5986 or without TLS 5985 for winrm.
	Port int `json:"port,omitzero" expression:"true" title:"Port" minimum:"1" maximum:"65535" example:"22" null:"true"`
	// The user to log on as.
	User string `json:"user,omitzero" title:"User" example:"admin" null:"true"`
	// The password to log on with, from a secret.
	Password string `json:"password,omitzero" title:"Password" example:"${secrets.admin}" secret:"true" null:"true"`
	// The file of the private SSH key; with auth: certificate, of the certificate and its key, in PEM. ~ is the home folder.
	IdentityFile string `json:"identityFile,omitzero" title:"Identity file" example:"~/.ssh/fitout" null:"true"`
	// The host to go through, as USER@HOST:PORT; several are divided by commas.
	Jump string `json:"jump,omitzero" title:"Jump host" example:"admin@gate" null:"true"`
	// Whether to become root with sudo or doas.
	Sudo bool `json:"sudo,omitzero" expression:"true" title:"Sudo" null:"true"`
	// The password that sudo asks for, from a secret.
	SudoPassword string `json:"sudoPassword,omitzero" title:"Sudo password" example:"${secrets.sudo}" secret:"true" null:"true"`
	// The host's key, as in known_hosts, or its fingerprint. No other is accepted then.
	HostKey string `json:"hostKey,omitzero" title:"Host key" example:"SHA256:uNiVztksCsDhcc0u9e8BrrQXVUpKZIDTMczCvj3tD2s" null:"true"`
	// How long connecting may take, as in "30s".
	Timeout string `json:"timeout,omitzero" expression:"true" title:"Time-out" pattern:"^([0-9]+(\\.[0-9]+)?(h|m|s|ms))+$" example:"30s" null:"true"`
	// How to log on by winrm.
	Auth string `json:"auth,omitzero" expression:"true" title:"Authentication" enum:"negotiate,kerberos,ntlm,basic,certificate" null:"true"`
	// Whether winrm goes over TLS.
	TLS bool `json:"tls,omitzero" expression:"true" title:"TLS" null:"true"`
	// Whether the device may fetch large contents itself where its transport is slow: winrm's is. It does so by HTTP from a port
	// that fitout opens for the time of the run, sealed, and each once; what it can't fetch is sent. Without it, it may.
	Pull bool `json:"pull,omitzero" expression:"true" title:"Pull" example:"false" null:"true"`
	// The SHA-256 fingerprint of the device's certificate. No other is accepted then.
	Fingerprint string `json:"fingerprint,omitzero" title:"Fingerprint" null:"true"`
	// The file of the certificate authority that has signed the device's certificate, as PEM.
	CAFile string `json:"caFile,omitzero" title:"Certificate authority" example:"ca.pem" null:"true"`
	// The Kerberos realm.
	Realm string `json:"realm,omitzero" title:"Realm" example:"EXAMPLE.LAN" null:"true"`
	// The file of the Kerberos key table.
	Keytab string `json:"keytab,omitzero" title:"Key table" example:"fitout.keytab" null:"true"`
}

func (g *generator) inventorySchema() (object, error) {
	o, err := g.structure(reflect.TypeFor[inventory](), place{}, place{})
	if err != nil {
		return nil, err
	}
	o.set("definitions", object{{"expression", expression}})
	return append(object{
		{"$schema", "http://json-schema.org/draft-07/schema#"},
		{"$comment", "Generated by go generate ./schema. Do not edit."},
		{"title", "fitout inventory"},
		{"description", "The devices, their groups, and how they are reached."},
	}, o...), nil
}
