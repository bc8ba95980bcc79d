#!/usr/bin/env bash
# Runs every test against real servers that it starts itself on free ports.
#
#   ./test.sh                   all test projects
#   ./test.sh Metrics Gateway   only those of tests/Metrics.Tests and tests/Gateway.Tests
#
# The last line is "N passed, N failed, N skipped"; the exit code is 0 when nothing failed. Full output: artifacts/tests/*.log
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source deploy/native/prepare.sh
prepare_machine
prepare_peers
build Platform.sln .built-solution AppHost src ServiceDefaults tests Platform.sln

results=$PWD/artifacts/tests
rm -rf "$results"
mkdir -p "$results"
binaries=$PWD/artifacts/bin

# A setting of the person at the keyboard must not decide about a test.
unset PLATFORM_DATA_DIR PLATFORM_PORT_BASE PLATFORM_ADMIN_KEY ALERT_WEBHOOK_URL ALERT_EMAIL_RECIPIENTS MONITORING_DIGEST_RECIPIENTS ALERT_SLACK_WEBHOOK_URL ALERT_SLACK_BOT_TOKEN ALERT_TEAMS_WEBHOOK_URL ALERT_PAGERDUTY_INTEGRATION_KEY ALERT_NTFY_TOPIC ALERT_FALLBACK_CHANNEL

"$binaries/TestServers/release/Platform.TestServers" "$results/servers.json" >"$results/servers.log" 2>&1 &
servers=$!
stop_servers() {
    kill -TERM $servers 2>/dev/null || true
    wait $servers 2>/dev/null || true
}
trap stop_servers EXIT
trap 'exit 130' INT TERM
for ((tries = 0; ; tries++)); do
    [[ -e $results/servers.json ]] && break
    if ((tries == 600)) || ! kill -0 $servers 2>/dev/null; then
        cat "$results/servers.log" >&2
        echo "The servers for the tests did not start." >&2
        exit 1
    fi
    sleep 0.2
done
export PLATFORM_TEST_SERVERS=$results/servers.json

passed=0 failed=0 skipped=0 broken=()
for project in tests/*.Tests; do
    name=$(basename "$project")
    if [[ $# -gt 0 && " $* " != *" ${name%.Tests} "* ]]; then
        continue
    fi

    began=$SECONDS log=$results/$name.log code=0
    timeout --kill-after=30 900 "$binaries/$name/release/Platform.$name" -noColor -noLogo >"$log" 2>&1 || code=$?
    if ! [[ $(grep -E 'Total: [0-9]+, Errors: ' "$log" | tail -n 1) =~ Total:\ ([0-9]+),\ Errors:\ ([0-9]+),\ Failed:\ ([0-9]+),\ Skipped:\ ([0-9]+) ]]; then
        # No summary: the process died or ran out of time.
        failed=$((failed + 1))
        broken+=("$name ended with exit code $code before its summary, see $log")
        tail -n 30 "$log"
        printf '%-24s broke off after %s s\n' "$name" $((SECONDS - began))
        continue
    fi

    bad=$((BASH_REMATCH[2] + BASH_REMATCH[3])) left=${BASH_REMATCH[4]} good=$((BASH_REMATCH[1] - BASH_REMATCH[3] - BASH_REMATCH[4]))
    if ((code != 0 && bad == 0 && BASH_REMATCH[1] > 0)); then
        bad=1
        broken+=("$name ended with exit code $code though its tests passed, see $log")
    fi
    passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + left))
    if ((bad > 0)); then
        cat "$log"
        while read -r line; do
            broken+=("$name: $line")
        done < <(grep -E '\[FAIL\]' "$log" || true)
    fi
    printf '%-24s %4d passed, %d failed, %d skipped  %4d s\n' "$name" "$good" "$bad" "$left" $((SECONDS - began))
done

if [[ ${#broken[@]} -gt 0 ]]; then
    printf '\nFailed:\n'
    printf '  %s\n' "${broken[@]}"
fi

stop_servers
trap - EXIT
echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
