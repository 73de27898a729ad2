package main

import "fmt"

// winsite is what fitout is to bring a Windows machine to, in as many resources as site has. winPlaybook has for each a check
// that only reads, for cmd.exe: less than any module does, and it would not even change what it finds amiss.
var winsite, winPlaybook = func() (site, playbook []byte) {
	entry := func(format string, args ...any) { site = fmt.Appendf(site, format+"\n", args...) }
	check := func(format string, args ...any) {
		playbook = fmt.Appendf(playbook, "    - raw: '"+format+"'\n", args...)
	}
	playbook = []byte("- hosts: all\n  gather_facts: false\n  tasks:\n")
	entry("profile: winsite\ndirectories:\n  - {path: 'C:\\Bench'}")
	check(`if not exist C:\Bench\ exit 1`)
	for i := range 11 {
		entry(`  - {path: 'C:\Bench\d%d', after: ['directories/C:\Bench']}`, i)
		check(`if not exist C:\Bench\d%d\ exit 1`, i)
	}
	entry("registry:")
	for i := range 20 {
		entry(`  - {path: 'HKLM\SOFTWARE\Bench', name: v%d, type: dword, value: %[1]d}`, i)
		check(`reg query HKLM\SOFTWARE\Bench /v v%d`, i)
	}
	entry("environment:")
	for i := range 10 {
		entry(`  - {name: BENCH%d, value: "%[1]d"}`, i)
		check(`reg query "HKLM\SYSTEM\CurrentControlSet\Control\Session Manager\Environment" /v BENCH%d`, i)
	}
	entry("files:")
	for i := range 10 {
		entry(`  - {path: 'C:\Bench\app%d.conf', content: "setting=%[1]d\r\n"}`, i)
		check(`if not exist C:\Bench\app%d.conf exit 1`, i)
	}
	entry("commands:")
	for i := range 5 {
		entry(`  - {name: once%d, run: [cmd.exe, /d, /c, 'echo done>C:\Bench\once%[1]d'], creates: 'C:\Bench\once%[1]d', after: ['directories/C:\Bench']}`, i)
		check(`if not exist C:\Bench\once%d exit 1`, i)
	}
	return site, playbook
}()
