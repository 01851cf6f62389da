#!/usr/bin/env bash
# Makes one backup of this folder with a real etcd: make.sh ETCD ETCDCTL ETCDUTL NAME [auth]
# See README.md. Listens on 127.0.0.1:42379 and 42380.
set -euo pipefail
etcd=$1 ctl=$2 utl=$3 name=$4 auth=${5:-}
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap 'kill $pid 2>/dev/null; wait; rm -rf "$dir"' EXIT
user=

start() {
	"$etcd" --name source --data-dir "$dir/data" --listen-client-urls http://127.0.0.1:42379 \
		--advertise-client-urls http://127.0.0.1:42379 --listen-peer-urls http://127.0.0.1:42380 \
		--initial-advertise-peer-urls http://127.0.0.1:42380 --initial-cluster source=http://127.0.0.1:42380 \
		"$@" 2>"$dir/log" &
	pid=$!
	until e endpoint health >/dev/null 2>&1; do sleep 0.1; done
}
e() { "$ctl" --endpoints 127.0.0.1:42379 $user "$@"; }

start
for i in $(seq 1 40); do e put "key/$((i % 10))" "value $i" >/dev/null; done
e del key/3 >/dev/null
e put key/4 again >/dev/null
printf 'mod("key/4") > "0"\n\nput a 1\nput b 2\ndel key/5\n\n\n' | e txn >/dev/null
e compaction --physical 30 >/dev/null
for ttl in 3600 7200 86400; do
	lease=$(e lease grant $ttl | awk '{print $2}')
	e put --lease="$lease" "leased/$ttl" "$ttl" >/dev/null
done
e lease grant 600 >/dev/null
e del leased/7200 >/dev/null
e put "$(printf 'bytes\xff\x01')" "$(printf '\xfe\xfd')" >/dev/null
e put key/3 back >/dev/null
e role add reader >/dev/null
e role grant-permission reader read --prefix=true key/ >/dev/null
e user add root:rootpw >/dev/null
e user grant-role root root >/dev/null
e user add alice:alicepw >/dev/null
e user grant-role alice reader >/dev/null
if [ "$auth" = auth ]; then
	e auth enable >/dev/null
	user=--user=root:rootpw
	kill $pid; wait $pid || true
	start --quota-backend-bytes 1
	e put refused x >/dev/null 2>&1 || true # raises NOSPACE
	e alarm list
fi
e snapshot save "$dir/db" 2>/dev/null >/dev/null
kill $pid; wait $pid || true

gzip -9nc "$dir/db" >"$here/$name.db.gz"
head -c $(($(stat -c %s "$dir/db") - 32)) "$dir/db" >"$dir/plain"
revision=$("$utl" snapshot status "$dir/db" -w json | sed 's/.*"revision":\([0-9]*\).*/\1/')
{
	for rev in $(seq 30 "$revision"); do
		cp "$dir/plain" "$dir/copy"
		"$utl" hashkv "$dir/copy" --rev "$rev" -w json
	done
} >"$here/$name.hashes"
"$utl" snapshot status "$dir/db" -w json >"$here/$name.status"
