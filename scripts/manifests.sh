#!/usr/bin/env bash
# Writes the plain manifests from the chart: all of them, and the definitions of our own kinds alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=$(scripts/helm.sh)
for what in manifests:portcullis crds:crds; do
    file=runtime/deploy/${what#*:}.yaml
    "$python" scripts/chart.py "${what%:*}" > "$file.part"
    mv "$file.part" "$file"
done
