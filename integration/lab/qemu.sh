# A kernel, and an initrd with no more than it takes to mount the disk: emulation is slow.
begin
mkdir -p "$dir/etc/initramfs-tools/conf.d"
printf 'MODULES=list\nCOMPRESS=lz4\n' >"$dir/etc/initramfs-tools/conf.d/lab"
install initramfs-tools lz4
printf 'virtio_pci\nvirtio_blk\next4\n' >>"$dir/etc/initramfs-tools/modules"
install "linux-image-cloud-$(in_root dpkg --print-architecture)"
echo '/dev/vda / ext4 errors=remount-ro 0 1' >"$dir/etc/fstab"
end
# What remains in the cache: the kernel, the initrd and the disk.
mkfs.ext4 -q -F -m 0 -d "$dir" "$dir.img" 2G
mv "$dir"/boot/vmlinuz-* "$dir.kernel"
mv "$dir"/boot/initrd.img-* "$dir.initrd"
find "$dir" -mindepth 1 -delete
mv "$dir.img" "$dir/disk.img"
mv "$dir.kernel" "$dir/kernel"
mv "$dir.initrd" "$dir/initrd"
