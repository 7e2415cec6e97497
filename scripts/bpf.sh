#!/usr/bin/env bash
# Compiles the kernel's programs. The objects are in the repository, so nothing else needs clang; run this
# after a change below bpf/. With --check nothing is written: it says whether what is there is what
# the sources give.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../bpf"

# Other versions give other bytes.
version=19
clang=$(command -v "clang-$version" || true)
strip=$(command -v "llvm-strip-$version" || true)
if [ -z "$clang" ] || [ -z "$strip" ]; then
    echo "bpf.sh: clang-$version and llvm-strip-$version are needed: apt install clang-$version llvm-$version" >&2
    exit 3
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
{
    "$clang" --version | head -1
    sha256sum ./*.c include/*.h
} > "$out/objects.lock"
for source in *.c; do
    "$clang" -g -O2 -Wall -Wextra -Werror -target bpf -mcpu=v3 \
        "-ffile-prefix-map=$PWD=." -fdebug-compilation-dir=. -c "$source" -o "$out/${source%.c}.bpf.o"
    "$strip" -g "$out/${source%.c}.bpf.o"
done
if [ "${1:-}" = --check ]; then
    for made in "$out"/*; do
        cmp "$made" "$(basename "$made")"
    done
    echo "bpf: the objects are what the sources give"
else
    cp "$out"/* .
fi
