package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/fitout-dev/fitout/modules/hint"
	"github.com/spf13/cobra"
	gossh "golang.org/x/crypto/ssh"
)

type bootstrapOptions struct{ key, user, from string }

func newBootstrapCommand(a *app) *cobra.Command {
	var o bootstrapOptions
	c := &cobra.Command{
		Use:   "bootstrap windows|linux",
		Short: "Print a script that makes a new machine reachable",
		Long: `Print a script to run once on a new machine, as its administrator. It may be run again: what is there already stays.

windows: PowerShell that switches on WinRM over HTTPS with a certificate of the machine's own, opens the firewall for it, lets
local administrators use their rights over the network, and shows the certificate's fingerprint. For Windows 10, Windows
Server 2016 and later.

linux: a shell script that installs and starts the SSH server, allows your public key, and shows the host keys' fingerprints.

Compare what the script shows with what ` + "`fitout trust`" + ` shows.`,
		Example: `  fitout bootstrap windows > bootstrap.ps1
  fitout bootstrap windows --from 10.0.3.0/24
  fitout bootstrap linux --key ~/.ssh/fitout.pub --user admin > bootstrap.sh`,
		ValidArgs: []string{"windows", "linux"},
		RunE:      func(_ *cobra.Command, args []string) error { return runBootstrap(a, &o, args[0]) },
	}
	c.Flags().StringVar(&o.key, "key", "", "linux: allow this public key, a `file`; default: your own, such as ~/.ssh/id_ed25519.pub")
	c.Flags().StringVar(&o.user, "user", "root", "linux: the `name` of the user whom the key lets in; made, with sudo, if missing")
	c.Flags().StringVar(&o.from, "from", "", "windows: let the firewall pass only this address or `network`, such as 10.0.3.0/24")
	return c
}

var userName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

func runBootstrap(a *app, o *bootstrapOptions, system string) error {
	script := ""
	switch system {
	case "windows":
		from := "Any"
		if o.from != "" {
			_, netErr := netip.ParsePrefix(o.from)
			_, addrErr := netip.ParseAddr(o.from)
			if netErr != nil && addrErr != nil {
				return hint.New(fmt.Errorf("--from %s: neither an address nor a network", o.from), "write 10.0.3.7, or 10.0.3.0/24")
			}
			from = o.from
		}
		script = strings.NewReplacer("@FROM@", from, "\n", "\r\n").Replace(windowsScript)
	default:
		if !userName.MatchString(o.user) {
			return fmt.Errorf("--user %q is no user name", o.user)
		}
		key, err := publicKey(o.key)
		if err != nil {
			return err
		}
		script = strings.NewReplacer("@USER@", o.user, "@KEY@", key).Replace(linuxScript)
	}
	_, err := fmt.Fprint(a.out, script)
	return err
}

// publicKey reads one, and refuses a private key: it would end up in a script.
func publicKey(file string) (string, error) {
	files := []string{file}
	if file == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", hint.New(err, "name the key's file with --key")
		}
		files = nil
		for _, name := range []string{"id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"} {
			files = append(files, filepath.Join(home, ".ssh", name))
		}
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if errors.Is(err, fs.ErrNotExist) && file == "" {
			continue
		}
		if err != nil {
			return "", err
		}
		key, comment, _, _, err := gossh.ParseAuthorizedKey(b)
		if err != nil {
			return "", hint.New(fmt.Errorf("%s holds no public key", f), "name the file that ends in .pub")
		}
		line := strings.TrimSpace(string(gossh.MarshalAuthorizedKey(key)))
		comment = strings.Map(func(r rune) rune {
			if r > ' ' && r < 0x7f && !strings.ContainsRune("'\"`$\\", r) {
				return r
			}
			return -1
		}, comment)
		return strings.TrimSpace(line + " " + comment), nil
	}
	return "", hint.New(errors.New("there is no public key to allow"), "make one with `ssh-keygen -t ed25519`, or name its file with --key")
}

