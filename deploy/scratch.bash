# Scratch PostgreSQL clusters for scripts: sourced by deploy/quickstart and tests/bench, not run. Needs $scratch, a folder.
# shellcheck shell=bash

pg_bin=/usr/lib/postgresql/15/bin
export PGUSER=postgres PGHOST=127.0.0.1
PGPASSWORD=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
export PGPASSWORD
servers=()

# Everyone may pass through, since PostgreSQL runs as another user; what is inside has modes of its own.
chmod 755 "${scratch:?}"

# PostgreSQL refuses to run as root. It runs as an unprivileged user: this one, or else the package's.
unprivileged() {
    if ((EUID == 0)); then
        exec setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@"
    fi
    exec "$@"
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# start_cluster NAME: makes a cluster of that name in the scratch folder and starts it; its port is then in $port.
start_cluster() {
    local dir=$scratch/$1
    mkdir "$dir"
    printf '%s\n' "$PGPASSWORD" >"$dir/password"
    ((EUID != 0)) || chown -R postgres:postgres "$dir"
    (cd "$dir" && unprivileged "$pg_bin/initdb" --pgdata=data --username=postgres --pwfile=password \
        --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 --no-sync) >"$scratch/$1.log"
    port=$(free_port)
    (cd "$dir" && unprivileged "$pg_bin/postgres" -D data -k "$dir" -p "$port" \
        -c listen_addresses=127.0.0.1 -c fsync=off -c max_wal_size=4GB) >>"$scratch/$1.log" 2>&1 &
    local pid=$!
    servers+=("$pid")
    for _ in {1..150}; do
        "$pg_bin/pg_isready" --quiet --port="$port" && return
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.2
    done
    cat "$scratch/$1.log" >&2
    echo "PostgreSQL did not start" >&2
    return 1
}

# Stops every cluster that was started here, by its process id.
stop_clusters() {
    local pid
    for pid in "${servers[@]}"; do
        # SIGINT is PostgreSQL's fast shutdown; and it is a child of this shell, so the id is still its own.
        kill -INT "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    servers=()
}

# sql PORT DATABASE [OPTION...]: runs what it reads.
sql() {
    local port=$1 database=$2
    shift 2
    PGPORT=$port PGDATABASE=$database "$pg_bin/psql" --no-psqlrc --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1 "$@"
}

# url_of PORT DATABASE: without the password, which is in PGPASSWORD.
url_of() {
    printf 'postgres://postgres@127.0.0.1:%s/%s' "$1" \
        "$(python3 -c 'import sys, urllib.parse; print(urllib.parse.quote(sys.argv[1], safe=""))' "$2")"
}
