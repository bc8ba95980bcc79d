#!/usr/bin/env bash
# Measures the platform on this machine, as ratios or against limits, all in one run. Figures and what they mean: docs/performance.md
#
#   ./bench.sh                  everything (about a quarter of an hour on two cores)
#   ./bench.sh ingest latency   only these
#   ./bench.sh faults           the fault tests, with 10,000 events in flight at each kill and 10,000 alerts at each fault
#   ./bench.sh alerting         from data to page, against Prometheus with Alertmanager; alerting --help lists its parts
#   ./bench.sh metrics          the metrics engine against Prometheus and VictoriaMetrics; metrics --help lists its parts
#   ./bench.sh --help           the list
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source deploy/native/prepare.sh
prepare_machine

# These have parts and switches of their own, so whatever follows them is their own.
if [[ ${1:-} == metrics || ${1:-} == alerting ]]; then
    prepare_peers
    build Platform.sln .built-solution AppHost src ServiceDefaults tests bench Platform.sln
    exec artifacts/bin/Bench/release/Platform.Bench "$@"
fi

names=("$@")
if [[ ${#names[@]} -eq 0 ]]; then
    names=(start ingest latency timeline faults metrics alerting)
fi

build Platform.sln .built-solution AppHost src ServiceDefaults tests bench Platform.sln
for name in "${names[@]}"; do
    if [[ $name == metrics || $name == alerting ]]; then
        prepare_peers
    fi
    if [[ $name == faults ]]; then
        echo "== faults"
        PLATFORM_FAULT_EVENTS=10000 PLATFORM_FAULT_ALERTS=10000 artifacts/bin/EndToEnd.Tests/release/Platform.EndToEnd.Tests \
            -class Platform.EndToEnd.Tests.FaultTests -class Platform.EndToEnd.Tests.AlertFaultTests -parallel none -noColor -noLogo -diagnostics
    else
        artifacts/bin/Bench/release/Platform.Bench "$name"
    fi
done
