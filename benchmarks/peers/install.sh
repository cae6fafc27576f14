#!/bin/sh
# Makes the virtual environments of the peers: install.sh MAIN_PYTHON [FOLDER] [NAME…]. `make bench-peers` calls it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
main=$1
venvs=${2:-$here/../.venvs}
[ $# -gt 2 ] && shift 2 && names="$*" || names="litert openvino tvm executorch"
mkdir -p "$venvs"
echo '*' >"$venvs/.gitignore"
for name in $names; do
  "$main" -m venv --clear "$venvs/$name"
  python=$venvs/$name/bin/python
  if [ "$name" = executorch ]; then
    # torch is large and the same: seen through a path file, not installed again.
    "$main" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
      >"$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/main.pth"
    "$python" -m pip install -q --no-deps -r "$here/requirements-$name.txt"
  else
    "$python" -m pip install -q -r "$here/requirements-$name.txt"
  fi
  echo "$name: $python"
done
