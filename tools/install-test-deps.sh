#!/usr/bin/env bash
# Installs what the tests need beyond the build: psycopg in a virtual environment, node-postgres, pgbench.
# Does nothing where it is there already.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
environment="${CARGO_TARGET_DIR:-$root/target}/test-env"
clients="$root/tools/clients"

say() { echo "test deps: $*"; }
have() { command -v "$1" >/dev/null 2>&1; }

# Debian puts pgbench into the server's package; what the client's package has under that name only looks for it.
if ! pgbench --version >/dev/null 2>&1; then
    if have apt-get && { [ "$(id -u)" -eq 0 ] || have sudo; }; then
        sudo=()
        [ "$(id -u)" -eq 0 ] || sudo=(sudo)
        say "installing pgbench (package postgresql-15 holds it; no cluster is made)"
        export DEBIAN_FRONTEND=noninteractive
        "${sudo[@]}" apt-get -qq update
        # Without this file the package would make and start a cluster.
        if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
            "${sudo[@]}" mkdir -p /etc/postgresql-common
            echo 'create_main_cluster = false' | "${sudo[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
        fi
        "${sudo[@]}" apt-get -qq install --yes --no-install-recommends postgresql-15 >/dev/null
    else
        say "there is no pgbench, and it cannot be installed without root" >&2
        exit 1
    fi
fi

for program in python3 node npm; do
    if ! have "$program"; then
        say "there is no $program" >&2
        exit 1
    fi
done

wanted=$(sha256sum "$clients/python/requirements.txt" | cut -d' ' -f1)
if [ "$(cat "$environment/.requirements" 2>/dev/null || true)" != "$wanted" ]; then
    say "making $environment"
    mkdir -p "$(dirname "$environment")"
    if ! python3 -m venv --clear "$environment"; then
        if have apt-get && { [ "$(id -u)" -eq 0 ] || have sudo; }; then
            sudo=()
            [ "$(id -u)" -eq 0 ] || sudo=(sudo)
            say "installing python3-venv"
            "${sudo[@]}" apt-get -qq update
            DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get -qq install --yes --no-install-recommends python3-venv >/dev/null
            python3 -m venv --clear "$environment"
        else
            say "python3 has no venv; install python3-venv" >&2
            exit 1
        fi
    fi
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check -r "$clients/python/requirements.txt"
    echo "$wanted" > "$environment/.requirements"
fi

wanted=$(sha256sum "$clients/node/package-lock.json" | cut -d' ' -f1)
if [ "$(cat "$clients/node/node_modules/.lock" 2>/dev/null || true)" != "$wanted" ]; then
    say "installing node-postgres"
    (cd "$clients/node" && npm ci --silent --no-audit --no-fund)
    echo "$wanted" > "$clients/node/node_modules/.lock"
fi
say "all there"
