#!/bin/sh
# Makes .venv: a Python that Paddle 1.8.5 has wheels for, and the pinned requirements. `make setup` runs this.
#
#   PYTHON=/path/to/python3.8   use this Python, not the first that is found
#   GPU=1                       install Paddle's GPU wheel; GPU=0: the CPU wheel again; default: the one that .venv has
#
# A complete and current .venv is kept. Any other is made anew, because pip takes a package whose installation was
# interrupted for an installed one.
set -eu
cd -- "$(dirname -- "$0")"

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 2
}

# Prints the path of the base Python behind "$1". Fails unless it is a 3.7 or 3.8 that starts and has venv and
# ensurepip: a pyenv shim may exist and not start, and Debian's python3 lacks ensurepip. It must be the base Python,
# because that of an activated .venv would be removed with it.
real_python() {
    "$1" -c '
import os, sys, venv, ensurepip
if sys.version_info[:2] not in ((3, 7), (3, 8)):
    sys.exit(1)
print(os.path.join(sys.base_prefix, "bin", "python%d.%d" % sys.version_info[:2]))' </dev/null 2>/dev/null
}

# Prints paths where a Python may be, one on each line, the most likely first. Some do not exist.
list_pythons() {
    (IFS=:; for folder in $PATH; do
        printf '%s\n' "$folder/python3.7" "$folder/python3.8" "$folder/python3"
    done)
    printf '%s\n' "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/3.[78].*/bin/python
    # Only the Pythons that uv installed itself: searching others, uv gives up at the first shim that fails.
    for version in 3.7 3.8; do
        UV_PYTHON_PREFERENCE=only-managed uv python find --system --no-project "$version" 2>/dev/null || true
    done
    conda env list 2>/dev/null | sed -n 's|^[^#/]*\(/.*\)|\1/bin/python|p'
}

find_python() {
    list_pythons | while IFS= read -r candidate; do
        if real_python "$candidate"; then
            cat >/dev/null  # Read to the end, or list_pythons would complain about a broken pipe.
        fi
    done
}

download_python() {
    if command -v uv >/dev/null; then
        echo 'found no Python 3.7 or 3.8: getting 3.8 with uv' >&2
        UV_PYTHON_INSTALL_BIN=0 uv python install 3.8 >&2 || true
    elif command -v conda >/dev/null; then
        echo 'found no Python 3.7 or 3.8: getting 3.8 with conda, as the environment python3.8' >&2
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
    [ -n "$found" ] || fail "Paddle 1.8.5 needs a Python 3.7 or 3.8 with venv, and none that starts was found; get one with \
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
    *) fail "GPU=$GPU: use GPU=1 for Paddle's GPU wheel, GPU=0 for the CPU wheel" ;;
esac
wanted=$(cksum requirements.txt requirements-dev.txt requirements-visualdl.txt requirements-notebook.txt \
    requirements-onnx.txt "$wheel")

if ! is_up_to_date; then
    python=$(choose_python)
    printf 'making .venv with %s (%s) and %s\n' "$python" "$("$python" --version 2>&1)" "$wheel"
    rm -f .venv/requirements
    "$python" -m venv --clear .venv
    export PIP_DISABLE_PIP_VERSION_CHECK=1
    # The pip of an early Python 3.7 or 3.8 cannot install today's wheels.
    .venv/bin/python -m pip install --quiet pip==24.0
    .venv/bin/python -m pip install -r "$wheel" -r requirements-dev.txt
    printf '%s\n' "$wanted" >.venv/requirements
fi

# A step of its own, so that after a missing system library is installed, nothing else is installed again.
if [ ! -e .venv/imports ]; then
    .venv/bin/python -c 'import cli.paddle_setup'
    : >.venv/imports
fi
