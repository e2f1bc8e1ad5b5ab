# Virtual environments, from nothing but bash and python3. Sourced after common.sh.
# shellcheck shell=bash

find_python() {
    local name
    for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$name" && return
    done
    fail "Python 3.11 or newer is needed (set PYTHON to it); found: $(python3 --version 2>&1 || true)"
}

# make_venv FOLDER: an empty environment with pip.
make_venv() {
    "$python" -m venv --clear "$1" || fail "'$python -m venv' fails; on Debian: apt-get install python3-venv"
}

# install_into FOLDER PIP-ARGUMENT...
install_into() {
    local folder=$1 && shift
    "$folder/bin/python" -m pip install -qq --disable-pip-version-check "$@" ||
        fail "no packages for $folder. Offline? Try again with a network, or with PIP_INDEX_URL set to a mirror"
}

# fingerprint FILE...: changes when a file does, or when the clone moves.
fingerprint() {
    "$python" -c 'import hashlib, os, sys; print(hashlib.sha256(repr(
        (os.getcwd(), [open(name, "rb").read() for name in sys.argv[1:]])).encode()).hexdigest())' "$@"
}

# ready_env run|dev: .venv holds the project (editable) and what it needs, for the load generator too; dev adds the tools and serves both.
ready_env() {
    local kind=$1 target='.[load]' now
    now=$(fingerprint pyproject.toml constraints.txt)
    grep -qsx "$now" ".venv/.done-$kind" .venv/.done-dev && return
    [[ $kind == dev ]] && target='.[dev]'
    [[ -x .venv/bin/python ]] || { say "making .venv" && make_venv .venv; }
    say "installing $target into .venv, at the versions of constraints.txt"
    install_into .venv -c constraints.txt -e "$target"
    echo "$now" >".venv/.done-$kind"
}

python=$(find_python)
