#!/bin/sh
# Builds dockc with dockc: a base image of this machine's Python, the packages that dockc needs, an image of this checkout;
# then the image's dockc reads the Dockerfile that it was built from. pip fetches the packages; nothing else asks a network.
set -eu
cd "$(dirname "$0")/../.."
venv=${DOCKC_VENV:-.venv}
[ -x "$venv/bin/dockc" ] || {
  "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/python" -m pip install -qq --disable-pip-version-check .
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
packages=${DOCKC_PACKAGES:-$work/packages}
[ -d "$packages" ] || "$venv/bin/python" -m pip install -qq --disable-pip-version-check --target "$packages" .
python=$("$venv/bin/python" examples/self/base.py "$venv/bin/dockc" "$work/base")
"$venv/bin/dockc" build . --file examples/self/Dockerfile --tag dockc:self --build-arg PYTHON="$python" \
  --build-context base=oci-layout://"$work/base" --build-context packages="$packages"
"$venv/bin/dockc" run dockc:self version
"$venv/bin/dockc" run --interactive dockc:self fmt --check - <examples/self/Dockerfile >/dev/null
echo "dockc built dockc, which reads its own Dockerfile"
