#!/usr/bin/env bash
# Installs the servers that the platform runs on and that are missing here: PostgreSQL, Redis, RabbitMQ.
# Nothing is started and nothing is configured: AppHost runs servers of its own, with their own data, ports and passwords.
#
#   deploy/native/install.sh           install what is missing
#   deploy/native/install.sh --peers   also the programs that tests and benches compare the metrics engine with, or feed it from:
#                                      Prometheus with promtool, VictoriaMetrics, Alertmanager with amtool, node-exporter, and a mail server (aiosmtpd)
#   deploy/native/install.sh --check   only say what is missing; exit code 1 if something is
set -euo pipefail

check=false peers=false
for argument in "$@"; do
    case $argument in
        --check) check=true ;;
        --peers) peers=true ;;
        *)
            echo "Unknown argument: $argument. There are --check and --peers." >&2
            exit 2
            ;;
    esac
done

# The same places where src/NativeHost/ServerBinaries.cs looks.
found() {
    local pattern
    for pattern in "$@"; do
        if command -v "$pattern" >/dev/null 2>&1 || compgen -G "$pattern" >/dev/null; then
            return 0
        fi
    done
    return 1
}

missing=()
found postgres '/usr/lib/postgresql/*/bin/postgres' '/usr/pgsql-*/bin/postgres' '/opt/homebrew/opt/postgresql*/bin/postgres' '/usr/local/opt/postgresql*/bin/postgres' || missing+=(postgresql)
found redis-server valkey-server /opt/homebrew/bin/redis-server || missing+=(redis-server)
found /usr/lib/rabbitmq/bin/rabbitmq-server '/opt/homebrew/opt/rabbitmq/sbin/rabbitmq-server' '/usr/local/opt/rabbitmq/sbin/rabbitmq-server' rabbitmq-server || missing+=(rabbitmq-server)
if [[ $(uname -s) == Linux ]]; then
    found setpriv || missing+=(util-linux)
fi
if $peers; then
    found prometheus && found promtool || missing+=(prometheus)
    found victoria-metrics || missing+=(victoria-metrics)
    found prometheus-alertmanager && found amtool || missing+=(prometheus-alertmanager)
    found prometheus-node-exporter || missing+=(prometheus-node-exporter)
    /usr/bin/python3 -c 'import aiosmtpd' 2>/dev/null || missing+=(python3-aiosmtpd)
fi

if [[ ${#missing[@]} -eq 0 ]]; then
    exit 0
fi

echo "Missing on this machine: ${missing[*]}"
if $check; then
    exit 1
fi

if ! command -v apt-get >/dev/null 2>&1; then
    cat >&2 <<TEXT
This script knows apt-get only. Please install, with the package manager of this system:
  PostgreSQL 15 or newer (postgres, initdb)   Debian: postgresql       macOS: brew install postgresql@17   Fedora: dnf install postgresql-server
  Redis 7 or newer (redis-server)             Debian: redis-server     macOS: brew install redis           Fedora: dnf install valkey
  RabbitMQ 3.10 or newer (rabbitmq-server)    Debian: rabbitmq-server  macOS: brew install rabbitmq        Fedora: dnf install rabbitmq-server
Only for comparing (--peers): prometheus, promtool, victoria-metrics, alertmanager, amtool, node_exporter, aiosmtpd (Python).
They need not be started: the platform runs its own. Then run the same command again.
TEXT
    exit 1
fi

as_root=()
if [[ $(id -u) -ne 0 ]]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "Installing needs root, and there is no sudo. As root: apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi

echo "Installing with apt-get: ${missing[*]} (their system services stay off)"

# Packages on Debian start their service when they are installed. policy-rc.d is the system's own way to refuse that; whatever was
# there before is put back. The lock keeps two checkouts that install at the same time from restoring each other's file.
"${as_root[@]}" flock /var/lock/platform-install.lock bash -s -- "${missing[@]}" <<'ROOT'
set -euo pipefail
policy=/usr/sbin/policy-rc.d
kept=$(mktemp -d)
restore() {
    rm -f "$policy"
    if [[ -e $kept/policy-rc.d ]]; then
        mv "$kept/policy-rc.d" "$policy"
    fi
    rm -rf "$kept"
}
trap restore EXIT
if [[ -e $policy ]]; then
    mv "$policy" "$kept/policy-rc.d"
fi
printf '#!/bin/sh\n# Written for the time of one installation.\nexit 101\n' >"$policy"
chmod 755 "$policy"

export DEBIAN_FRONTEND=noninteractive
log=$kept/apt.log
apt() {
    apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" </dev/null >"$log" 2>&1
}
fail() {
    tail -n 30 "$log" >&2
    echo "apt-get could not install: $*" >&2
    exit 1
}
# Package lists are often there already; they are only fetched when the installation fails without.
apt install --no-install-recommends "$@" || { apt update && apt install --no-install-recommends "$@"; } || fail "$@"

# What was installed here for the platform does not start with the machine either.
if [[ -d /run/systemd/system ]]; then
    for unit in "$@"; do
        systemctl disable --quiet "$unit" 2>/dev/null || true
    done
fi
ROOT
echo "Installed: ${missing[*]}"
