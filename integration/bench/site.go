package main

import "fmt"

// resources is how many site has: what is typical of a small profile, and quick to observe by all tools.
const resources = 57

// site and playbook declare the same for fitout and for Ansible.
var site, playbook = func() (site, playbook []byte) {
	entry := func(format string, args ...any) { site = fmt.Appendf(site, format+"\n", args...) }
	task := func(format string, args ...any) { playbook = fmt.Appendf(playbook, "    - "+format+"\n", args...) }
	entry("profile: site\nhostname: ${device.name}\nservices:\n  - {name: ssh, enabled: true, running: true}")
	playbook = []byte("- hosts: all\n  gather_facts: true\n  tasks:\n")
	task(`hostname: {name: "{{ inventory_hostname }}"}`)
	task("systemd: {name: ssh, enabled: true, state: started}")
	entry("users:")
	for i := range 10 {
		entry("  - {name: user%d, shell: /bin/bash, fullName: User %[1]d}", i)
		task("user: {name: user%d, shell: /bin/bash, comment: User %[1]d}", i)
	}
	entry("groups:")
	for i := range 10 {
		entry("  - name: grp%d", i)
		task("group: {name: grp%d}", i)
	}
	entry("files:")
	for i := range 20 {
		entry(`  - {path: /etc/app%d.conf, content: "setting=%[1]d\n", mode: "0644"}`, i)
		task(`copy: {dest: /etc/app%d.conf, content: "setting=%[1]d\n", mode: "0644"}`, i)
	}
	entry("lines:")
	for i := range 10 {
		entry("  - {path: /etc/environment, line: VAR%d=%[1]d}", i)
		task("lineinfile: {path: /etc/environment, line: VAR%d=%[1]d, create: true}", i)
	}
	entry("directories:")
	for i := range 5 {
		entry(`  - {path: /srv/d%d, mode: "0755"}`, i)
		task(`file: {path: /srv/d%d, state: directory, mode: "0755"}`, i)
	}
	return site, playbook
}()
