#!/usr/bin/env bash
# Builds what the image holds, unoptimised, and starts it where there is nothing else: an empty root directory, with
# one policy to check. As root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
PROFILE=${PROFILE:-dev} scripts/static.sh "$root"

for program in portcullis-agent portcullis; do
    # A dynamic program names its interpreter.
    if readelf --program-headers "$root/usr/bin/$program" | grep -q INTERP; then
        echo "static-test.sh: $program is not static" >&2
        exit 1
    fi
    chroot --userspec=65532:65532 "$root" "/usr/bin/$program" --version
done
mkdir "$root/policies"
cp -r policies/examples/payments "$root/policies/"
code=0
chroot --userspec=65532:65532 "$root" /usr/bin/portcullis diff /policies/payments/base /policies/payments/head \
    --cluster /policies/payments/cluster.yaml --format json > "$root/diff.json" || code=$?
# Flows become denied: that is what the example is about.
[ "$code" -eq 1 ] || { echo "static-test.sh: portcullis diff ended with $code, not with 1" >&2; exit 1; }
[ -s "$root/diff.json" ]
# A configuration that is not there is named; a missing library or resolver would fail otherwise.
code=0
said=$(chroot "$root" /usr/bin/portcullis-agent run --config /node.yaml 2>&1) || code=$?
[ "$code" -eq 2 ] && [[ $said == *"/node.yaml could not be read"* ]] ||
    { echo "static-test.sh: the agent ended with $code and said: $said" >&2; exit 1; }
echo "static programs start in an empty root directory"
