#!/usr/bin/env bash
# Runs tests of the kernel's programs on other kernels: Debian's cloud kernels, booted by QEMU without KVM from
# an initial file system that holds the test programs and nothing else. Needs Debian's apt and dpkg, root for
# nothing, and qemu-system-x86_64. Give series to run fewer of them: scripts/kernels.sh 6.1
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

series=("$@")
[ "$#" -gt 0 ] || series=(6.1 6.12)
# Seconds for one kernel; the tests' own patience is shorter.
limit=${PORTCULLIS_KERNEL_LIMIT:-600}
target=${CARGO_TARGET_DIR:-target}
folder=$target/kernels
# What the tests use of the kernel that Debian builds as modules.
modules=(drivers/net/veth net/sched/cls_bpf net/sched/sch_ingress)
# What tests run: a name, a test program of the agent, and which of its tests.
checks=(
    "attach attach"
    "verdicts kernel_agrees the_kernel_gives_every_verdict_written_by_hand"
    "services service_packets"
)

for tool in apt-get dpkg qemu-system-x86_64 ip nsenter ping python3 strip xz; do
    command -v "$tool" >/dev/null 2>&1 || { echo "kernels.sh: $tool is needed" >&2; exit 3; }
done
mkdir -p "$folder"

newest() {
    apt-cache search --names-only "^linux-image-${1//./\\.}\\.[^ ]*-cloud-amd64\$" | cut -d' ' -f1 | sort -V | tail -1
}

# fetch SERIES: prints the folder with vmlinuz and modules/ of its newest kernel, which is fetched once.
fetch() {
    local package part module file
    package=$(newest "$1")
    if [ -z "$package" ]; then
        apt-get update -qq >&2 && package=$(newest "$1")
    fi
    [ -n "$package" ] || { echo "kernels.sh: apt knows no cloud kernel $1" >&2; return 1; }
    if [ ! -f "$folder/$package/vmlinuz" ]; then
        part=$(mktemp -d -p "$folder")
        (cd "$part" && apt-get download -qq "$package" 2>/dev/null && dpkg -x ./*.deb tree) || return 1
        mkdir "$part/modules"
        for module in "${modules[@]}"; do
            file=$(echo "$part"/tree/lib/modules/*/kernel/"$module".ko*)
            cp "$file" "$part/modules"
        done
        xz -dq "$part"/modules/*.xz 2>/dev/null || true
        mv "$part"/tree/boot/vmlinuz-* "$part/vmlinuz"
        rm -rf "$part/tree" "$part"/*.deb "${folder:?}/$package"
        mv "$part" "$folder/$package"
    fi
    printf '%s\n' "$folder/$package"
}

# into ROOT PROGRAM PLACE: copies a program without its debug information, and the libraries it is linked to.
into() {
    local library
    mkdir -p "$(dirname "$1/$3")"
    strip -o "$1/$3" "$(readlink -f "$2")"
    for library in $(ldd "$2" | grep -o '/[^ ]*'); do
        [ -e "$1$library" ] || install -D "$library" "$1$library"
    done
}

# The file system, without the modules. Tests find the agent and the repository's files by the paths they
# were compiled with.
make_root() {
    local root=$1 check name program filter tests=()
    for check in "${checks[@]}"; do
        read -r name program filter <<< "$check"
        tests+=(--test "$program")
    done
    cargo test --locked --quiet -p portcullis-agent --no-run "${tests[@]}" --message-format=json \
        > "$folder/built.json"
    cargo build --locked --quiet -p portcullis-agent --example kernel_init --message-format=json \
        >> "$folder/built.json"
    # The program that cargo built last under a name.
    executable() { sed -n "s/.*\"name\":\"$1\",.*\"executable\":\"\([^\"]*\)\".*/\1/p" "$folder/built.json" | tail -1; }
    into "$root" "$(executable kernel_init)" init
    into "$root" "$(executable portcullis-agent)" "$(executable portcullis-agent)"
    for check in "${checks[@]}"; do
        read -r name program filter <<< "$check"
        into "$root" "$(executable "$program")" "tests/$program"
        printf '%s /tests/%s %s\n' "$name" "$program" "$filter" >> "$root/checks"
    done
    for program in ip nsenter ping; do
        into "$root" "$(command -v "$program")" "usr/bin/$program"
    done
    for name in policies snapshot-tests/cases; do
        mkdir -p "$root$PWD/$name"
        cp -r "$name/." "$root$PWD/$name"
    done
}

# archive FOLDER...: a cpio archive ("newc") of what is in the folders, as the kernel unpacks it.
archive() {
    python3 - "$@" <<'PYTHON'
import os, sys
out, number = sys.stdout.buffer, 0
def entry(name, mode, data=b""):
    global number
    number += 1
    fields = [number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
    for part in (head, data):
        out.write(part + b"\0" * (-len(part) % 4))
for top in sys.argv[1:]:
    for folder, folders, files in os.walk(top):
        folders.sort()
        for name in sorted(folders) + sorted(files):
            path = os.path.join(folder, name)
            place = os.path.relpath(path, top)
            if os.path.isdir(path):
                entry(place, 0o040755)
            else:
                with open(path, "rb") as file:
                    entry(place, 0o100755, file.read())
entry("TRAILER!!!", 0)
PYTHON
}

# boot FOLDER INITRD LOG: what the machine says, as it says it.
boot() {
    timeout "$limit" qemu-system-x86_64 -machine pc -cpu max -smp 2 -m 1024 -nodefaults -display none \
        -no-reboot -serial stdio -kernel "$1/vmlinuz" -initrd "$2" \
        -append "console=ttyS0 quiet loglevel=1 panic=-1" </dev/null 2>&1 | tr -d '\r' > "$3"
}

failed=0
work=$(mktemp -d -p "$folder")
trap 'rm -rf "$work"' EXIT
mkdir "$work/root"
make_root "$work/root"
for one in "${series[@]}"; do
    log=$folder/$one.log
    start=$SECONDS
    if ! kernel=$(fetch "$one"); then
        printf '%-5s FAIL fetch\n' "$one"
        failed=1
        continue
    fi
    rm -rf "$work/more"
    mkdir "$work/more"
    cp -r "$kernel/modules" "$work/more"
    archive "$work/root" "$work/more" > "$work/initrd"
    boot "$kernel" "$work/initrd" "$log" || printf 'FAIL boot: no end after %s s\n' "$limit" >> "$log"
    grep -q '^done$' "$log" || printf 'FAIL boot: the machine stopped before its end\n' >> "$log"
    grep -E '^(ok|FAIL|\|) ' "$log" | sed "s/^/$(printf '%-5s' "$one") /"
    if grep -q '^FAIL ' "$log" || ! grep -q '^ok [a-z]*::' "$log"; then
        failed=1
        printf '%-5s the whole log: %s\n' "$one" "$log"
    fi
    printf '%-5s %d ok, %d failed, %d s\n' "$one" "$(grep -c '^ok ' "$log")" "$(grep -c '^FAIL ' "$log")" \
        "$((SECONDS - start))"
done
exit "$failed"
