#!/usr/bin/env bash
# Builds what the image holds, unoptimised, and starts it where there is nothing else: an empty root directory, with
# one policy to check. As root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

root=$(mktemp -d)
chmod 755 "$root"
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

# The agent as its container has it: this root, /sys read-only but for bpffs, the seven rights of the DaemonSet, and an
# interface to put programs on.
if [ "$(id -u)" -ne 0 ] || ! mountpoint -q /sys/fs/bpf || ! command -v ip >/dev/null; then
    echo "left out: no agent in a container's place, which needs root, /sys/fs/bpf and ip"
    exit 0
fi
pod=pct$$
mkdir -p "$root"/{proc,sys,state,base}
cp policies/examples/payments/base/*.yaml "$root/base/"
cat > "$root/node.yaml" <<YAML
policies: [/base]
state: /state
pins: portcullis-$pod
endpoints:
- {name: db, namespace: payments, interface: $pod, addresses: [10.99.0.2], labels: {app: db}}
YAML
cat > "$root/enter.py" <<'PYTHON'
import ctypes, os, sys

capabilities = {"DAC_READ_SEARCH": 2, "NET_ADMIN": 12, "NET_RAW": 13, "SYS_PTRACE": 19, "SYS_ADMIN": 21,
                "PERFMON": 38, "BPF": 39}
prctl = ctypes.CDLL(None).prctl
os.chroot(sys.argv[1])
os.chdir("/")
for capability in set(range(64)) - set(capabilities.values()):
    prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; those that the kernel does not have fail
prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
os.environ["PORTCULLIS_NODE"] = "worker-7"
os.execv("/usr/bin/portcullis-agent", ["portcullis-agent"] + sys.argv[2:])
PYTHON
ip link add "$pod" type veth peer name "${pod}p"
trap 'ip link del "$pod" 2>/dev/null; rm -rf "$root"' EXIT
ip link set "$pod" up
ROOT=$root unshare --mount --propagation slave bash -euo pipefail <<'INSIDE'
mount -t proc proc "$ROOT/proc"
mount -t sysfs -o ro sysfs "$ROOT/sys"
mount --bind /sys/fs/bpf "$ROOT/sys/fs/bpf"
python3 "$ROOT/enter.py" "$ROOT" run --config /node.yaml &
agent=$!
for _ in $(seq 100); do
    said=$(python3 "$ROOT/enter.py" "$ROOT" status --state /state 2>&1) && [[ $said == *"payments/db"* ]] && break
    sleep 0.2
done
printf '%s\n' "$said"
kill "$agent"
wait "$agent"
python3 "$ROOT/enter.py" "$ROOT" detach --config /node.yaml
[[ $said == *"worker-7: generation 1"* && $said == *"payments/db"* ]]
INSIDE
echo "the agent does its work in a container's place"
