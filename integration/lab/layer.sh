# Functions of the recipes that turn a copy of the base in DIR into another kind: DIR SUITE MIRROR.
set -eu
dir=$1 suite=$2 mirror=$3
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

# in_root runs a command in the new root, with the host's way to the mirror.
in_root() { chroot "$dir" "$@"; }

begin() {
	mount -t proc proc "$dir/proc"
	mount --bind /dev "$dir/dev"
	echo "deb $mirror $suite main" >"$dir/etc/apt/sources.list"
	touch "$dir/etc/resolv.conf"
	mount --bind /etc/resolv.conf "$dir/etc/resolv.conf"
	printf '#!/bin/sh\nexit 101\n' >"$dir/usr/sbin/policy-rc.d"
	chmod 755 "$dir/usr/sbin/policy-rc.d"
	in_root apt-get -qq update
}

install() { in_root apt-get -qq -y --no-install-recommends install "$@"; }

end() {
	in_root apt-get clean
	rm -rf "$dir"/var/lib/apt/lists/* "$dir/usr/sbin/policy-rc.d" "$dir"/etc/ssh/ssh_host_* "$dir"/etc/dropbear/dropbear_*
	: >"$dir/etc/apt/sources.list"
	umount "$dir/etc/resolv.conf" "$dir/dev" "$dir/proc"
}
