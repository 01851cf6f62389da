#!/bin/sh
# build.sh DIRECTORY: Debian packages of the programs in bin/, written to DIRECTORY.
# The same programs make the same packages, byte for byte.
set -eu
umask 022
cd "$(dirname "$0")/../.."
out=$1

# What the programs say of themselves: their version and their architecture.
about=$(go version -m bin/coordd)
commit=$(printf '%s\n' "$about" | sed -n 's/^\tmod\t[^\t]*\t\([^\t]*\).*/\1/p')
case $commit in
v*) # v1.2.0-rc.1 and v1.2.1-0.20260102… come before what they lead to
	version=$(printf '%s\n' "${commit#v}" | sed 's/-/~/; s/-/./g') ;;
*)
	version= ;;
esac
goarch=$(printf '%s\n' "$about" | sed -n 's/^\tbuild\tGOARCH=//p')
case $goarch in
386) architecture=i386 ;;
arm) architecture=armhf ;;
ppc64le) architecture=ppc64el ;;
*) architecture=$goarch ;; # amd64, arm64, riscv64, s390x
esac
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y bin/coordd)}
export SOURCE_DATE_EPOCH
version=${version:-0~$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S)} # of an unknown commit

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for name in coordd locksmith; do
	root=$work/$name
	make --no-print-directory -s "install-$name" DESTDIR="$root" PREFIX=/usr
	mv "$root/usr/share/doc/$name/LICENSE" "$root/usr/share/doc/$name/copyright"
	mkdir "$root/DEBIAN"
	(cd "$root" && find etc -type f | sort | sed 's|^|/|') > "$root/DEBIAN/conffiles"
	(cd "$root" && find etc usr -type f | sort | xargs md5sum) > "$root/DEBIAN/md5sums"
	sed "s/@VERSION@/$version/; s/@ARCHITECTURE@/$architecture/; s/@SIZE@/$(du -sk --apparent-size "$root" | cut -f1)/" \
		"deploy/debian/$name.control" > "$root/DEBIAN/control"
	for script in postinst prerm postrm; do
		install -m 755 "deploy/debian/$name.$script" "$root/DEBIAN/$script"
	done
	chmod 755 "$root"
	dpkg-deb --root-owner-group -Zgzip -z5 --build "$root" "$out/${name}_${version}_$architecture.deb"
done
