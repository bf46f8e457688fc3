#!/usr/bin/env bash
# Fetches a package of Debian's, unless it is there already, and prints the folder with its files: wordnet-base, openclipart-png.
set -euo pipefail
cd "$(dirname "$0")/.."
package=${1:?which package}
data="${CARGO_TARGET_DIR:-$PWD/target}/example-data/$package"
if [ ! -e "$data/.fetched" ]; then
    echo "fetching $package" >&2
    rm -rf "$data"
    mkdir -p "$data"
    cd "$data"
    download() { apt-get -qq -o APT::Sandbox::User="$(id -un)" download "$package" >&2; }
    if ! download; then
        sudo=()
        [ "$(id -u)" -eq 0 ] || sudo=(sudo)
        "${sudo[@]}" apt-get -qq update >&2
        download
    fi
    dpkg-deb -x ./*.deb .
    rm ./*.deb
    touch .fetched
fi
echo "$data"