const windowsScript = `# Makes this machine reachable for fitout: WinRM over HTTPS. Run it in PowerShell as administrator:
#   powershell -ExecutionPolicy Bypass -File bootstrap.ps1
$ErrorActionPreference = 'Stop'
$me = New-Object Security.Principal.WindowsPrincipal([Security.Principal.WindowsIdentity]::GetCurrent())
if (-not $me.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) {
    throw 'Run this as administrator: right-click PowerShell, "Run as administrator".'
}

# The service, from every start on.
Set-Service -Name WinRM -StartupType Automatic
Start-Service -Name WinRM

# An HTTPS listener, with a certificate that this machine makes for itself.
$listener = Get-ChildItem WSMan:\localhost\Listener | Where-Object { $_.Keys -contains 'Transport=HTTPS' } | Select-Object -First 1
$certificate = $null
if ($listener) {
    $thumbprint = (Get-ChildItem $listener.PSPath | Where-Object Name -eq 'CertificateThumbprint').Value -replace '[^0-9A-Fa-f]', ''
    $certificate = Get-ChildItem Cert:\LocalMachine\My | Where-Object { $_.Thumbprint -eq $thumbprint -and $_.HasPrivateKey } | Select-Object -First 1
    if (-not $certificate) { Remove-Item $listener.PSPath -Recurse -Force }
}
if (-not $certificate) {
    $names = @($env:COMPUTERNAME)
    $full = [Net.Dns]::GetHostEntry('').HostName
    if ($full -and $full -ne $env:COMPUTERNAME) { $names += $full }
    $certificate = New-SelfSignedCertificate -DnsName $names -CertStoreLocation Cert:\LocalMachine\My -NotAfter (Get-Date).AddYears(10) -FriendlyName 'fitout WinRM'
    New-Item -Path WSMan:\localhost\Listener -Transport HTTPS -Address * -CertificateThumbPrint $certificate.Thumbprint -Force | Out-Null
}
Set-Item -Path WSMan:\localhost\Service\Auth\Negotiate -Value $true -Force
Set-Item -Path WSMan:\localhost\Service\AllowUnencrypted -Value $false -Force

# The firewall.
Get-NetFirewallRule -Name fitout-winrm-https -ErrorAction SilentlyContinue | Remove-NetFirewallRule
New-NetFirewallRule -Name fitout-winrm-https -DisplayName 'WinRM over HTTPS (fitout)' -Direction Inbound -Protocol TCP -LocalPort 5986 -Action Allow -Profile Any -RemoteAddress '@FROM@' | Out-Null

# UAC takes a local administrator's rights away over the network, unless this is set.
New-ItemProperty -Path HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System -Name LocalAccountTokenFilterPolicy -PropertyType DWord -Value 1 -Force | Out-Null

$sha256 = [Security.Cryptography.SHA256]::Create().ComputeHash($certificate.RawData)
$fingerprint = [BitConverter]::ToString($sha256).Replace('-', '').ToLower()
Write-Host ''
Write-Host "$env:COMPUTERNAME is ready at port 5986. Its certificate is"
Write-Host "  SHA256:$fingerprint"
Write-Host 'Compare this with what fitout trust shows:'
Get-NetIPAddress -AddressFamily IPv4 | Where-Object { $_.InterfaceAlias -notlike 'Loopback*' -and $_.IPAddress -notlike '169.254.*' } |
    ForEach-Object { Write-Host "  fitout trust --device winrm://$env:USERNAME@$($_.IPAddress)" }
`

const linuxScript = `#!/bin/sh
# Makes this machine reachable for fitout: SSH, with a key. Run it as root: sudo sh bootstrap.sh
set -eu
user='@USER@'
key='@KEY@'
[ "$(id -u)" = 0 ] || { echo "run this as root: sudo sh $0" >&2; exit 1; }

if [ ! -x /usr/sbin/sshd ] && ! command -v sshd >/dev/null; then
	if command -v apt-get >/dev/null; then
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy openssh-server
	elif command -v dnf >/dev/null; then
		dnf install -qy openssh-server
	elif command -v zypper >/dev/null; then
		zypper -q --non-interactive install openssh-server || zypper -q --non-interactive install openssh
	elif command -v pacman >/dev/null; then
		pacman -Sy --noconfirm --needed openssh
	elif command -v apk >/dev/null; then
		apk add -q openssh-server
	else
		echo "install an SSH server first: no package manager known here" >&2; exit 1
	fi
fi
ssh-keygen -A >/dev/null
if command -v systemctl >/dev/null && [ -d /run/systemd/system ]; then
	if systemctl cat ssh.service >/dev/null 2>&1; then unit=ssh; else unit=sshd; fi
	systemctl enable -q --now "$unit"
elif command -v rc-service >/dev/null; then
	rc-update -q add sshd && rc-service -q sshd start
fi
if command -v firewall-cmd >/dev/null && firewall-cmd -q --state 2>/dev/null; then
	firewall-cmd -q --permanent --add-service=ssh && firewall-cmd -q --reload
elif command -v ufw >/dev/null && ufw status | grep -q '^Status: active'; then
	ufw allow ssh >/dev/null
fi

if ! id "$user" >/dev/null 2>&1; then
	useradd -m -s /bin/bash "$user"
	if command -v sudo >/dev/null; then
		umask 227; printf '%s ALL=(ALL) NOPASSWD: ALL\n' "$user" >"/etc/sudoers.d/90-fitout-$user"
	fi
fi
home=$(getent passwd "$user" | cut -d: -f6)
group=$(id -gn "$user")
umask 077
mkdir -p "$home/.ssh"
touch "$home/.ssh/authorized_keys"
grep -qxF "$key" "$home/.ssh/authorized_keys" || printf '%s\n' "$key" >>"$home/.ssh/authorized_keys"
chmod 700 "$home/.ssh"
chmod 600 "$home/.ssh/authorized_keys"
chown -R "$user:$group" "$home/.ssh"

echo
echo "$(uname -n) is ready for $user. Its host keys are"
for f in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf "$f" | sed 's/^/  /'; done
echo "Compare them with what fitout trust shows:"
for ip in $(hostname -I 2>/dev/null); do case $ip in *:*) ;; *) echo "  fitout trust --device ssh://$user@$ip";; esac; done
`
