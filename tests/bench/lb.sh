#!/usr/bin/env bash
# Throughput and 99th percentile through a balancer, against the same nginx configured by
# hand (twice: what differs between the two is noise) and against haproxy; and how long one
# edit takes with 1, 50 and 500 balancers. On a private host with a libvirtd of its own; the
# target is a namespace that has the address of an instance. Needs root.
#
#   tests/bench/lb.sh [COUNT…]
#
#   KVMCTL_BENCH_IMAGE=FILE   the image (default: the small test guest, built)
#   KVMCTL_BENCH_ROUNDS=N     how often each is measured (5)
#   KVMCTL_BENCH_SECONDS=N    how long one measurement takes (5)
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/bench/lib/bench.sh
. "$HERE/lib/bench.sh"

ROUNDS=${KVMCTL_BENCH_ROUNDS:-5}
SECONDS_EACH=${KVMCTL_BENCH_SECONDS:-5}

outside() {
    [[ $EUID -eq 0 ]] || bench_die "this benchmark needs root" "sudo $0"
    bench_need nginx haproxy wrk curl
    bench_begin
    local image=${KVMCTL_BENCH_IMAGE:-$BENCH_DIR/tiny.qcow2}
    [[ -e $image ]] || "$BENCH_REPO/tests/lib/tiny-image.sh" "$image"
    KVMCTL_BENCH_IMAGE=$image "$BENCH_REPO/tests/lib/private-host.sh" "$BENCH_DIR/host" "$0" --inside "$@"
}

inside() {
    bench_begin
    export HOME=$BENCH_DIR
    mkdir -p /run/netns
    "$KVMCTL" -q setup --yes --no-probe > /dev/null
    "$KVMCTL" -q images import "$KVMCTL_BENCH_IMAGE" --name tiny > /dev/null
    "$KVMCTL" -q instances create web --image tiny --cpus 1 --memory 96Mi --disk 64Mi --no-wait > /dev/null
    virsh -q destroy web 2> /dev/null || true
    target "$("$KVMCTL" get instance web -o 'jsonpath={.status.address}')"
    throughput
    local count
    for count in "$@"; do
        edit "$count"
    done
}

# Usage: target ADDRESS. A machine that answers as the instance would.
target() {
    TARGET=$1
    ip netns add target
    ip link add v-target type veth peer name eth0 netns target
    ip link set v-target up master virbr0
    ip -n target link set lo up
    ip -n target link set eth0 up
    ip -n target addr add "$TARGET/24" dev eth0
    mkdir -p "$BENCH_DIR/target" "$BENCH_DIR/hand"
    cat > "$BENCH_DIR/target/nginx.conf" <<'CONF'
pid target.pid; error_log error.log; worker_rlimit_nofile 16384;
events { worker_connections 8000; }
http { access_log off; keepalive_requests 1000000;
    server { listen 80; location / { return 200 "a short answer of a target\n"; } } }
CONF
    ip netns exec target nginx -p "$BENCH_DIR/target" -c nginx.conf -e error.log
    sed "s/TARGET/$TARGET/" > "$BENCH_DIR/hand/nginx.conf" <<'CONF'
pid hand.pid; error_log error.log; worker_rlimit_nofile 16384; worker_processes auto;
user nobody nogroup;
events { worker_connections 8000; }
http { access_log off; proxy_http_version 1.1;
    upstream web { zone web 64k; server TARGET:80; keepalive 32; }
    server { listen 8081; location / {
        proxy_pass http://web;
        proxy_set_header Host $http_host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header Connection "";
    } } }
CONF
    nginx -p "$BENCH_DIR/hand" -c nginx.conf -e error.log
    cat > "$BENCH_DIR/haproxy.cfg" <<CONF
global
    maxconn 8000
defaults
    mode http
    option forwardfor
    http-reuse always
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend in
    bind :8082
    default_backend web
backend web
    server one $TARGET:80 pool-max-conn 64
CONF
    haproxy -D -f "$BENCH_DIR/haproxy.cfg"
    "$KVMCTL" -q lb create bench --port 8080 --target web:80 > /dev/null
    local port
    for port in 8080 8081 8082; do
        curl -fsS --retry 5 --retry-connrefused "http://127.0.0.1:$port/" > /dev/null || bench_die "nobody answers at $port"
    done
}

