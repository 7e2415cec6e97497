#!/usr/bin/env bash
# scripts/static.sh FOLDER: the agent and the compiler as static programs, in the folder's usr/bin, with the licence: all of
# a container image. Needs rustup and musl-gcc (Debian: musl-tools). PROFILE names another profile than release.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out=${1:?usage: scripts/static.sh FOLDER}
profile=${PROFILE:-release}
target=$(uname -m)-unknown-linux-musl
folder=$profile
[ "$profile" = dev ] && folder=debug

command -v musl-gcc >/dev/null || { echo "musl-gcc is missing: apt-get install musl-tools" >&2; exit 1; }
rustup target add "$target" >/dev/null 2>&1 || { echo "static.sh: rustup cannot add $target" >&2; exit 1; }
# The linker would put the paths of this machine into the programs.
cargo=${CARGO_HOME:-$HOME/.cargo}
export RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=$PWD=/portcullis --remap-path-prefix=$cargo=/cargo"
cargo build --locked --profile "$profile" --target "$target" -p portcullis-agent -p portcullis-cli

mkdir -p "$out/usr/bin" "$out/usr/share/doc/portcullis"
for program in portcullis-agent portcullis; do
    strip -o "$out/usr/bin/$program" "${CARGO_TARGET_DIR:-target}/$target/$folder/$program"
done
cp LICENSE "$out/usr/share/doc/portcullis/"
