#!/bin/sh
# Installs this kit. A second run changes nothing, a newer kit replaces an older one, and a run that fails takes back
# what it did. Nothing is downloaded.
set -eu
umask 022
PATH=$PATH:/usr/sbin:/sbin # where useradd is, which su leaves out
kit=$(cd "$(dirname "$0")" && pwd)
tab=$(printf '\t')

usage() {
    cat <<'END'
usage: sudo ./install.sh [OPTIONS]
  --yes           ask nothing
  --prefix DIR    where to install (default /opt/defq)
  --user NAME     who runs the service (default defq, which is made)
  --no-systemd    write the service, but do not enable or start it
  --python FILE   the Python to use (default: python3 of this system)
  --force         go on where the board is not the one that the kit is for
  --root DIR      put everything under DIR instead of /, as an ordinary user: no user is made, nothing is started
END
}

fail() { # fail CODE SENTENCE
    echo "error: $2" >&2
    exit "$1"
}

say() { echo "$*"; }

prefix="" root="" user=defq python="" yes=no systemd=yes force=no
while [ $# -gt 0 ]; do
    case $1 in
    --yes) yes=yes ;;
    --no-systemd) systemd=no ;;
    --force) force=yes ;;
    --prefix | --user | --python | --root)
        [ $# -ge 2 ] && [ -n "$2" ] || fail 2 "found $1 without a value; expected one; see ./install.sh --help"
        case $1 in
        --prefix) prefix=$2 ;;
        --user) user=$2 ;;
        --python) python=$2 ;;
        --root) root=${2%/} ;;
        esac
        shift
        ;;
    -h | --help)
        usage
        exit 0
        ;;
    *) fail 2 "found option $1; expected one of those that ./install.sh --help lists" ;;
    esac
    shift
done
prefix=${prefix:-$root/opt/defq}
prefix=${prefix%/}
for path in "$prefix" "${root:-/}"; do # they are written into the unit and the launcher as they are
    case $path in
    *[!A-Za-z0-9/._-]* | [!/]*)
        fail 2 "found the folder $path; expected an absolute path of letters, digits and / . _ -"
        ;;
    esac
done
[ -n "$prefix" ] || fail 2 "found --prefix /; expected a folder of its own, as in /opt/defq"
[ -z "$root" ] || systemd=no
case $user in
*[!a-z0-9_-]* | [!a-z_]*) fail 2 "found --user $user; expected a name of small letters, digits, _ and -" ;;
root) fail 2 "found --user root; expected an ordinary user: the service needs no more" ;;
esac

# --- is this kit whole, and made for this board?

changed=SHA256SUMS
[ ! -f "$kit/SHA256SUMS" ] ||
    changed=$(cd "$kit" && sha256sum --quiet -c SHA256SUMS 2>/dev/null | sed -n 's/: .*//p' | head -n 1)
[ -z "$changed" ] ||
    fail 3 "found $changed of the kit absent or changed; expected the kit as it was built; copy and unpack it again"
# shellcheck disable=SC1091
. "$kit/kit.env"

at_least() { # at_least FOUND NEEDED: versions
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

refuse() { # refuse FOUND WHAT-TO-DO
    [ "$force" = no ] || {
        echo "warning: found $1; the kit is for $TITLE; going on (--force)" >&2
        return 0
    }
    fail 4 "found $1; expected $TITLE; $2"
}

other_kit="build the kit for this board with: make flash-kit"
machine=$(uname -m)
bits=$(getconf LONG_BIT 2>/dev/null) || bits=unknown
glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed 's/.* //') || true
[ "$machine" = "$MACHINE" ] || refuse "a processor of type $machine" "$other_kit"
[ "$bits" = 64 ] || refuse "a system of $bits bits on a processor of type $machine" "install the board's 64-bit system: there are no wheels for this one"
at_least "${glibc:-0}" "$GLIBC_VERSION" || refuse "glibc ${glibc:-(none)}, older than $GLIBC_VERSION" "$other_kit"
model_file=$root/proc/device-tree/model
if [ -n "$MODELS" ]; then
    model=$(tr -d '\0' 2>/dev/null <"$model_file") || model="a machine without $model_file"
    printf '%s\n' "$model" | grep -qE "$MODELS" || refuse "$model" "$other_kit, or use --force"
fi
python=${python:-python3}
# shellcheck disable=SC2086,SC2163 # several NAME=VALUE
export $ENVIRONMENT
version=$("$python" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) ||
    fail 4 "found no Python as $python; expected Python $PYTHON_VERSION; install it with: sudo apt install python3"
