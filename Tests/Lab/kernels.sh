# shellcheck shell=bash
# Debian's kernels, whichever Debian this is: `kernel_tree NAME` makes sure that "$cache/kernels/NAME" holds
#   vmlinuz   the bzImage as Debian ships it
#   release   its version (uname -r)
#   lib/modules/RELEASE   its modules, with modules.dep
# To be sourced after common.sh.

# kernel_source NAME — the Debian suite and the package that a kernel comes from.
kernel_source() {
  case $1 in
  6.1-cloud) echo "bookworm linux-image-cloud-amd64" ;;
  6.12) echo "trixie linux-image-amd64" ;;
  *) fail "unknown kernel '$1': 6.1-cloud and 6.12 are known" ;;
  esac
}

# debian_mirror — the URI from which this machine gets its own Debian release.
debian_mirror() {
  local codename uri release component suite
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  while read -r uri release component suite; do
    if [[ $component == main && ($release == "$codename" || $suite == "$codename" || $release =~ ^(old)*stable$) ]]; then
      echo "$uri"
      return
    fi
  done < <(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(CODENAME)' 'Created-By: Packages')
  fail "no apt source for Debian '$codename' main is configured: test kernels come from the mirror that it names"
}

# private_apt SUITE DIRECTORY — writes an apt configuration for that suite alone, which leaves the machine's own apt state as it is.
private_apt() {
  local suite=$1 directory=$2 keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  [[ -e $keyring ]] || fail "$keyring is missing: install debian-archive-keyring"
  mkdir -p "$directory"/{lists,cache,parts}
  echo "deb [arch=amd64 signed-by=$keyring] $(debian_mirror) $suite main" >"$directory/sources.list"
  cat >"$directory/apt.conf" <<END
Dir::Etc::sourcelist "$directory/sources.list";
Dir::Etc::sourceparts "$directory/parts";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "$directory/parts";
Dir::State::lists "$directory/lists";
Dir::Cache "$directory/cache";
APT::Architecture "amd64";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
END
}

# make_kernel_tree TARGET NAME
make_kernel_tree() {
  local target=$1 name=$2 work=$1.work suite package log=$1.log image release
  read -r suite package < <(kernel_source "$name")
  say "fetching kernel $name ($package of Debian $suite) …"
  private_apt "$suite" "$work"
  local apt=(-c "$work/apt.conf")
  image=
  if apt-get "${apt[@]}" -q update >"$log" 2>&1; then
    # The package's name is that of a dependency: the meta package itself holds nothing.
    image=$(apt-cache "${apt[@]}" depends "$package" 2>>"$log" | sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
    [[ -z $image ]] || (cd "$work" && apt-get "${apt[@]}" -q download "$image" >>"$log" 2>&1) || image=
  fi
  if [[ -z $image ]]; then
    tail -n 20 "$log" >&2
    fail "could not download $package of Debian $suite (apt's last words are above)"
  fi
  mkdir -p "$work/root" "$target/lib/modules"
  dpkg-deb -x "$work"/linux-image-*.deb "$work/root"
  release=$(basename "$work"/root/boot/vmlinuz-*)
  release=${release#vmlinuz-}
  mv "$work/root/boot/vmlinuz-$release" "$target/vmlinuz"
  # Since Debian 13 the modules' real place is below usr.
  mv "$work"/root/{usr/,}lib/modules/"$release" "$target/lib/modules/" 2>/dev/null || [[ -d $target/lib/modules/$release ]]
  depmod -b "$target" "$release"
  echo "$release" >"$target/release"
}

kernel_tree() {
  kernel_source "$1" >/dev/null
  prepare "$cache/kernels/$1" 1 make_kernel_tree "$1"
}

# kernel_elf NAME — prints the path of the same kernel's vmlinux.
kernel_elf() {
  kernel_tree "$1"
  prepare "$cache/kernels/$1-elf" "$(kernel_release "$1")" make_elf "$cache/kernels/$1/vmlinuz"
  echo "$cache/kernels/$1-elf"
}

kernel_release() { cat "$cache/kernels/$1/release"; }

# make_elf TARGET VMLINUZ — the ELF vmlinux inside a bzImage: the setup code is followed by the kernel's own loader, which carries the
# payload at the offset and with the length that the boot protocol's header gives (payload_offset at 0x248, payload_length at 0x24c).
make_elf() {
  local target=$1 image=$2 sectors offset length magic
  sectors=$(od -An -tu1 -j $((0x1f1)) -N 1 "$image")
  read -r offset length < <(od -An -tu4 -j $((0x248)) -N 8 "$image")
  offset=$((offset + (sectors + 1) * 512))
  magic=$(od -An -tx1 -j "$offset" -N 4 "$image" | tr -d ' ')
  # The last four bytes are the unpacked size, which most tools would take for garbage.
  payload() { dd if="$image" iflag=skip_bytes,count_bytes skip="$offset" count="$1" bs=1M status=none; }
  case $magic in
  02214c18) payload $((length - 4)) | lz4 -dc >"$target" ;;
  fd377a58) payload $((length - 4)) | xz -dc >"$target" ;;
  28b52ffd) payload $((length - 4)) | zstd -dcq >"$target" ;;
  1f8b*) payload "$length" | gzip -dc >"$target" ;;
  *) fail "$image: its payload has an unknown compression (it begins with $magic)" ;;
  esac
  [[ $(head -c 4 "$target") == $'\x7fELF' ]] || fail "$image: its payload is no ELF file"
}

# copy_modules TREE DESTINATION MODULES… — copies modules and what they depend on, unpacked (unpacking in the guest costs more), and
# prints their paths below DESTINATION in the order to load them. What a kernel has built in, or lacks, is left out.
copy_modules() {
  local tree=$1 destination=$2 release module path file
  shift 2
  release=$(<"$tree/release")
  mkdir -p "$destination/modules"
  for module in "$@"; do
    modprobe -d "$tree" -S "$release" --show-depends "$module" 2>/dev/null || true
  done | sed -n 's/^insmod \([^ ]*\).*$/\1/p' | awk '!seen[$0]++' | while read -r path; do
    file=$(basename "$path")
    case $file in
    *.xz) file=${file%.xz} && xz -dc "$path" >"$destination/modules/$file" ;;
    *.zst) file=${file%.zst} && zstd -dcq "$path" >"$destination/modules/$file" ;;
    *) cp "$path" "$destination/modules/$file" ;;
    esac
    drop_signature "$destination/modules/$file"
    echo "modules/$file"
  done
}

# drop_signature MODULE — checking it would cost an emulated kernel a tenth of a second. It is appended: signature, 12 bytes that end
# in its length (big-endian), and a magic line of 28 bytes.
drop_signature() {
  local bytes
  [[ $(tail -c 28 "$1") == '~Module signature appended~' ]] || return 0
  read -ra bytes < <(tail -c 32 "$1" | od -An -tu1 -N 4)
  truncate -s "-$((40 + bytes[0] * 16777216 + bytes[1] * 65536 + bytes[2] * 256 + bytes[3]))" "$1"
}

# copy_busybox DIRECTORY — busybox and a link for each of its commands.
copy_busybox() {
  local applet
  cp "$(command -v busybox)" "$1/busybox"
  for applet in $(busybox --list); do
    [[ $applet == busybox ]] || ln -s busybox "$1/$applet"
  done
}

# make_cpio TARGET DIRECTORY — packs a directory as an initramfs, everything owned by root. Not compressed: under emulation the
# guest spends longer on unpacking than the host on reading.
make_cpio() { (cd "$2" && find . | sort | cpio -o -H newc -R 0:0 --quiet --reproducible) >"$1"; }
