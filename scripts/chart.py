"""Renders the chart by Helm's own library, as scripts/helm.sh fetches it.

chart.py render       values as JSON on standard input, one a line; each answered by a line of JSON:
                      {"manifests": {file: text}} or {"refused": why}
chart.py lint         Helm's own findings as JSON
chart.py manifests    the chart with its own values, as one file of plain manifests
chart.py crds         the definitions of our own kinds alone
"""

import json
import pathlib
import sys

import helm_python as helm

CHART = pathlib.Path(__file__).parent.parent / "runtime/deploy/helm/portcullis"
NAMESPACE = "portcullis-system"
HEAD = f"""# The chart's manifests with its own values, for clusters without Helm. Made by scripts/manifests.sh; a test
# compares the two.
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    # The agent is on the node's network and has rights that the other levels refuse.
    pod-security.kubernetes.io/enforce: privileged
"""
CRDS = "# The kinds of portcullis.dev, as the chart has them. Made by scripts/manifests.sh; a test compares the two.\n"


def render(chart, values):
    try:
        return {"manifests": chart.render(values, name="portcullis", namespace=NAMESPACE)}
    except helm.HelmError as e:
        return {"refused": str(e)}


def main(what):
    with helm.Chart.load(CHART) as chart:
        if what == "render":
            for line in sys.stdin:
                print(json.dumps(render(chart, json.loads(line))), flush=True)
        elif what == "lint":
            print(json.dumps(helm.lint(CHART, strict=True)))
        elif what in ("manifests", "crds"):
            texts = chart.render({}, name="portcullis", namespace=NAMESPACE)
            wanted = "/crds.yaml" if what == "crds" else ".yaml"
            parts = [texts[name].strip() for name in sorted(texts) if name.endswith(wanted)]
            head = HEAD if what == "manifests" else CRDS
            print(head + "".join(f"---\n{part}\n" for part in parts if part), end="")
        else:
            sys.exit(__doc__)


main(sys.argv[1] if len(sys.argv) > 1 else "")
