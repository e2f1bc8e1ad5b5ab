# Programs of the system. Sourced after common.sh.
# shellcheck shell=bash

# ready_programs PROGRAM=PACKAGE...: found, or installed by apt-get when root, else named.
ready_programs() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    ((${#missing[@]})) || return 0
    if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
        say "installing ${missing[*]} by apt-get"
        apt-get update -qq >&2 &&
            DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >&2 &&
            return
    fi
    say "not installed: ${missing[*]}. The tests that need them are skipped; to run them: apt-get install ${missing[*]}"
}
