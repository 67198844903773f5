#!/bin/sh
# Makes .venv: a Python that Paddle 1.8.5 has wheels for, and the pinned requirements. `make setup` runs this.
#
#   PYTHON=/path/to/python3.8   the Python to use, in place of the first that is found
#   GPU=1                       Paddle's GPU wheel; GPU=0 the CPU wheel again; without either, what .venv has
#
# A .venv that is whole and up to date is left as it is. Any other is made anew, because pip takes a package
# whose installation was interrupted for an installed one.
set -eu
cd -- "$(dirname -- "$0")"

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 2
}

# The path of the Python that "$1" leads to, where that is a 3.7 or 3.8 which starts and has venv: a pyenv shim may
# be there and not start, Debian's python3 comes without ensurepip, and the Python of an activated .venv would go
# away with it.
real_python() {
    "$1" -c '
import os, sys, venv, ensurepip
if sys.version_info[:2] not in ((3, 7), (3, 8)):
    sys.exit(1)
print(os.path.join(sys.base_prefix, "bin", "python%d.%d" % sys.version_info[:2]))' </dev/null 2>/dev/null
}

# Paths where a Python may be, one a line, most likely first; some lead nowhere.
list_pythons() {
    (IFS=:; for folder in $PATH; do
        printf '%s\n' "$folder/python3.7" "$folder/python3.8" "$folder/python3"
    done)
    printf '%s\n' "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/3.[78].*/bin/python
    # Of uv its own Pythons alone: it gives up at the first shim that fails.
    for version in 3.7 3.8; do
        UV_PYTHON_PREFERENCE=only-managed uv python find --system --no-project "$version" 2>/dev/null || true
    done
    conda env list 2>/dev/null | sed -n 's|^[^#/]*\(/.*\)|\1/bin/python|p'
}

find_python() {
    list_pythons | while IFS= read -r candidate; do
        if real_python "$candidate"; then
            cat >/dev/null  # Read to the end: what still writes into the pipe would complain.
        fi
    done
}

download_python() {
    if command -v uv >/dev/null; then
        echo 'no Python 3.7 or 3.8 here: getting 3.8 with uv' >&2
        UV_PYTHON_INSTALL_BIN=0 uv python install 3.8 >&2 || true
    elif command -v conda >/dev/null; then
        echo 'no Python 3.7 or 3.8 here: getting 3.8 with conda, as the environment python3.8' >&2
        conda create --yes --quiet --name python3.8 python=3.8 >&2 || true
    fi
}

choose_python() {
    if [ -n "${PYTHON:-}" ]; then
        real_python "$PYTHON" || fail "PYTHON=$PYTHON is not a Python 3.7 or 3.8 that starts and has venv and ensurepip"
        return
    fi
    found=$(find_python)
    [ -n "$found" ] || { download_python; found=$(find_python); }
    [ -n "$found" ] || fail "Paddle 1.8.5 needs a Python 3.7 or 3.8 with venv, and none that starts is here; get one with \
pyenv install 3.8, uv python install 3.8 or conda create -n python3.8 python=3.8, or name yours: \
make setup PYTHON=/path/to/python3.8"
    printf '%s\n' "$found"
}

is_up_to_date() {
    [ "$(cat .venv/requirements 2>/dev/null)" = "$wanted" ] && made_from=$(real_python .venv/bin/python) &&
        { [ -z "${PYTHON:-}" ] || [ "$made_from" = "$(real_python "$PYTHON")" ]; }
}

wheel=requirements.txt
case "${GPU:-}" in
    '') if grep -qs requirements-gpu.txt .venv/requirements; then wheel=requirements-gpu.txt; fi ;;
    1) wheel=requirements-gpu.txt ;;
    0) ;;
    *) fail "GPU=$GPU: say GPU=1 for Paddle's GPU wheel, GPU=0 for the CPU wheel" ;;
esac
wanted=$(cksum requirements.txt requirements-dev.txt requirements-visualdl.txt requirements-notebook.txt "$wheel")

if ! is_up_to_date; then
    python=$(choose_python)
    printf 'making .venv with %s (%s) and %s\n' "$python" "$("$python" --version 2>&1)" "$wheel"
    rm -f .venv/requirements
    "$python" -m venv --clear .venv
    export PIP_DISABLE_PIP_VERSION_CHECK=1
    # The pip that comes with an early 3.7 or 3.8 does not know today's wheels.
    .venv/bin/python -m pip install --quiet pip==24.0
    .venv/bin/python -m pip install -r "$wheel" -r requirements-dev.txt
    printf '%s\n' "$wanted" >.venv/requirements
fi

# Apart from the above, so that a missing system library does not cost another installation.
if [ ! -e .venv/imports ]; then
    .venv/bin/python -c 'import cli.paddle_setup'
    : >.venv/imports
fi
