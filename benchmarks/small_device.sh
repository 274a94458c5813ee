#!/bin/bash
# The app on the system of a Raspberry Pi, made here: Debian for arm64, run by QEMU.
#
#   sudo benchmarks/small_device.sh [FOLDER]            # /var/tmp/facesync-arm64
#   sudo benchmarks/small_device.sh --remove [FOLDER]
#
# It installs what docs/small_devices.md says, from wheels alone, copies the working tree there, and
# registers, verifies, lists, checks and deletes without a network. Interrupted, it goes on where it
# was. It prints sizes and memory; how fast an emulated processor is says nothing about a real one.
#
# Needs root, 2 GB, half an hour, and: apt install debootstrap qemu-user-static binfmt-support
# SUITE=bookworm makes the system before this one; PYTHON names a Python with the demo's packages.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "error: $*" >&2; exit 1; }

remove=
if [ "${1:-}" = --remove ]; then remove=yes; shift; fi
folder=$(realpath -m "${1:-/var/tmp/facesync-arm64}")
suite=${SUITE:-trixie}
python=${PYTHON:-.venv/bin/python}
system=$folder/system
app=/root/FaceSync

[ "$(id -u)" = 0 ] || fail "making a system needs root: sudo $0"
if [ -n "$remove" ]; then
	[ -e "$folder/.facesync-arm64" ] || fail "$folder is not a folder of this script"
	rm -rf --one-file-system "$folder"
	exit
fi
[ -x "$(command -v debootstrap)" ] || fail "debootstrap is missing; apt install debootstrap"
"$python" -c 'import matplotlib, cv2' || fail "$python has no packages; make install, or name one: PYTHON=..."
# What is mounted here vanishes with the script, however it ends.
[ -n "${FACESYNC_MOUNTS:-}" ] || exec env FACESYNC_MOUNTS=own unshare --mount "$0" "$folder"

mkdir -p "$folder"
touch "$folder/.facesync-arm64"
exec 9>"$folder/lock"
flock --nonblock 9 || fail "another run works in $folder"

emulated=0
if [ "$(uname -m)" != aarch64 ]; then
	emulated=1
	formats=/proc/sys/fs/binfmt_misc
	[ -e $formats/register ] || mount -t binfmt_misc none $formats || fail "this kernel cannot run other processors' programs (binfmt_misc)"
	[ -e $formats/qemu-aarch64 ] || update-binfmts --enable qemu-aarch64 || fail "apt install qemu-user-static binfmt-support"
fi

# `step NAME COMMAND ...` runs a command, unless it once ran to its end. In a function that is one, each
# line must be joined to the next: `set -e` does not hold there.
step() {
	[ -e "$folder/$1.done" ] && return
	echo "$1 ..."
	"${@:2}" >"$folder/$1.log" 2>&1 || fail "$1 failed; see $folder/$1.log"
	touch "$folder/$1.done"
}

enter=(chroot "$system" /usr/bin/env -i --chdir=/root HOME=/root LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin)

inside() { "${enter[@]}" "$@"; }

make_system() {
	rm -rf --one-file-system "$system" && debootstrap --arch=arm64 --variant=minbase "$suite" "$system"
}

install_packages() {
	cp /etc/resolv.conf "$system/etc/resolv.conf" &&
		inside apt-get update &&
		inside DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
			git make ca-certificates python3-venv libgl1 libglib2.0-0 &&
		inside apt-get clean
}

install_app() {
	# The certificates of this machine, which may have its own.
	cp /etc/ssl/certs/ca-certificates.crt "$system/root/certificates.crt" &&
		inside PIP_ONLY_BINARY=:all: PIP_NO_CACHE_DIR=1 PIP_CERT=/root/certificates.crt \
		make -C "$app" .venv-app/.installed
}

copy_tree() {
	mkdir -p "$system$app"
	git -c safe.directory='*' ls-files -z --cached --others --exclude-standard |
		tar --create --null --files-from=- --ignore-failed-read | tar --extract --no-same-owner -C "$system$app"
}

make_images() {
	rm -rf "$system/root/images" && "$python" - "$system/root/images" <<-'PYTHON'
		import sys
		from pathlib import Path

		import numpy as np

		from facesync.images import save_jpeg
		from facesync.sample_images import HOPPER, photographs, vary

		random = np.random.default_rng(0)
		for name, photo in photographs().items():
		    person = "known" if name == HOPPER else "stranger"
		    for number in range(4):
		        save_jpeg(vary(photo, random), Path(sys.argv[1]) / person / f"{number}.jpg")
	PYTHON
}

step system make_system
# Not /sys: what it says of this machine's processors crashes ONNX Runtime, built for another kind.
mount -t proc proc "$system/proc"
step packages install_packages
copy_tree
step app install_app
step images make_images

megabytes() { du -s --block-size=1MB --one-file-system "$@" | awk '{ all += $1 } END { print all }'; }

# Adds up what a process holds. QEMU's own is left out: it lies above the addresses of 11 digits, which
# are the emulated program's.
held='/^[0-9a-f]+-/ { split($1, ends, "-"); own = emulated && length(ends[1]) > 11 }
/^Rss:/ && !own { all += $2 }
END { print int(all / 1024) }'

# `app EXIT_CODE COMMAND ...` runs a command of the app, and samples the memory of its process.
app() {
	local expected=$1 got=0 most=0 now pid job
	shift
	"${enter[@]}" "$app/.venv-app/bin/python" "$app/faceid_app.py" "$@" --offline >"$folder/output" 2>&1 </dev/null &
	job=$!
	while kill -0 $job 2>/dev/null; do
		now=$(awk -v emulated=$emulated "$held" /proc/$job/smaps 2>/dev/null || echo 0)
		[ "$now" -gt "$most" ] && most=$now
		sleep 0.2
	done
	wait $job || got=$?
	sed 's/^/    /' "$folder/output"
	[ $got = "$expected" ] || fail "faceid_app.py $1 ended with $got, not $expected"
	echo "  faceid_app.py $1: as it should; at most $most MB of memory"
}

rm -rf "$system"/root/{.local,.config,.cache,models,faces}
echo "$(. "$system/etc/os-release"; echo "$PRETTY_NAME"), $(inside uname -m), $(inside python3 --version)"
app 1 doctor  # there is no camera
app 0 register Known --images /root/images/known/{0,1,2}.jpg
app 0 list
app 0 verify --image /root/images/known/3.jpg
if [ -d "$system/root/images/stranger" ]; then app 1 verify --image /root/images/stranger/0.jpg; fi
app 0 delete Known --yes
echo "the system $(megabytes "$system") MB; of it the app's environment $(megabytes "$system$app/.venv-app") MB"
