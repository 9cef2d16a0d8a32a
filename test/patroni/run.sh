#!/bin/bash
# Runs two PostgreSQL servers under Patroni, with a geogate datacenter of three nodes as its etcd, and goes through
# what may happen to either: switchover, loss of geogate's leader, loss of the primary.
#   sudo test/patroni/run.sh
# Needs root, Linux, bin/geogate, and Debian's packages patroni and postgresql; says NOT RUN without them. Everything
# is in a temporary folder, on loopback, and gone afterwards. BASE_PORT=27000 moves the ports.
set -euo pipefail
geogate=${GEOGATE:-$(cd "$(dirname "$0")/../.." && pwd)/bin/geogate}
base=${BASE_PORT:-27000}
not_run() { echo "NOT RUN: $*" >&2; exit 0; }
[[ $(id -u) == 0 ]] || not_run "needs root, to run PostgreSQL as user postgres"
[[ -x $geogate ]] || not_run "$geogate is not there: run make build"
for tool in patroni patronictl setpriv curl python3; do
	command -v "$tool" >/dev/null || not_run "$tool is not there: apt-get install patroni postgresql curl util-linux"
done
pgbin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
[[ -n $pgbin ]] || not_run "no /usr/lib/postgresql/*/bin: apt-get install postgresql"
id postgres >/dev/null 2>&1 || not_run "no user postgres: apt-get install postgresql"