[ "$version" = "$PYTHON_VERSION" ] || refuse "Python $version as $python" "the wheels of this kit need Python $PYTHON_VERSION: name one with --python FILE, or $other_kit"
[ -n "$root" ] || [ "$(id -u)" = 0 ] || fail 4 "found user id $(id -u); expected root; run it with sudo"
if [ "$systemd" = yes ] && [ ! -d /run/systemd/system ]; then
    say "systemd does not run here: the service is written, but not started"
    systemd=no
fi

# --- the settings of this installation

name=$BOARD-$KIT_ID
release=$prefix/releases/$name
launcher=$root/usr/local/bin/defq
config=$root/etc/defq/device.conf
state=$root/var/lib/defq
cache=$root/var/cache/defq
groups=""
for group in video render i2c gpio; do
    if getent group "$group" >/dev/null; then groups="$groups${groups:+,}$group"; fi
done

say "DefQ for $TITLE, bundle $BUNDLE_ID, to $release"
if [ "$yes" = no ]; then
    [ -t 0 ] || fail 2 "found no terminal to ask at; expected one, or --yes"
    printf 'Install? [y/N] '
    read -r answer || answer=
    case $answer in y | Y | yes) ;; *) fail 1 "nothing was installed" ;; esac
fi

# --- from here on every step notes how to take it back

work=$(mktemp -d)
undo=$work/undo
: >"$undo"

did() { # did ACTION PATH [WHAT-WAS-THERE]
    printf '%s\t%s\t%s\n' "$1" "$2" "${3:-}" >>"$undo"
}

take_back() { # after an error or a signal: the last step first
    code=$?
    trap - EXIT
    trap '' INT TERM HUP
    set +e
    echo "taking back what was done" >&2
    sed '1!G;h;$!d' "$undo" | while IFS=$tab read -r action path before; do
        case $action in
        tree) rm -rf "$path" ;;
        back) mv "$before" "$path" ;;
        file) rm -f "$path" ;;
        folder) rmdir "$path" ;;
        restore) cp -p "$before" "$path" ;;
        link) if [ -n "$before" ]; then ln -sfn "$before" "$path"; else rm -f "$path"; fi ;;
        user) userdel "$path" ;;
        enabled) systemctl --quiet disable defq.service ;;
        esac
    done
    [ "$systemd" = no ] || systemctl daemon-reload
    rm -rf "$work"
    [ "$code" -ne 0 ] || code=1
    exit "$code"
}
trap take_back EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

folder() { # make a folder and those above it
    [ ! -d "$1" ] || return 0
    folder "$(dirname "$1")"
    mkdir "$1"
    did folder "$1"
}

fill() { # a template with this installation's values
    sed -e "s|@PREFIX@|$prefix|g" -e "s|@LAUNCHER@|$launcher|g" -e "s|@CONFIG@|$config|g" -e "s|@USER@|$user|g" \
        -e "s|@GROUPS@|$(echo "$groups" | tr , ' ')|g" -e "s|@ENVIRONMENT@|$ENVIRONMENT|g" -e "s|@STATE@|$state|g" \
        -e "s|@CACHE@|$cache|g" -e "s|@SOURCE@|$SOURCE|g" "$1"
}

put() { # put TEMPLATE FILE MODE
    folder "$(dirname "$2")"
    if [ -e "$2" ]; then
        before=$work/$(echo "$2" | tr / _)
        cp -p "$2" "$before"
        did restore "$2" "$before"
    else
        did file "$2"
    fi
    fill "$1" >"$work/new"
    chmod "$3" "$work/new"
    cp -p "$work/new" "$2"
}

works() { # can this environment import what the device needs?
    "$1/venv/bin/python" -I -c 'import numpy, cv2, onnxruntime, device.commands.cli; device.commands.cli.main(["run", "--help"])' \
        >"$work/import" 2>&1
}

whole() { # is this release complete, unchanged, and what would be made now?
    [ -f "$1/complete" ] && (cd "$1" && sha256sum --quiet -c complete >/dev/null 2>&1) &&
        cmp -s "$1/requirements.txt" "$work/requirements.txt" && works "$1"
}

choose_wheels() {
    cp "$kit/requirements.txt" "$work/requirements.txt"
    for pair in $FROM_SYSTEM; do # the system's own build can do more than the wheel, and a wheel would hide it
        if "$python" -I -c "import ${pair%%=*}" >/dev/null 2>&1; then
            say "${pair%%=*} is the system's own"
            sed -i "/^${pair#*=}[=<>]/d" "$work/requirements.txt"
        fi
    done
}

install_wheels() {
    # pip runs from its own wheel: python3-venv, which would bring one, is not installed everywhere
    "$release/venv/bin/python" -I "$kit/wheels/$PIP/pip" --isolated install -q --disable-pip-version-check --no-cache-dir \
        --no-index --find-links "$kit/wheels" -r "$work/requirements.txt" >"$work/pip" 2>&1 || {
        cat "$work/pip" >&2
        fail 3 "pip could not install the wheels of the kit; expected the Python and system that they are for; see its message above"
    }
}

