#!/bin/bash
# First in a guest: `enter.sh REPOSITORY PYTHON COMMAND…`. Mounts the host's root a second time,
# with caching, over the folders that programs start from. virtme-ng's own mount asks the host for
# every lookup, which makes each start of Python 5 to 10 times slower; and stock kernels mount it
# from an initial ramdisk where that cannot be changed. What is written is gone with the guest.
set -eu

repository=$1
python=$2
shift 2

lab=/run/isod-lab
mkdir -p $lab/root
# 9pnet_virtio and overlay are there already: the root came by the first, its copies by the second.
mount -t 9p -o ro,version=9p2000.L,trans=virtio,access=any,msize=524288,cache=loose isod.root $lab/root

# over FOLDER: a copy-on-write view of the host's folder.
over() {
    local place
    mountpoint -q "$1" && grep -q " $1 overlay .*lowerdir=$lab/root" /proc/mounts && return
    place=$(mktemp -d $lab/over.XXXX)
    mkdir "$place/upper" "$place/work"
    chmod --reference="$1" "$place/upper"
    mount -t overlay -o "lowerdir=$lab/root$1,upperdir=$place/upper,workdir=$place/work" isod-lab "$1"
}

# A stock kernel's modules are a mount of virtme-ng's below /usr, which the overlay would hide.
modules=/usr/lib/modules
if mountpoint -q $modules; then
    mkdir $lab/modules
    mount --bind $modules $lab/modules
fi
over /usr
if [[ -d $lab/modules ]]; then
    mkdir -p $modules
    mount --move $lab/modules $modules
fi
over "$repository"
# The environment that Python runs from, and the Python that the environment was made from.
for program in "$python" "$(readlink -f "$python")"; do
    folder=$(dirname "$(dirname "$program")")
    [[ $folder/ == /usr/* || $folder/ == "$repository"/* ]] || over "$folder"
done

cd "$repository"
exec "$@"
