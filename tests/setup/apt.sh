# Sourced by the other set-up scripts: runs apt-get as root, and says what is wrong if it cannot.

apt_get() {
    local as_root=()
    if ! command -v apt-get >/dev/null; then
        echo "set-up: this is not Debian: install the packages above by hand" >&2
        return 1
    fi
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null; then
            echo "set-up: not root and no sudo: cannot install the packages above" >&2
            return 1
        fi
        as_root=(sudo)
    fi
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive ${APT_CONFIG:+APT_CONFIG="$APT_CONFIG"} \
        apt-get -q -y "$@"
}
