# shellcheck shell=bash
# What `deps`, `guest` and `lab` share: where prepared files live, how they appear there, and how the scripts speak.
# To be sourced. Everything is prepared outside the source tree, in one directory that can be deleted at any time.

set -euo pipefail
export LC_ALL=C
umask 022

lab_directory=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$lab_directory/../.." && pwd)
cache=${SWVMM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/swvmm}
program=${0##*/}
quiet=${SWVMM_LAB_QUIET:-}

# System tools stand in sbin, which is not on every user's path.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

say() { [[ -n $quiet ]] || printf '%s: %s\n' "$program" "$*" >&2; }

fail() {
  printf '%s: %s\n' "$program" "$*" >&2
  exit 1
}

# make_cache — creates the cache directory or says why it cannot.
make_cache() {
  [[ $cache == /* ]] || fail "the cache directory '$cache' must be an absolute path (SWVMM_CACHE, XDG_CACHE_HOME)"
  mkdir -p "$cache" 2>/dev/null || fail "cannot create the cache directory $cache (set SWVMM_CACHE to one that can be written)"
}

# prepared TARGET KEY — true when TARGET was made from inputs with this KEY.
prepared() {
  [[ -e $1 && -e $1.key && $(<"$1.key") == "$2" ]]
}

# prepare TARGET KEY FUNCTION ARGUMENTS… — unless it is there already, lets FUNCTION make TARGET: it is called with a path beside
# TARGET and the ARGUMENTS, and what it leaves there takes TARGET's place in one step. Concurrent callers wait for the first.
prepare() {
  local target=$1 key=$2 make=$3
  shift 3
  prepared "$target" "$key" && return
  make_cache
  mkdir -p "$(dirname "$target")"
  # In a subshell, with which the lock ends.
  (
    exec {lock}>"$target.lock"
    flock "$lock"
    prepared "$target" "$key" && exit
    scratch=$(mktemp -d "$target.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    "$make" "$scratch/made" "$@"
    rm -f "$target.key"
    [[ ! -d $target ]] || rm -rf "$target"
    mv -T "$scratch/made" "$target"
    printf '%s' "$key" >"$target.key"
  )
}

# digest FILES… — one short word that changes with their contents.
digest() { cat -- "$@" | sha256sum | cut -c1-16; }
