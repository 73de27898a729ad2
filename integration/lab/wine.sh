# Wine in the place of Windows: a ready prefix, /root/.wine, of which each machine has a copy on write.
begin
install wine64
export HOME=/root WINEPREFIX=/root/.wine WINEDEBUG=-all
wine() { in_root /usr/lib/wine/wine64 "$@"; }
# No browser engine and no .NET are to be fetched.
WINEDLLOVERRIDES=mscoree,mshtml= wine wineboot --init
set_value() { wine reg add "$1" /v "$2" /t "${4:-REG_SZ}" /d "$3" /f >/dev/null; }
set_value 'HKCU\Software\Wine\Drivers' Graphics null           # windows exist, and nobody sees them
set_value 'HKCU\Software\Wine\WineDbg' ShowCrashDialog 0 REG_DWORD
set_value 'HKCU\Software\Wine\DllOverrides' winemenubuilder.exe '' # shortcuts are the prefix's matter alone
in_root /usr/lib/wine/wineserver64 -w
# The user's folders are in the prefix, not links into /root.
find "$dir/root/.wine/drive_c/users" -type l | while read -r link; do
	rm "$link"
	mkdir "$link"
done
rm -rf "$dir"/tmp/.wine-*
end
