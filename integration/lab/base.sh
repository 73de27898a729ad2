# base.sh DIR SUITE MIRROR: the root file system of every machine.
set -eu
dir=$1 suite=$2 mirror=$3
debootstrap --variant=minbase \
	--include=systemd,systemd-sysv,dbus,openssh-server,sudo,iproute2,procps,ca-certificates,acl,attr,tzdata \
	"$suite" "$dir" "$mirror"
cd "$dir"
rm -rf var/cache/apt/archives/*.deb var/lib/apt/lists/* etc/ssh/ssh_host_* var/log/bootstrap.log
# Machines reach no mirror: a test gives them a repository.
: >etc/apt/sources.list
# Each machine gets an ID and host keys of its own before its first boot.
: >etc/machine-id
ln -sf /etc/machine-id var/lib/dbus/machine-id
printf 'LANG=C.UTF-8\n' >etc/default/locale
# No console and no login to wait for, and nothing that takes dpkg's lock at a time of its own choosing.
for unit in console-getty.service getty.target apt-daily.timer apt-daily-upgrade.timer; do
	ln -sf /dev/null "etc/systemd/system/$unit"
done
ln -sf /lib/systemd/system/systemd-networkd.service etc/systemd/system/multi-user.target.wants/
# What a test left running must not hold up a reboot for 90 seconds.
mkdir -p etc/systemd/system.conf.d
printf '[Manager]\nDefaultTimeoutStopSec=15s\n' >etc/systemd/system.conf.d/lab.conf
mkdir -p root/.ssh
chmod 700 root/.ssh
