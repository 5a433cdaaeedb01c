#!/bin/sh
# Sets dockc up in .venv, makes a base image of this machine's own programs, builds the example, lists and runs it.
# Needs Python 3.11 or newer on Linux; no registry, no daemon, no root.
set -eu
cd "$(dirname "$0")/../.."
venv=${DOCKC_VENV:-.venv}
[ -x "$venv/bin/dockc" ] || {
  echo "Setting dockc up in $venv" >&2
  "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/python" -m pip install -qq --disable-pip-version-check .
}
work=${DOCKC_EXAMPLE_DIR:-}
[ -n "$work" ] || {
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
}
"$venv/bin/dockc" base sh sort cp chmod cat --output "$work/base"
"$venv/bin/dockc" build examples/hello --tag hello --build-context base=oci-layout://"$work/base"
"$venv/bin/dockc" images
"$venv/bin/dockc" run hello
