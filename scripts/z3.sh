#!/usr/bin/env bash
# Fetches z3 for the tests that prove, and prints the path of its program on standard output.
# The wheel is pinned by version and by hash; nothing is installed but one file below target/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=5.4.1
wheel=z3_solver-5.4.1.0-py3-none-manylinux_2_27_x86_64.whl
sha256=e680ce083683abca5d07c3e55c2f620ff9a29cb91c548eeeea27ae29e8060522

folder=${CARGO_TARGET_DIR:-target}/z3
case $folder in /*) ;; *) folder=$PWD/$folder ;; esac
program=$folder/bin/z3

if [ -x "$program" ] && "$program" --version 2>/dev/null | grep -q "version $version"; then
    printf '%s\n' "$program"
    exit 0
fi
if [ "$(uname -sm)" != "Linux x86_64" ]; then
    echo "z3.sh: the pinned wheel is for Linux on x86-64; install z3 and set PORTCULLIS_Z3" >&2
    exit 1
fi
python=$(command -v python3) || { echo "z3.sh: there is no python3 to fetch the wheel with" >&2; exit 1; }
part=$(mktemp -d)
trap 'rm -rf "$part"' EXIT
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --dest "$part" "z3-solver==$version" >&2
printf '%s  %s\n' "$sha256" "$part/$wheel" | sha256sum --check --quiet >&2
"$python" - "$part/$wheel" "$part/z3" <<'PYTHON'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    [member] = [n for n in wheel.namelist() if n.endswith("/data/bin/z3")]
    with open(sys.argv[2], "wb") as out:
        out.write(wheel.read(member))
PYTHON
chmod +x "$part/z3"
mkdir -p "$folder/bin"
mv "$part/z3" "$program"
"$program" --version >&2
printf '%s\n' "$program"