throughput() {
    local round results=$BENCH_DIR/wrk.tsv
    : > "$results"
    for ((round = 0; round < ROUNDS; round++)); do
        one "kvmctl's balancer" 8080
        one "nginx by hand" 8081
        one "haproxy" 8082
        one "nginx by hand, again" 8081
    done
    echo "== 64 clients, $ROUNDS rounds of $SECONDS_EACH s in turn"
    printf '%-24s %14s %14s\n' "" "requests/s" "p99/ms"
    local label
    for label in "kvmctl's balancer" "nginx by hand" "nginx by hand, again" haproxy; do
        printf '%-24s %14s %14s\n' "$label" "$(median "$label" 2)" "$(median "$label" 3)"
    done
}

# Usage: one LABEL PORT
one() {
    wrk -t 2 -c 64 -d "${SECONDS_EACH}s" --latency "http://127.0.0.1:$2/" > "$BENCH_DIR/wrk.log"
    if grep -q 'Non-2xx\|Socket errors' "$BENCH_DIR/wrk.log"; then
        cat "$BENCH_DIR/wrk.log" >&2
        bench_die "not all requests of $1 were answered"
    fi
    awk -v label="$1" '
        function ms(text) { return text ~ /us$/ ? text / 1000 : text ~ /ms$/ ? text + 0 : text * 1000 }
        $1 == "99%" { late = ms($2) }
        /^Requests\/sec/ { rate = $2 }
        END { print label "\t" rate "\t" late }' "$BENCH_DIR/wrk.log" >> "$BENCH_DIR/wrk.tsv"
}

# Usage: median LABEL COLUMN
median() {
    awk -F '\t' -v label="$1" -v column="$2" '$1 == label { print $column }' "$BENCH_DIR/wrk.tsv" | middle
}

middle() {
    sort -g | awk '{ all[NR] = $1 } END { print NR % 2 ? all[(NR + 1) / 2] : (all[NR / 2] + all[NR / 2 + 1]) / 2 }'
}

# Usage: edit COUNT. That many balancers in all, and one of them gets another weight.
edit() {
    local at
    for ((at = 2; at <= $1; at++)); do
        balancer "lb-$at" $((20000 + at)) 1
    done > "$BENCH_DIR/all.yaml"
    [[ ! -s $BENCH_DIR/all.yaml ]] || "$KVMCTL" -q apply -f "$BENCH_DIR/all.yaml" > "$BENCH_DIR/apply.log" 2>&1 || {
        tail "$BENCH_DIR/apply.log" >&2
        bench_die "no balancers"
    }
    for ((at = 1; at <= ROUNDS; at++)); do
        balancer bench 8080 $((at % 2 + 2)) > "$BENCH_DIR/one.yaml"
        local begin=${EPOCHREALTIME/./}
        "$KVMCTL" -q apply -f "$BENCH_DIR/one.yaml" > /dev/null
        echo $(((${EPOCHREALTIME/./} - begin) / 1000))
    done > "$BENCH_DIR/edits"
    printf '%-24s %14s\n' "one edit of $1, ms" "$(middle < "$BENCH_DIR/edits")"
}

# Usage: balancer NAME PORT WEIGHT
balancer() {
    printf -- '---\napiVersion: kvmctl/v1\nkind: LoadBalancer\nmetadata: {name: %s}\n' "$1"
    printf 'spec: {port: %s, targets: [{instance: web, port: 80, weight: %s}]}\n' "$2" "$3"
}

if [[ ${1:-} == --inside ]]; then
    shift
    inside "$@"
else
    [[ $# -gt 0 ]] || set -- 1 50 500
    outside "$@"
fi
