#!/usr/bin/env bash
# System packages that Drover needs and Python's package index does not hold; installs only what is missing.
# Today it needs none beyond git, make and Python 3.11 with venv. It checks for those and says what to do.
set -euo pipefail

missing=()
for tool in git make python3.11; do
    command -v "$tool" >/dev/null || missing+=("$tool")
done
if [ "${#missing[@]}" -gt 0 ]; then
    echo "Drover needs: ${missing[*]}. On Debian or Ubuntu: apt-get install git make python3.11 python3.11-venv" >&2
    exit 1
fi
