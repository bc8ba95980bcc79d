#!/usr/bin/env bash
set -euo pipefail

usage() {
    cat <<'TEXT'
Starts the whole platform on this machine and stays in the foreground; Ctrl-C stops it. Data is kept.

  ./run.sh                              the platform and a demo application with traffic
  ./run.sh --no-demo                    without the demo
  ./run.sh --replay FILE [--speed N]    also plays an OpenSSH auth log as events, N times faster than it happened
                                        (default 60); if the platform of this folder already runs, plays only
  ./run.sh --logs                       shows the output of all services here too, not only in the log files

Settings (environment):
  PLATFORM_PORT_BASE    first of about 20 ports; the gateway's. Default 8080; 0 takes free ones
  PLATFORM_DATA_DIR     where data, logs and keys are kept. Default .data in this folder
  PLATFORM_ADMIN_KEY    sets the admin key; otherwise the first start makes one and keeps it in <data>/admin-key
  Everything else: docs/configuration.md
TEXT
}

replay='' speed=60 arguments=()
while [[ $# -gt 0 ]]; do
    case $1 in
        --help | -h)
            usage
            exit 0
            ;;
        --no-demo | --logs) arguments+=("$1") ;;
        --replay)
            replay=$(realpath -e -- "${2:?--replay needs a file}") || exit 2
            shift
            ;;
        --speed)
            speed=${2:?--speed needs a number}
            shift
            ;;
        *)
            echo "run.sh does not know '$1'." >&2
            usage >&2
            exit 2
            ;;
    esac
    shift
done

cd "$(dirname "${BASH_SOURCE[0]}")"
source deploy/native/prepare.sh
prepare_machine
build AppHost/AppHost.csproj .built-apphost AppHost src ServiceDefaults

binaries=$PWD/artifacts/bin
apphost=$binaries/AppHost/release/Platform.AppHost
data=${PLATFORM_DATA_DIR:-$PWD/.data}

if [[ -z $replay ]]; then
    exec "$apphost" "${arguments[@]}"
fi

# The value of one field in one of the host's small JSON files.
field() {
    sed -n "s/.*\"$1\": *\"\{0,1\}\([^\",]*\)\"\{0,1\}.*/\1/p" "$2" | head -n 1
}

play() {
    # The key goes by the environment: arguments are for everybody on the machine to see.
    PLATFORM_API_KEY=$(field ingestkey "$data/secrets.json") "$binaries/DemoBackend/release/Platform.DemoBackend" replay "$replay" --speed "$speed" \
        --gateway "$(field gateway_url "$data/apphost.json")"
}

if [[ -e $data/apphost.json ]] && kill -0 "$(field pid "$data/apphost.json")" 2>/dev/null; then
    play
    exit
fi

# A leftover of a killed host must not be taken for the news of the one that starts now.
rm -f "$data/apphost.json"

# Beside the host, which takes this process over: its id stays $$, and its end is the end of the replay too.
play_when_healthy() {
    until [[ -e $data/apphost.json ]] && curl -fsS "$(field status_url "$data/apphost.json")" 2>/dev/null | grep -q '^  "healthy": true'; do
        kill -0 $$ 2>/dev/null || return 0
        sleep 0.5
    done
    play &
    while kill -0 $! 2>/dev/null; do
        kill -0 $$ 2>/dev/null || kill -TERM $!
        sleep 0.5
    done
    wait $! || echo "The replay ended early." >&2
}
play_when_healthy &
exec "$apphost" "${arguments[@]}"
