#!/bin/sh
# package.sh [DIRECTORY]: makes dockc-VERSION.vsix in a directory (default: the one it is called in). Needs node, npm, python3.
# Packages come from wherever npm is told to look; no lock file says where that was, and nothing is left in the sources.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$(cd "${1:-.}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -R "$here/src" "$here/package.json" "$here/tsconfig.json" "$here/README.md" "$work/"
cp "$here/../../LICENSE" "$work/LICENSE"
cd "$work"
npm install --no-package-lock --no-audit --no-fund --ignore-scripts >&2
npx --no-install tsc -p .
npx --no-install esbuild src/extension.ts --bundle --platform=node --target=node20 --external:vscode --minify --outfile=out/extension.js >&2
python3 "$here/pack.py" "$work" "$out"
