# Nothing of OpenSSH, not even its sftp-server; busybox in the place of the GNU tools that dpkg doesn't insist on.
begin
install dropbear busybox
in_root apt-get -qq -y purge --autoremove openssh-server openssh-sftp-server openssh-client
in_root systemctl enable dropbear.service
# busybox's shell and tools; dpkg needs GNU's tar and diff's statuses, systemd its own init tools.
for tool in $(in_root busybox --list); do
	case $tool in
	busybox | tar | dpkg | dpkg-deb | init | reboot | poweroff | halt | start-stop-daemon | mount | umount | login | su) continue ;;
	esac
	path=$(in_root which "$tool") || continue
	in_root dpkg-divert --quiet --local --rename --divert "$path.gnu" --add "$path"
	ln -sf /bin/busybox "$dir$path"
done
end
