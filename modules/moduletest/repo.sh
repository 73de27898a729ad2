# An apt repository in a lab machine's folder: main and a security archive.
#   deb SUITE NAME VERSION [FIELD: VALUE]...    makes a package; $preinst, $postinst, $prerm, $postrm are its scripts,
#                                               $conffile the text of /etc/NAME.conf
#   index                                       makes the lists
set -e
R=/srv/repo
mkdir -p $R/main $R/lab-security
deb() {
	suite=$1 name=$2 version=$3
	shift 3
	d=$(mktemp -d)
	mkdir -p $d/DEBIAN $d/usr/share/$name
	echo $version >$d/usr/share/$name/version
	{
		printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: Lab <lab@example.org>\nDescription: for tests\n' $name $version
		for field; do printf '%s\n' "$field"; done
	} >$d/DEBIAN/control
	for s in preinst postinst prerm postrm; do
		eval "text=\$$s"
		[ -n "$text" ] || continue
		printf '#!/bin/sh\nset -e\n%s\n' "$text" >$d/DEBIAN/$s
		chmod 755 $d/DEBIAN/$s
	done
	if [ -n "$conffile" ]; then
		mkdir -p $d/etc
		echo "$conffile $version" >$d/etc/$name.conf
		echo /etc/$name.conf >$d/DEBIAN/conffiles
	fi
	chmod 755 $d
	dpkg-deb -Znone --root-owner-group -b $d $R/$suite/${name}_$(echo $version | tr : _)_all.deb >/dev/null
	rm -r $d
}
index() {
	for suite in main lab-security; do
		(
			cd $R/$suite
			for f in *.deb; do
				[ -e $f ] || continue
				dpkg-deb -f $f
				printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' $f $(stat -c %s $f) $(sha256sum $f | cut -d' ' -f1)
			done >Packages
			label=Lab
			[ $suite = main ] || label=Lab-Security
			printf 'Origin: Lab\nLabel: %s\nSuite: %s\nCodename: %s\nDate: %s\nSHA256:\n %s %s Packages\n' $label $suite $suite "$(date -Ru)" \
				$(sha256sum Packages | cut -d' ' -f1) $(stat -c %s Packages) >Release
		)
	done
}
