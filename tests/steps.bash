# Steps of checks, and what they are compiled with: sourced by tests/quick and tests/run, not run. Needs $me, the name to say at
# the end.
# shellcheck shell=bash

current=
timings=()

took() { # took SECONDS NAME
    timings+=("$(printf '%5d s  %s' "$1" "$2")")
}

step() { # step NAME COMMAND...
    current=$1
    shift
    local start=$SECONDS
    printf '\n=== %s\n    $ %s\n' "$current" "$*"
    "$@"
    took $((SECONDS - start)) "$current"
    current=
}

finish() {
    local status=$?
    trap - EXIT
    stop_lanes
    printf '\n=== Time taken\n'
    ((${#timings[@]} == 0)) || printf '%s\n' "${timings[@]}"
    if ((status == 0)); then
        printf '%s: all good, in %d min %d s\n' "${me:?}" $((SECONDS / 60)) $((SECONDS % 60))
    else
        printf '%s: FAILED at: %s (after %d min %d s)\n' "$me" "${current:-the beginning}" $((SECONDS / 60)) $((SECONDS % 60))
    fi
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --- steps side by side -----------------------------------------------------------------------------------------------

lanes=
pids=()
names=()

# beside NAME COMMAND...: begins a step beside the others. Its output is kept until it ends.
beside() {
    local name=$1 number=${#pids[@]}
    shift
    [[ -n $lanes ]] || lanes=$(mktemp -d)
    printf '\n=== %s (begun, beside others)\n    $ %s\n' "$name" "$*"
    # A session of its own, so that it can be ended with all that it started.
    setsid bash -c 'SECONDS=0; "$@"; code=$?; echo "$code $SECONDS" >"$0.code"; exit "$code"' \
        "$lanes/$number" "$@" >"$lanes/$number" 2>&1 </dev/null &
    pids+=("$!")
    names+=("$name")
}

# together: waits for all steps that were begun. Each one's output is shown whole when it ends, that of failed ones once more
# at the end; fails if one failed.
together() {
    local left=${#pids[@]} failed=() ended number code seconds
    while ((left > 0)); do
        ended=
        wait -n -p ended "${pids[@]}" || true
        for number in "${!pids[@]}"; do
            [[ ${pids[number]} == "$ended" ]] || continue
            code=1 seconds=0
            read -r code seconds <"$lanes/$number.code" || true
            printf '\n=== %s\n' "${names[number]}"
            cat "$lanes/$number"
            took "$seconds" "${names[number]} (beside others)"
            ((code == 0)) || failed+=("$number")
            unset "pids[number]"
            left=$((left - 1))
        done
    done
    current=
    for number in "${failed[@]}"; do
        printf '\n=== Once more, since it failed: %s\n' "${names[number]}"
        cat "$lanes/$number"
        current=${current:+$current, }${names[number]}
    done
    rm -rf -- "$lanes"
    lanes='' pids=() names=()
    ((${#failed[@]} == 0))
}

# Ends what still runs, when one is told to end.
stop_lanes() {
    local pid
    for pid in "${pids[@]}"; do
        kill -TERM -- "-$pid" 2>/dev/null || true
    done
    [[ -z $lanes ]] || rm -rf -- "$lanes"
}

# --- one compilation for lints, tests and documentation ---------------------------------------------------------------

# `cargo clippy` compiles everything a second time, without making programs. Clippy's compiler makes them just as well: it lints
# what it compiles. These two variables are what `cargo clippy -- -D warnings` sets.
export RUSTC_WORKSPACE_WRAPPER=clippy-driver
export CLIPPY_ARGS='-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__'
# And `cargo doc` checks every dependency anew: this one documents a library where `cargo test` tries its examples.
RUSTDOC=$PWD/tests/tools/rustdoc
export RUSTDOC
