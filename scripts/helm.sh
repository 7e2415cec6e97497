#!/usr/bin/env bash
# Fetches Helm for the chart's tests, as the library that a wheel carries, and prints the path of a python that has it.
# The wheel is pinned by version and by hash; everything is below target/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=0.2.2
sha256=28cc13abaf134c3a7e37f070c939be8d9cdc9825c3c8b8b2d35161073bcd4578
folder=${CARGO_TARGET_DIR:-target}/helm
case $folder in /*) ;; *) folder=$PWD/$folder ;; esac

if [ -x "$folder/python" ] && "$folder/python" -c "import helm_python" 2>/dev/null &&
    [ "$(cat "$folder/version" 2>/dev/null)" = "$version" ]; then
    printf '%s\n' "$folder/python"
    exit 0
fi
if [ "$(uname -sm)" != "Linux x86_64" ]; then
    echo "helm.sh: the pinned wheel is for Linux on x86-64; set PORTCULLIS_HELM to a python with helm_python" >&2
    exit 1
fi
python=$(command -v python3) || { echo "helm.sh: there is no python3 to fetch the wheel with" >&2; exit 1; }
part=$(mktemp -d)
trap 'rm -rf "$part"' EXIT
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --dest "$part" "helm-python-sdk==$version" >&2
wheel=$(echo "$part"/*.whl)
printf '%s  %s\n' "$sha256" "$wheel" | sha256sum --check --quiet >&2
rm -rf "$folder"
mkdir -p "$folder/lib"
"$python" - "$wheel" "$folder/lib" <<'PYTHON'
import sys, zipfile
zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])
PYTHON
cat > "$folder/python" <<WRAPPER
#!/bin/sh
PYTHONPATH=$folder/lib PYTHONDONTWRITEBYTECODE=1 exec $python "\$@"
WRAPPER
chmod +x "$folder/python"
printf '%s' "$version" > "$folder/version"
"$folder/python" -c "import helm_python; print('Helm', helm_python.helm_sdk_version())" >&2
printf '%s\n' "$folder/python"
