# The part of tests/bench with every service on its own, and with a Docker engine: sourced by it, for its functions.
# shellcheck shell=bash

services=(scheduler dumper volume-snapshotter encryptor verifier syncer janitor)
pids=()
engine=

# end_deployment: ends what was started here, by its process ids.
end_deployment() {
    local pid
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    pids=()
    if [[ -n $engine ]]; then
        # With its standard input it ends, and all in it.
        exec 8>&-
        wait "$engine_pid" 2>/dev/null || true
        rm -rf -- "$engine" "$scratch/engine"
        engine=
    fi
}

# start_nats NAME: a server whose URL is then in $nats_url.
start_nats() {
    local nats_port
    nats_port=$(free_port)
    printf 'listen: "127.0.0.1:%s"\njetstream { store_dir: "%s", sync_interval: always }\n' "$nats_port" "$scratch/$1-nats" >"$scratch/$1.conf"
    "$HOLDFAST__NATS__SERVER_BINARY" -c "$scratch/$1.conf" 2>"$scratch/$1-nats.log" &
    pids+=($!)
    nats_url=nats://127.0.0.1:$nats_port
}

# start_service DEPLOYMENT SERVICE: a process of its own; it is up when its /healthz says so.
start_service() {
    local health status
    health=$(free_port)
    env -C "$scratch/$1" HOLDFAST__NATS__URL="$nats_url" HOLDFAST__TELEMETRY__LISTEN="127.0.0.1:$health" \
        "$target/release/holdfast-$2" --config holdfast.toml >>"$scratch/$1.log" 2>&1 &
    pids+=($!)
    for _ in {1..300}; do
        status=
        if { exec 3<>"/dev/tcp/127.0.0.1/$health"; } 2>/dev/null; then
            printf 'GET /healthz HTTP/1.0\r\n\r\n' >&3
            read -r _ status _ <&3 || true
            exec 3>&-
        fi
        [[ $status != 200 ]] || return 0
        kill -0 "${pids[-1]}" 2>/dev/null || break
        sleep 0.1
    done
    tail -n 20 "$scratch/$1.log" >&2
    echo "bench: holdfast-$2 did not start" >&2
    return 1
}

# used PID...: nanoseconds of processor time of the threads that live, and KiB of memory that is theirs alone or shared in parts.
used() {
    local pid time=0 memory=0
    for pid in "$@"; do
        time=$((time + $(cat /proc/"$pid"/task/*/schedstat | awk '{ sum += $1 } END { printf "%.0f", sum }')))
        memory=$((memory + $(awk '/^Pss:/ { print $2 }' "/proc/$pid/smaps_rollup")))
    done
    echo "$time $memory"
}

start_engine() {
    # Its socket's path must be short; its volumes lie on the disk that is measured.
    engine=$(mktemp -d /tmp/hf-docker-XXXXXX)
    mkdir "$scratch/engine"
    ln -s "$scratch/engine" "$engine/data"
    mkfifo "$engine/commands"
    unshare --pid --mount --net --fork --kill-child tests/tools/docker-engine "$engine" private <"$engine/commands" &
    engine_pid=$!
    exec 8>"$engine/commands"
    echo start >&8
    for _ in {1..300}; do
        docker_here version >/dev/null 2>&1 && break
        sleep 0.2
    done
    mkdir -p "$engine/image/bin"
    cp /bin/busybox "$engine/image/bin/busybox"
    ln -s busybox "$engine/image/bin/sh"
    ln -s busybox "$engine/image/bin/sleep"
    tar -C "$engine/image" -c . | docker_here import - bench:base >/dev/null
}
docker_here() { DOCKER_HOST=unix://$engine/s docker "$@"; }

# down_time CONTAINER: seconds from its last end to its last start.
down_time() {
    docker_here inspect --format '{{.State.FinishedAt}} {{.State.StartedAt}}' "$1" | python3 -c '
import datetime, sys
ended, started = (datetime.datetime.fromisoformat(text[:26].rstrip("Z") + "+00:00") for text in sys.stdin.read().split())
print(f"{(started - ended).total_seconds():.2f}")'
}

# --- every service on its own -----------------------------------------------------------------------------------------

say "every service on its own"
"$make_tree" "$scratch/half" "$((files / 4))" "$((bytes / 2))" 4
start_nats own
deployment own <<TOML

[[directory]]
name = "tree"
path = "$scratch/half"
TOML
for service in "${services[@]}"; do start_service own "$service"; done
of_services=("${pids[@]:1}")
say "idle for two minutes, after a first one in which readers of the queue may still be in a hurry"
sleep 70
read -r before _ < <(used "${of_services[@]}")
sleep 120
read -r after memory < <(used "${of_services[@]}")
row "idle: memory of all services" 150 "$(mebibytes $((memory * 1024)))" - MiB
row "idle: of one processor" 1 "$(awk -v time=$((after - before)) 'BEGIN { print time / 120e9 * 100 }')" - %
export HOLDFAST__NATS__URL=$nats_url
run_tree() { measure_in own run --source tree --fresh; }
run_tree
run_tree
one=$seconds
start_service own encryptor
run_tree
run_tree
row "a second encryptor" 1.05 "$seconds" "$one" s
unset HOLDFAST__NATS__URL
end_deployment
rm -rf "$scratch/own" "$scratch/own-nats" "$scratch/half"

# --- a container that stops while its volume is read ------------------------------------------------------------------

say "a container that stops while its volume of $files files is read"
start_engine
deployment containers <<TOML

[docker]
host = "unix://$engine/s"
databases = false
TOML
docker_here volume create files >/dev/null
volume=$engine/data/volumes/files/_data
"$make_tree" "$volume/tree" "$files" "$((bytes / 4))" 5
docker_here run --detach --name app --label holdfast.mode=stop --volume files:/files bench:base \
    sh -c 'trap "exit 0" TERM; while :; do sleep 1000 & wait $!; done' >/dev/null
measure sh -c "tar -C $volume -cf - . | cat >/dev/null"
measure sh -c "tar -C $volume -cf - . | cat >/dev/null"
base=$seconds
measure_in containers run --source docker
row "down-time of a container: first capture" 1.2 "$(down_time app)" "$base" s
measure_in containers run --source docker
row "down-time of a container: nothing changed" 5 "$(down_time app)" - s
docker_here stop app >/dev/null
docker_here start app >/dev/null
row "of that, the engine's own stop and start" 5 "$(down_time app)" - s
docker_here rm --force app >/dev/null
end_deployment
rm -rf "$scratch/containers"
