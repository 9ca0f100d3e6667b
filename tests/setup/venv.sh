#!/bin/bash
# Makes .venv with isod in it: `venv.sh demo|test`. Quick when pyproject.toml has not changed.
set -euo pipefail

PYTHON=${PYTHON:-python3}
here=$(dirname "$0")
extra=${1:?usage: venv.sh demo|test}
cd "$here/../.."

case $extra in
    demo) what='.[cli]' ;;
    test) what='.[test]' ;;
    *)
        echo "usage: venv.sh demo|test" >&2
        exit 2
        ;;
esac

# What the environment was made from. The test environment is good for the demo too.
key=$({ "$PYTHON" -c 'import sys; print(sys.version, sys.base_prefix)'; pwd; cat pyproject.toml; } |
    sha256sum | cut -d' ' -f1)
made() { [[ -e .venv/made-for-$1 && $(<".venv/made-for-$1") == "$key" ]]; }
if made test || made "$extra"; then
    exit 0
fi

"$here/packages.sh" python
echo "set-up: installing isod and its Python dependencies ($what) into .venv"
# A directory that was moved or made by another Python cannot be mended.
if ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    rm -rf .venv
    "$PYTHON" -m venv .venv
fi
.venv/bin/python -m pip install --disable-pip-version-check -q -e "$what"
echo "$key" >".venv/made-for-$extra"
