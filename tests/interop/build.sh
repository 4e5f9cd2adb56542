#!/usr/bin/env bash
# Builds the two receivers that the interoperability test sends to: an OpenTelemetry Collector and
# VictoriaMetrics, from Go modules whose versions and digests stand in go.mod and go.sum.
#
#   tests/interop/build.sh        prints the folder that holds both programs
#
# Needs Go (1.25 or newer) and the Go module proxy. Nothing is built inside the repository: the programs go to
# $WHIMBREL_INTEROP_CACHE, by default ${XDG_CACHE_HOME:-~/.cache}/whimbrel-interop, and stay there.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${WHIMBREL_INTEROP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/whimbrel-interop}
mkdir -p "$cache"

# $1: folder of the module; $2: package; $3: program. Built anew only where go.mod, go.sum or a source changed.
build() {
    local stamp
    stamp=$(cd "$here/$1" && find . -type f | sort | xargs sha256sum | sha256sum | cut -d' ' -f1)
    if [[ -x $cache/$3 && $(cat "$cache/$3.stamp" 2>/dev/null) == "$stamp" ]]; then
        return
    fi
    echo "building $3" >&2
    (cd "$here/$1" && CGO_ENABLED=0 go build -mod=readonly -trimpath -o "$cache/$3" "$2") >&2
    echo "$stamp" >"$cache/$3.stamp"
}

build collector . otelcol-interop
build victoria-metrics github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics victoria-metrics
echo "$cache"
