#!/bin/sh
# Fills a folder with the wheels that perf/gpu.sh installs from, on a machine with a package index:
#     sh perf/gpu-wheels.sh [FOLDER] [PYTHON VERSION] [HAS]
# (perf/wheels and 3.12 if not given). The folder is carried to the GPU machine, beside this repository. HAS is a file with
# what `pip list --format freeze` prints there, or with names alone, a line each: no wheels are kept of these.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/wheels} version=${2:-3.12}
grep -v '^\(ray\|torch\)==' "$here/../constraints.txt" >"$here/../.gpu-constraints.txt"
"${PYTHON:-python3}" -m pip download --quiet --disable-pip-version-check --only-binary=:all: \
    --python-version "$version" --implementation cp --abi "cp$(echo "$version" | tr -d .)" --abi abi3 --abi none \
    --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux_2_27_x86_64 \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_34_x86_64 \
    --dest "$folder" --requirement "$here/gpu-requirements.txt" --constraint "$here/../.gpu-constraints.txt"
rm "$here/../.gpu-constraints.txt"
for name in $(sed 's/[=@ ].*//; s/[-.]/_/g' "${3:-/dev/null}" | tr '[:upper:]' '[:lower:]'); do
    find "$folder" -iname "$name-[0-9]*.whl" -delete
done
echo "$(ls "$folder" | wc -l) wheels for Python $version in $folder ($(du -sh "$folder" | cut -f1))"
