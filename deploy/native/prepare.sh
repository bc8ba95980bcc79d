# Read by run.sh, test.sh and bench.sh, from the project's folder: what they need before they can start.
# shellcheck shell=bash

# Both build the same configuration, so that nothing is built twice.
configuration=Release

prepare_machine() {
    if ! command -v dotnet >/dev/null 2>&1; then
        echo "The .NET 10 SDK is missing. Install it (https://dotnet.microsoft.com/download/dotnet/10.0) and run the command again." >&2
        exit 1
    fi
    # global.json names the version and the remedy.
    if ! dotnet --version >/dev/null 2>&1; then
        dotnet --version >&2 || true
        exit 1
    fi
    deploy/native/install.sh
}

# What the metrics engine is compared with. A machine that cannot have it still runs everything else.
prepare_peers() {
    deploy/native/install.sh --peers ||
        echo "Without Prometheus, VictoriaMetrics, Alertmanager or node-exporter, the tests and benches that need the missing one are skipped by name." >&2
}

# build <project or solution> <stamp> <folder or file>...
# Skips the build when nothing below the folders has changed since the last one that succeeded. A deleted file changes its folder.
build() {
    local target=$1 stamp=artifacts/$2
    shift 2
    if [[ -e $stamp && -z $(find "$@" Directory.Build.props Directory.Packages.props global.json .editorconfig -newer "$stamp" -print -quit) ]]; then
        return
    fi

    echo "Building $target (the first time takes a few minutes) …"
    local began=$SECONDS
    mkdir -p artifacts
    touch "$stamp.new"
    # Build servers that stay for a quarter of an hour would take the memory that the platform is measured in.
    MSBUILDDISABLENODEREUSE=1 dotnet build "$target" --configuration "$configuration" --nologo --verbosity quiet -consoleLoggerParameters:NoSummary </dev/null
    mv "$stamp.new" "$stamp"
    echo "Built in $((SECONDS - began)) s."
}
