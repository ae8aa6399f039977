# What the guest of the group `peers` runs (Tests/Lab/guest makes it its /test.sh): it is QEMU's, with devices of ours. Words of the kernel
# command line say what to do:
#   swvmm.checks=NAME,…   checks to run, in this order; each prints "CHECK NAME ok" or "CHECK NAME failed: why"
#   swvmm.writers=N       how many write to the disk until somebody types "stop"; each prints "ROUND WRITER NUMBER" after each
#                         round; meanwhile the disk is flushed, with "FLUSH NUMBER" after each time
#   swvmm.packed=0|1      which rings all devices must use
#   swvmm.port=N          where the host offers 4 MiB by TCP; it takes them back at N + 1
#
# "HOST WORD" asks the suite a question; its answer comes as typed input on ttyS0.

word() {
  for word in $(cat /proc/cmdline); do
    case $word in "swvmm.$1="*) echo "${word#*=}" ;; esac
  done
}

# Bit 34 is VIRTIO_F_RING_PACKED, bit 32 VIRTIO_F_VERSION_1.
check_rings() {
  for device in /sys/bus/virtio/devices/*; do
    found=$(cut -c35 "$device/features")$(cut -c33 "$device/features")
    [ "$found" = "$(word packed)1" ] && continue
    echo "device $(cat "$device/device"): expected '$(word packed)1', found '$found'"
    return 1
  done
}

check_entropy() {
  case $(cat /sys/class/misc/hw_random/rng_current) in
  virtio_rng*) ;;
  *) echo "the current source is '$(cat /sys/class/misc/hw_random/rng_current)'" && return 1 ;;
  esac
  head -c 100000 /dev/hwrng >/tmp/random
  # Of random bytes one in 256 is zero.
  present=$(tr -d '\000' </tmp/random | wc -c)
  [ "$(wc -c </tmp/random)" = 100000 ] && [ "$present" -gt 99000 ] && [ "$present" -lt 99990 ] && return
  echo "$(wc -c </tmp/random) bytes, $present of them not zero"
  return 1
}

# The last 4 MiB, which no writer uses: written, and half of them zeroed, by each of the two ways.
check_zeroes() {
  end=$(($(cat /sys/block/vda/size) * 512))
  dd if=/dev/urandom of=/tmp/random bs=1M count=4 2>/dev/null
  dd if=/tmp/random of=/dev/vda bs=64k oflag=seek_bytes,direct seek=$((end - 4194304)) 2>&1 || return
  blkdiscard -z -o $((end - 4194304)) -l 1048576 /dev/vda && blkdiscard -o $((end - 3145728)) -l 1048576 /dev/vda || return
  (head -c 2097152 /dev/zero && tail -c 2097152 /tmp/random) >/tmp/expected
  dd if=/dev/vda of=/tmp/found bs=64k iflag=skip_bytes,direct skip=$((end - 4194304)) count=64 2>/dev/null
  cmp /tmp/expected /tmp/found 2>&1
}

# 4 MiB come from the host and go back to it. What passt ends half-way begins again: its peers take any number of connections.
check_net() {
  dhcp eth0 || return
  gateway=$(ip route | sed -n 's/^default via \([^ ]*\) dev eth0.*/\1/p')
  [ -n "$gateway" ] || { echo "no gateway: $(ip route)" && return 1; }
  printf '#!/bin/sh\nexec cat >/tmp/transfer\n' >/tmp/take
  printf '#!/bin/sh\nexec cat /tmp/transfer\n' >/tmp/give
  chmod +x /tmp/take /tmp/give
  transfer || transfer || transfer
}

transfer() {
  timeout 60 nc "$gateway" "$(word port)" -e /tmp/take && [ "$(wc -c </tmp/transfer)" = 4194304 ] || return
  timeout 60 nc "$gateway" "$(($(word port) + 1))" -e /tmp/give || return
  # The end of a connection does not tell whether all of it got through.
  echo "HOST returned" >/dev/ttyS0
  read -r answer </dev/ttyS0
  [ "$answer" = whole ] && return
  echo "what came back to the host is $answer"
  return 1
}

check() {
  if said=$("check_$1" 2>&1); then
    echo "CHECK $1 ok"
  else
    echo "CHECK $1 failed: $(echo "$said" | tail -n 3 | tr '\n' ' ')"
  fi
}

# writer NUMBER — chunks of 256 KiB go to its part of the disk (2 MiB) and come back, past the page cache.
writer() {
  round=0
  while [ ! -e /tmp/stop ]; do
    slot=$(($1 * 8 + round % 8))
    dd if=/dev/urandom of="/tmp/chunk$1" bs=256k count=1 iflag=fullblock 2>/dev/null
    dd if="/tmp/chunk$1" of=/dev/vda bs=256k seek="$slot" oflag=direct 2>/tmp/error$1 || echo "BAD write: $(cat "/tmp/error$1")"
    dd if=/dev/vda of="/tmp/back$1" bs=256k skip="$slot" count=1 iflag=direct 2>/tmp/error$1 || echo "BAD read: $(cat "/tmp/error$1")"
    cmp "/tmp/chunk$1" "/tmp/back$1" || echo "BAD contents of slot $slot in round $round"
    sum=$(sha256sum <"/tmp/chunk$1")
    echo "SUM $slot ${sum%% *}" >"/tmp/sum$slot"
    round=$((round + 1))
    echo "ROUND $1 $round"
  done
}

# A flush takes longer than what is asked for after it: requests are not used in the order in which they were made available.
flusher() {
  round=0
  while [ ! -e /tmp/stop ]; do
    dd if=/dev/null of=/dev/vda conv=fsync,notrunc 2>/dev/null || echo "BAD flush"
    round=$((round + 1))
    echo "FLUSH $round"
  done
}

load() {
  (
    while read -r line; do [ "$line" = stop ] && break; done </dev/ttyS0
    touch /tmp/stop
  ) &
  # Many requests for each chunk, which are in flight together.
  echo 16 >/sys/block/vda/queue/max_sectors_kb
  flusher &
  writers=$! number=0
  while [ "$number" -lt "$1" ]; do
    writer "$number" &
    writers="$writers $!"
    number=$((number + 1))
  done
  wait $writers
  # Everything that was ever read back, once more, and then what the host must find.
  for file in /tmp/sum*; do
    read -r word slot sum <"$file"
    found=$(dd if=/dev/vda bs=256k skip="$slot" count=1 iflag=direct 2>/dev/null | sha256sum)
    [ "${found%% *}" = "$sum" ] || echo "BAD contents of slot $slot at the end"
  done
  cat /tmp/sum*
  blockdev --flushbufs /dev/vda
}

for name in $(word checks | tr , ' '); do check "$name"; done
[ -z "$(word writers)" ] || load "$(word writers)"
# The kernel's own complaints: a request that failed, a device that broke.
dmesg | grep -iE 'I/O error|broken|hung task|blocked for more' | while read -r line; do echo "BAD $line"; done
echo END
