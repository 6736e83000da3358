#!/bin/sh
# Install OpenEuroLLM from this folder, without a network.
#   sh install.sh [FOLDER]     makes the virtual environment FOLDER (venv beside this file when not given)
#   PYTHON=/path/to/python sh install.sh     with another python@PYTHON@ than the one that is found
set -eu

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 2
}

case ${1-} in
    -*) fail "usage: sh install.sh [FOLDER]" ;;
    "") venv= ;;
    /*) venv=$1 ;;
    *) venv=$PWD/$1 ;;
esac
cd "$(dirname "$0")"
here=$(pwd)
venv=${venv:-$here/venv}

[ "$(uname -sm)" = "Linux @MACHINE@" ] || fail "this pack is for Linux on @MACHINE@, this is $(uname -sm); pack again for this site"
python=${PYTHON:-}
for name in python@PYTHON@ python3 python; do
    [ -n "$python" ] || python=$(command -v "$name" || true)
done
[ -n "$python" ] || fail "no Python here; load a module with Python @PYTHON@ and run this again"
found=$("$python" -c 'import platform; print(platform.python_version())') || fail "$python does not run"
case $found in
    3.11.[0-4]) fail "$python is $found; before 3.11.5 regular expressions match wrongly (gh-106052), and statements of owners in pages are overlooked" ;;
    @PYTHON@.*) ;;
    *) fail "this pack is for Python @PYTHON@, $python is $found; load a module with it, or name it: PYTHON=... sh install.sh" ;;
esac
libc=$(getconf GNU_LIBC_VERSION 2>/dev/null || echo none)
case $libc in
    "glibc 2."*) [ "${libc#glibc 2.}" -ge @GLIBC@ ] || fail "this pack needs glibc 2.@GLIBC@ or newer, this is $libc; install it in a container" ;;
    *) fail "this pack needs glibc 2.@GLIBC@ or newer, this is $libc; install it in a container" ;;
esac

sha256sum --check --quiet --strict SHA256SUMS || fail "files of this pack are missing or changed; bring them again, or run openeurollm pack again"

"$python" -m venv "$venv" || fail "cannot make a virtual environment in $venv"
"$venv/bin/python" -m pip --isolated --disable-pip-version-check install --quiet --no-index --find-links wheels "openeurollm[all]==@VERSION@" ||
    fail "pip could not install from wheels/; the lines above say why"
printf 'installed; next:\n  "%s" run "%s" --on %s\n' "$venv/bin/openeurollm" "$here/recipe.toml" @SITE@
