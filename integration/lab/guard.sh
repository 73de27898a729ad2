# The guard of one lab: `sh guard.sh guard DIR` holds the lab's mounts in a mount namespace of its own, waits until the
# process that owns the lab is gone (the end of stdin) and then removes everything; `sh guard.sh reap DIR` removes what
# was left where the guard itself was killed. The last element of DIR is the lab's id, which every name begins with.
set -u
dir=$2 id=${2##*/}

cgroups() {
	for r in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup/cpuacct /sys/fs/cgroup/freezer; do
		if [ -d "$r/fitout-lab-$id" ]; then echo "$r/fitout-lab-$id"; fi
	done
}

processes() {
	for c in $(cgroups); do find "$c" -name cgroup.procs -exec cat {} + 2>/dev/null; done | sort -un
}

kill_all() {
	for c in $(cgroups); do
		for f in $(find "$c" -name freezer.state); do echo THAWED >"$f"; done
	done
	n=0
	while p=$(processes) && [ -n "$p" ]; do
		n=$((n + 1))
		[ $n -le 500 ] || { echo "processes of lab $id do not end:" $p >&2; return 1; }
		kill -KILL $p 2>/dev/null
		sleep 0.02
	done
}

reap() {
	kill_all || return 1
	# Only the guard's own namespace has mounts here; without a guard there are none.
	awk -v d="$dir/" 'index($5, d) == 1 { m[n++] = $5 } END { while (n) print m[--n] }' /proc/self/mountinfo |
		while read -r m; do umount "$m" || umount -l "$m"; done
	for i in /sys/class/net/vb-"$id"-* /sys/class/net/fl-"$id"; do
		if [ -e "$i" ]; then ip link delete "${i##*/}" 2>/dev/null; fi
	done
	for c in $(cgroups); do find "$c" -depth -type d -exec rmdir {} \; 2>/dev/null; done
	n=0 # a mount that was busy takes a moment to go
	until rm -rf --one-file-system "$dir" 2>/dev/null; do
		n=$((n + 1))
		[ $n -le 50 ] || { rm -rf --one-file-system "$dir"; return; }
		sleep 0.1
	done
}

case $1 in
guard)
	trap '' HUP INT TERM
	echo ready
	while read -r _; do :; done
	reap
	;;
reap) reap ;;
esac
