#!/bin/sh
# Removes what install.sh put on this system. The settings and what was recorded go only when asked for.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tab=$(printf '\t')

fail() { # fail CODE SENTENCE
    echo "error: $2" >&2
    exit "$1"
}

prefix="" root="" yes=no purge=no
while [ $# -gt 0 ]; do
    case $1 in
    --yes) yes=yes ;;
    --purge) purge=yes ;;
    --prefix | --root)
        [ $# -ge 2 ] && [ -n "$2" ] || fail 2 "found $1 without a value; expected one; see ./uninstall.sh --help"
        if [ "$1" = --prefix ]; then prefix=${2%/}; else root=${2%/}; fi
        shift
        ;;
    -h | --help)
        echo "usage: sudo ./uninstall.sh [--yes (ask nothing)] [--purge (settings and records too)] [--prefix DIR] [--root DIR]"
        exit 0
        ;;
    *) fail 2 "found option $1; expected one of those that ./uninstall.sh --help lists" ;;
    esac
    shift
done
if [ -z "$prefix" ]; then
    prefix=$root/opt/defq
    [ ! -f "$here/made" ] || prefix=$here # the copy that was installed
fi
[ -f "$prefix/made" ] || fail 3 "found no installation in $prefix; expected one made by install.sh; name it with --prefix DIR"
[ -n "$root" ] || [ "$(id -u)" = 0 ] || fail 4 "found user id $(id -u); expected root; run it with sudo"
settings=$root/etc/defq
state=$root/var/lib/defq
if [ "$purge" = no ] && [ "$yes" = no ] && [ -t 0 ]; then
    printf 'Remove the settings in %s and the records in %s too? [y/N] ' "$settings" "$state"
    read -r answer || answer=
    case $answer in y | Y | yes) purge=yes ;; esac
fi

unit=$root/etc/systemd/system/defq.service
if [ -z "$root" ] && [ -d /run/systemd/system ] && [ -e "$unit" ]; then
    systemctl --quiet disable --now defq.service || true
fi
rm -f "$unit" "$root/etc/udev/rules.d/99-defq.rules"
if [ -z "$root" ] && [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
launcher=$root/usr/local/bin/defq
if grep -qsF "$prefix/" "$launcher"; then rm -f "$launcher"; fi
rm -rf "$root/var/cache/defq"
if [ "$purge" = yes ]; then rm -rf "$settings" "$state"; fi

made=$(sed '1!G;h;$!d' "$prefix/made")
rm -rf "$prefix/releases" "$prefix/current" "$prefix/service.sh" "$prefix/uninstall.sh" "$prefix/made"
printf '%s\n' "$made" | while IFS=$tab read -r kind path _; do
    case $kind in
    # one that others have put files into since stays
    folder) rmdir "$path" 2>/dev/null || true ;;
    user)
        if getent passwd "$path" >/dev/null; then
            [ ! -d "$state" ] || chown root: "$state"
            userdel "$path" || echo "warning: could not remove the user $path; remove it with: sudo userdel $path" >&2
        fi
        ;;
    esac
done
[ ! -d "$prefix" ] || echo "left $prefix: there are other files in it"
[ "$purge" = yes ] || echo "kept $settings and $state; remove them with: sudo rm -r $settings $state"
echo "removed DefQ from $prefix"