dir=$(mktemp -d)
chmod 755 "$dir"
declare -A pid=()
alive() { [[ -n ${pid[$1]:-} ]] && kill -0 "${pid[$1]}" 2>/dev/null; }
postmaster() { head -1 "$dir/$1/data/postmaster.pid" 2>/dev/null || true; }
stop_all() {
	local code=$?
	((code == 0)) || tail -n 15 "$dir"/*.log >&2 || true
	for name in pg0 pg1 n0 n1 n2; do
		alive "$name" && kill "${pid[$name]}" 2>/dev/null || true
		[[ -z ${pid[$name]:-} ]] || wait "${pid[$name]}" 2>/dev/null || true
		# When Patroni was killed, nobody stopped its server. The file may name a process of somebody else by now.
		local server
		server=$(postmaster "$name")
		[[ -z $server || $(readlink "/proc/$server/cwd") != "$dir/$name/data" ]] || kill -INT "$server" || true
	done
	rm -rf "$dir"
	exit "$code"
}
trap stop_all EXIT

now() { date +%s%3N; }
begin=$(now)
say() { printf '%6.1f s  %s\n' "$(($(now) - begin))e-3" "$*"; }
# within SECONDS WHAT COMMAND...: until the command succeeds
within() {
	local end=$(($(now) + $1 * 1000)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		(($(now) < end)) || { echo "waited in vain for $what" >&2; return 1; }
		sleep 0.1
	done
}

# --- geogate
start_node() {
	"$geogate" serve --config "$dir/geogate.yaml" --dc dc1 --node "$1" >>"$dir/$1.log" 2>&1 &
	pid[$1]=$!
}
status() { curl -fsS -m 2 "http://127.0.0.1:$((base + 10 * $1 + 2))/v1/status" | python3 -c "import json,sys; print(json.load(sys.stdin)['$2'])"; }
# node_leader is the name of the running node that leads, as another running one knows it.
node_leader() {
	local i name
	for i in 0 1 2; do
		alive "n$i" || continue
		name=$(status "$i" leader 2>/dev/null) || continue
		[[ -n $name ]] && alive "$name" && echo "$name" && return
	done
	return 1
}
(cd "$dir" && "$geogate" config keys dc1 --dir keys >keys.out)
{
	echo "cluster: patroni"
	echo "datacenters:"
	echo "  - name: dc1"
	grep -ho 'public_key: *[A-Z0-9]*' "$dir/keys.out" | head -1 | sed 's/^/    /'
	echo "    key_file: $dir/keys/dc1.seed"
	echo "    nats: {mode: embedded}"
	echo "    nodes:"
	for i in 0 1 2; do
		p=$((base + 10 * i))
		echo "      - {name: n$i, client: \"127.0.0.1:$p\", raft: \"127.0.0.1:$((p + 1))\", admin: \"127.0.0.1:$((p + 2))\", nats: \"127.0.0.1:$((p + 3))\", dir: $dir/n$i}"
	done
} >"$dir/geogate.yaml"
for i in 0 1 2; do start_node "n$i"; done
within 60 "a leader of geogate" node_leader
say "geogate: $("$geogate" version | tail -1), $(node_leader) leads"

# --- PostgreSQL under Patroni
for i in 0 1; do
	mkdir "$dir/pg$i"
	cat >"$dir/pg$i/patroni.yaml" <<YAML
scope: batman
name: pg$i
restapi: {listen: "127.0.0.1:$((base + 100 + i))", connect_address: "127.0.0.1:$((base + 100 + i))"}
etcd3: {hosts: "127.0.0.1:$base,127.0.0.1:$((base + 10)),127.0.0.1:$((base + 20))"}
bootstrap:
  dcs: {ttl: 20, loop_wait: 2, retry_timeout: 5, postgresql: {use_pg_rewind: true}}
  initdb: [{encoding: UTF8}, {locale: C}]
  pg_hba: ["local all all trust", "host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"]
postgresql:
  listen: 127.0.0.1:$((base + 110 + i))
  connect_address: 127.0.0.1:$((base + 110 + i))
  data_dir: $dir/pg$i/data
  bin_dir: $pgbin
  pgpass: $dir/pg$i/pgpass
  authentication: {superuser: {username: postgres, password: s}, replication: {username: replicator, password: r}}
  parameters: {unix_socket_directories: "$dir/pg$i", shared_buffers: 16MB, fsync: "off", wal_log_hints: "on"}
YAML
	chown -R postgres:postgres "$dir/pg$i"
done
start_patroni() {
	setpriv --reuid=postgres --regid=postgres --init-groups --pdeathsig=TERM patroni "$dir/$1/patroni.yaml" >>"$dir/$1.log" 2>&1 &
	pid[$1]=$!
}
rest() { curl -fsS -m 2 "http://127.0.0.1:$((base + 100 + ${1#pg}))/$2"; }
sql() { "$pgbin/psql" -XAtq -h 127.0.0.1 -p $((base + 110 + ${1#pg})) -U postgres -d postgres -c "$2"; }
leads() { rest "$1" primary && [[ $(sql "$1" "select pg_is_in_recovery()") == f ]]; }
follows() { rest "$1" replica && [[ $(sql "$1" "select count(*) from pg_stat_wal_receiver where status = 'streaming'") == 1 ]]; }
listing() { patronictl -c "$dir/pg0/patroni.yaml" list; }
other() { [[ $1 == pg0 ]] && echo pg1 || echo pg0; }
insert() { sql "$1" "insert into t values ($2)"; }

say "$(patroni --version), $("$pgbin/postgres" --version)"
start_patroni pg0
within 90 "pg0 to lead" leads pg0
start_patroni pg1
within 90 "pg1 to follow" follows pg1
sql pg0 "create table t (i int)"
insert pg0 1
say "pg0 leads, pg1 follows"
listing

start=$(now)
patronictl -c "$dir/pg0/patroni.yaml" switchover batman --candidate pg1 --force >"$dir/switchover.out" 2>&1 || { cat "$dir/switchover.out" >&2; exit 1; }
within 60 "pg1 to lead" leads pg1
say "switchover to pg1 took $(($(now) - start)) ms"
within 90 "pg0 to follow" follows pg0
insert pg1 2

victim=$(node_leader)
kill -9 "${pid[$victim]}"
wait "${pid[$victim]}" 2>/dev/null || true
start=$(now)
failed=0
worst=0
# Longer than the ttl: a leader that could not renew its key would be gone by the end.
while (($(now) < start + 30000)); do
	before=$(now)
	leads pg1 >/dev/null 2>&1 && insert pg1 3 || failed=$((failed + 1))
	took=$(($(now) - before))
	((took <= worst)) || worst=$took
	sleep 0.2
done
((failed == 0)) || { echo "after the loss of geogate's leader pg1 did not lead, or took no write, $failed times" >&2; exit 1; }
say "geogate's leader $victim killed, $(node_leader) leads; for 30 s pg1 led and took writes, the slowest after $worst ms"
start_node "$victim"

kill -9 "${pid[pg1]}" "$(postmaster pg1)"
wait "${pid[pg1]}" 2>/dev/null || true
start=$(now)
within 60 "pg0 to lead" leads pg0
say "the primary and its Patroni killed; pg0 leads after $(($(now) - start)) ms (ttl 20 s)"
insert pg0 4
start_patroni pg1
within 90 "pg1 to follow" follows pg1
insert pg0 5
equal() { [[ $(sql pg0 "select count(*), sum(i) from t") == "$(sql pg1 "select count(*), sum(i) from t")" ]]; }
within 10 "both servers to hold the same rows" equal
say "pg1 is back and follows; both hold $(sql pg0 "select count(*) from t") rows"
listing
patronictl -c "$dir/pg0/patroni.yaml" history
say "done"
