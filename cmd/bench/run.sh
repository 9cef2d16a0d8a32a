#!/bin/bash
# Measures a fresh dev cluster of three datacenters on this machine: puts under each policy, then gets.
#   cmd/bench/run.sh [DURATION of each measurement] [flags of geogate dev, such as --rtt 60ms]
# CLIENTS=256 and VALUE_BYTES=1024 change the load. Needs bin/geogate.
set -euo pipefail
duration=${1:-20s}
shift || true
geogate=$(cd "$(dirname "$0")/../.." && pwd)/bin/geogate
port=${BASE_PORT:-26000}

dir=$(mktemp -d)
"$geogate" dev --dir "$dir" --base-port "$port" "$@" >"$dir/out" 2>"$dir/err" &
dev=$!
trap 'kill -INT $dev 2>/dev/null || true; wait $dev 2>/dev/null || true; rm -rf "$dir"' EXIT
for ((i = 0; i < 600; i++)); do
	grep -qx ready "$dir/out" && break
	kill -0 $dev 2>/dev/null || { cat "$dir/err" >&2; exit 1; }
	sleep 0.1
done
grep -qx ready "$dir/out" || { echo "dev was not ready within a minute" >&2; cat "$dir/err" >&2; exit 1; }

common=(--endpoints "127.0.0.1:$port" --clients "${CLIENTS:-64}" --value-bytes "${VALUE_BYTES:-256}" --duration "$duration")
for policy in ASYNC ANY QUORUM ALL; do
	echo "put, $policy"
	"$geogate" bench put "${common[@]}" --policy "$policy"
done
echo "get, linearizable"
"$geogate" bench get "${common[@]}"
echo "get, serializable"
"$geogate" bench get "${common[@]}" --serializable