make_release() {
    folder "$prefix/releases"
    did tree "$release"
    mkdir "$release"
    cp -R "$kit/device" "$kit/tables" "$kit/bundle" "$kit/kit.json" "$work/requirements.txt" "$release"
    # with the system's packages: picamera2, TensorRT and JetPack's OpenCV cannot be had otherwise
    "$python" -I -m venv --without-pip --system-site-packages "$release/venv" ||
        fail 4 "could not make a virtual environment with $python; expected its module venv; install it with: sudo apt install python3-venv"
    install_wheels
    packages=$("$release/venv/bin/python" -I -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    echo "$release" >"$packages/defq.pth"
    # the service's user may not write here, so that Python could not keep what it compiles
    "$release/venv/bin/python" -I -m compileall -q "$release/device"
    works "$release" || {
        cat "$work/import" >&2
        fail 3 "what was installed does not start; expected numpy, cv2, onnxruntime and device to work together; see the message above"
    }
    grep -E '  (device|tables|bundle)/' "$kit/SHA256SUMS" >"$release/complete"
}

# --- the user

if [ -z "$root" ]; then
    if ! getent passwd "$user" >/dev/null; then
        useradd --system --user-group --home-dir "$state" --no-create-home --shell /usr/sbin/nologin "$user"
        did user "$user"
        [ -z "$groups" ] || usermod --append --groups "$groups" "$user"
        say "made the user $user"
    elif grep -qs "^user$tab$user$tab" "$prefix/made" && [ -n "$groups" ]; then
        usermod --append --groups "$groups" "$user"
    fi
fi

# --- the release

choose_wheels
if whole "$release"; then
    say "$name is installed already"
else
    if [ -e "$release" ]; then # cut off, or damaged since
        rm -rf "$prefix/releases/damaged"
        mv "$release" "$prefix/releases/damaged"
        did back "$release" "$prefix/releases/damaged"
    fi
    make_release
fi

# --- what is outside of it

put "$kit/uninstall.sh" "$prefix/uninstall.sh" 755
put "$kit/templates/defq.sh" "$launcher" 755
put "$kit/templates/service.sh" "$prefix/service.sh" 755
put "$kit/templates/defq.service" "$root/etc/systemd/system/defq.service" 644
put "$kit/templates/defq.rules" "$root/etc/udev/rules.d/99-defq.rules" 644
if [ -e "$config" ]; then
    say "kept the settings in $config"
else
    put "$kit/templates/device.conf" "$config" 600 # the address of a camera may hold a password
fi
for path in "$state" "$cache"; do
    folder "$path"
    [ -n "$root" ] || chown "$user:" "$path"
done
before=$(readlink "$prefix/current" || true)
did link "$prefix/current" "$before"
ln -sfn "releases/$name" "$prefix/current"
if [ "$systemd" = yes ]; then
    systemctl daemon-reload
    if ! systemctl --quiet is-enabled defq.service 2>/dev/null; then
        systemctl --quiet enable defq.service
        did enabled defq.service
    fi
fi
[ -e "$prefix/made" ] || did file "$prefix/made"
sed -n "/^folder$tab/p; /^user$tab/p" "$undo" >>"$prefix/made" # for uninstall.sh

# --- done: nothing is taken back any more

trap - EXIT INT TERM HUP
for old in "$prefix"/releases/*; do
    [ "$old" = "$release" ] || rm -rf "$old"
done
rm -rf "$work"

as_service() { # the user, home and cache that the service has
    if [ -z "$root" ] && [ "$(id -un)" != "$user" ]; then set -- runuser -u "$user" -- "$@"; fi
    HOME=$state XDG_CACHE_HOME=$cache "$@"
}

if "$launcher" doctor --help >/dev/null 2>&1; then
    [ "$systemd" = no ] || systemctl stop defq.service # it would hold the camera
    source_now=$(sed -n 's/^SOURCE="\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' "$config" | tail -n 1)
    as_service timeout 120 "$launcher" doctor --bundle "$prefix/current/bundle" --source "${source_now:-$SOURCE}" ||
        say "doctor found something to look at (exit code $?); the installation is complete"
fi
if [ "$systemd" = yes ]; then
    if udevadm control --reload 2>/dev/null; then udevadm trigger --subsystem-match=video4linux --subsystem-match=media || true; fi
    systemctl --no-block restart defq.service
    say "the service runs; see it with: journalctl -u defq -f"
fi
say "installed $name; settings: $config; try: defq run --bundle $prefix/current/bundle --source $SOURCE --frames 100"
