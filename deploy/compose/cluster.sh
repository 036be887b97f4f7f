#!/usr/bin/env bash
# Starts a whole fleet on this machine: one ingest, two transcoders, three relays and four edges in three regions, each
# a process of its own on loopback addresses. Ctrl-C ends them all. Logs and data go to the directory given, or to
# ./data/cluster. BANYAN names the binary (bin/banyan, which `make build` leaves), BASE the port below those that the nodes
# take, a hundred each (20000).
set -euo pipefail

banyan=${BANYAN:-bin/banyan}
base=${BASE:-20000}
dir=${1:-./data/cluster}
command -v "$banyan" >/dev/null || { echo "$banyan is not there: run \`make build\` first, or set BANYAN" >&2; exit 1; }
mkdir -p "$dir"
umask 077
[ -s "$dir/key" ] || od -An -tx1 -N32 /dev/urandom | tr -d ' \n' >"$dir/key"
unset BANYAN_CLUSTER_KEY # it would be in the way of the file

pids=()
stop() {
  trap - EXIT INT TERM
  [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
  wait
}
trap stop EXIT
trap 'exit 0' INT TERM

# node NAME ROLES REGION NUMBER [FLAG…]: each has a hundred ports of its own.
node() {
  local name=$1 roles=$2 region=$3 port=$((base + 100 * $4))
  shift 4
  "$banyan" serve --node.name "$name" --roles "$roles" --node.region "$region" --data.dir "$dir/$name" \
    --http.addr "127.0.0.1:$port" --rtc.addr "127.0.0.1:$((port + 1))" --rtc.loopback --rtsp.addr "127.0.0.1:$((port + 2))" \
    --rtsp.udp_addr "127.0.0.1:$((port + 4))" --admin.addr "127.0.0.1:$((port + 6))" \
    --cluster.addr "127.0.0.1:$((port + 7))" --cluster.join "127.0.0.1:$((base + 107))" --cluster.key_file "$dir/key" --link.addr "127.0.0.1:$((port + 8))" "$@" \
    >"$dir/$name.log" 2>&1 &
  pids+=($!)
}

node ingest1 ingest eu 1
node worker1 transcoder eu 2
node worker2 transcoder us 3
node relay-eu relay eu 4
node relay-us relay us 5
node relay-asia relay asia 6
node edge-eu1 edge eu 7
node edge-eu2 edge eu 8
node edge-us edge us 9
node edge-asia edge asia 10

for number in 1 2 3 4 5 6 7 8 9 10; do
  port=$((base + 100 * number))
  for _ in $(seq 100); do
    if curl -fsS -o /dev/null "http://127.0.0.1:$port/readyz" 2>/dev/null; then continue 2; fi
    sleep 0.1
  done
  echo "the node on port $port did not start: see $dir/*.log" >&2
  exit 1
done

mint=$(printf '%q ' "$banyan" token --data.dir "$dir/ingest1" --cluster.key_file "$dir/key") # as one would paste it
token=$("$banyan" token --data.dir "$dir/ingest1" --cluster.key_file "$dir/key" --publish '**')
cat <<TEXT
Ten nodes run; their logs are in $dir. Publish a picture, for example by
  ffmpeg -re -f lavfi -i testsrc2=size=1280x720:rate=30 -re -f lavfi -i sine=frequency=440 -c:v libx264 -preset veryfast \\
    -tune zerolatency -bf 0 -g 60 -pix_fmt yuv420p -c:a aac -f rtsp -rtsp_transport tcp "rtsp://127.0.0.1:$((base + 102))/cup/cam1?token=$token"
and watch it at any edge:
  http://127.0.0.1:$((base + 700))/watch/cup/cam1   eu
  http://127.0.0.1:$((base + 900))/watch/cup/cam1   us
  http://127.0.0.1:$((base + 1000))/watch/cup/cam1   asia
See the tree of nodes at http://127.0.0.1:$((base + 700))/ops, with the token of
  $mint--api
End a node by kill -9 and see that viewers go on. Ctrl-C ends all.
TEXT
exec 3>&2 2>/dev/null # where bash would tell, a line as long as the command, of each node that was killed
wait -n || true
echo "a node ended; the others go on. Ctrl-C ends them." >&3
wait
