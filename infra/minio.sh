#!/usr/bin/env bash
# Builds the S3 servers that tests marked `s3` run against beside the embedded SeaweedFS: MinIO (archived upstream,
# source only) and versitygw. Into a cache folder outside the checkout; at once when they are there already.
#
#   infra/minio.sh          build what is missing, print where it is
#   infra/minio.sh --where  print the folder and nothing else
#
# DROVER_STORES_DIR moves the folder. Needs Go; without it nothing is built, and the tests say that they skipped them.
# Go keeps its own caches (about 2.5 GB for MinIO): `go clean -cache -modcache` frees them once the servers are built.
set -euo pipefail

cache="${DROVER_STORES_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/drover/stores}"
minio="github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c"
versitygw="github.com/versity/versitygw/cmd/versitygw@v1.8.0"

if [ "${1:-}" = --where ]; then
    echo "$cache"
    exit
fi

staging=""
trap '[ -z "$staging" ] || rm -rf "$staging"' EXIT

build() { # name, module at version, about how long
    if [ -x "$cache/$1" ] && [ "$(cat "$cache/$1.version" 2>/dev/null)" = "$2" ]; then
        echo "$1: built already, $cache/$1"
        return
    fi
    if ! command -v go >/dev/null; then
        echo "$1: not built, because \`go\` is not installed; tests against it are skipped"
        return
    fi
    echo "$1: building $2 (about $3 on 2 cores, the first time) ..."
    local started=$SECONDS
    mkdir -p "$cache"
    staging="$(mktemp -d "$cache/.build.XXXXXX")"
    if ! GOFLAGS=-buildvcs=false GOBIN="$staging" go install "$2" 2>"$staging/log"; then
        cat "$staging/log" >&2
        echo "$1: cannot be built; tests against it are skipped" >&2
        exit 1
    fi
    mv "$staging/$1" "$cache/$1"
    echo "$2" >"$cache/$1.version"
    rm -rf "$staging"
    echo "$1: built in $((SECONDS - started)) s, $cache/$1"
}

build minio "$minio" "3 minutes"
build versitygw "$versitygw" "1 minute"
