# What the boot suite's guests run (Tests/Lab/guest makes it their /test.sh). Words of the kernel command line say what to do:
#   swvmm.checks=NAME,…   checks to run, in this order; each prints "CHECK NAME ok" or "CHECK NAME failed: why"
#   swvmm.end=NAME        how to end: poweroff, wait, ignore, reboot, panic, again; load, pages and steady work until somebody types "stop"
#   swvmm.cpus=N swvmm.pairs=N swvmm.transport=pci|mmio   what the guest must find
#   swvmm.packed=KIND,…   the kinds of device that must use packed rings
#   swvmm.verify=yes      have fio verify the disk "verified" beside the load
#   swvmm.disk=SERIAL     what the disk calls itself that is "data" here
#
# "HOST WORD" asks the suite a question; its answer comes as typed input on hvc0.

word() {
  for word in $(cat /proc/cmdline); do
    case $word in "swvmm.$1="*) echo "${word#*=}" ;; esac
  done
}

host() {
  echo "HOST $*" >/dev/hvc0
  read -r answer </dev/hvc0
}

disk() {
  [ "$1" != data ] || set -- "$(word disk)"
  [ -n "$1" ] || set -- data
  for block in /sys/block/*; do
    [ "$(cat "$block/serial" 2>/dev/null)" = "$1" ] && echo "/dev/${block##*/}" && return
  done
  echo "no disk has the serial '$1'" >&2
  return 1
}

interface() {
  for link in /sys/class/net/*; do
    [ "$(cat "$link/address")" = "$1" ] && echo "${link##*/}" && return
  done
  echo "no interface has the address $1" >&2
  return 1
}

same() {
  [ "$1" = "$2" ] && return
  echo "expected '$2', found '$1'"
  return 1
}

# --- The machine ---

check_processors() { same "$(nproc)" "$(word cpus)"; }

check_clock() {
  host time
  difference=$(($(date +%s) - answer))
  [ "$difference" -ge -30 ] && [ "$difference" -le 30 ] && return
  echo "the clock differs from the host's by $difference seconds"
  return 1
}

check_transport() {
  for device in /sys/bus/virtio/devices/*; do
    place=$(readlink -f "$device")
    case $(word transport):$place in
    pci:*/pci0000:00/*) ;;
    mmio:*LNRO0005* | mmio:*virtio-mmio*) ;;
    *) echo "$device is $place" && return 1 ;;
    esac
  done
}

# Bit 34 is VIRTIO_F_RING_PACKED, bit 32 VIRTIO_F_VERSION_1; the kinds are those of virtio 1.3, 5.
check_rings() {
  for device in /sys/bus/virtio/devices/*; do
    kind=$(($(cat "$device/device")))
    case ,$(word packed), in
    *,$kind,*) packed=1 ;;
    *) packed=0 ;;
    esac
    same "kind $kind: $(cut -c35 "$device/features")$(cut -c33 "$device/features")" "kind $kind: ${packed}1" || return
  done
}

# --- The devices ---

check_entropy() {
  case $(cat /sys/class/misc/hw_random/rng_current) in
  virtio_rng*) ;;
  *) echo "the current source is '$(cat /sys/class/misc/hw_random/rng_current)'" && return 1 ;;
  esac
  same "$(head -c 4096 /dev/hwrng | wc -c)" 4096
}

check_console() {
  host type
  same "$answer" "knock, knock"
}

check_read_only() {
  tools=$(disk tools) || return
  same "$(cat "/sys/block/${tools##*/}/ro")" 1 || return
  same "$(head -c 8 "$tools")" "unspoilt" || return
  dd if=/dev/zero of="$tools" bs=512 count=1 conv=fsync 2>/dev/null || return 0
  echo "a write went through"
  return 1
}

check_write_zeroes() {
  data=$(disk data) || return
  dd if=/dev/urandom of="$data" bs=1M count=16 conv=fsync 2>&1 || return
  host blocks
  before=$answer
  # Without and with leave to give the space back.
  blkdiscard -z -l 8388608 "$data" || return
  /fallocate -p -o 8388608 -l 8388608 "$data" || return
  cmp -n 16777216 "$data" /dev/zero || return
  host blocks
  [ $((before - answer)) -ge 8192 ] && return
  echo "the host's image had $before KiB, and still has $answer"
  return 1
}

check_discard() {
  data=$(disk data) || return
  dd if=/dev/urandom of="$data" bs=1M count=8 conv=fsync 2>&1 || return
  host blocks
  before=$answer
  blkdiscard -l 8388608 "$data" || return
  host blocks
  [ $((before - answer)) -ge 8192 ] && return
  echo "the host's image had $before KiB, and still has $answer"
  return 1
}

check_file_system() {
  data=$(disk data) || return
  mkfs.ext4 -q -F "$data" && mount -t ext4 "$data" /mnt || return
  seq 1 200000 >/mnt/numbers && cp /bin/busybox /mnt/ && mkdir /mnt/many || return
  number=0
  while [ "$number" -lt 100 ]; do
    echo "file $number" >"/mnt/many/$number" || return
    number=$((number + 1))
  done
  (cd /mnt && sha256sum numbers busybox many/*) | sha256sum >/tmp/sum
  umount /mnt && e2fsck -fn "$data" || return
  # Read again from the disk, not from memory.
  echo 3 >/proc/sys/vm/drop_caches
  mount -t ext4 -o ro "$data" /mnt || return
  (cd /mnt && sha256sum numbers busybox many/*) | sha256sum >/tmp/again
  umount /mnt
  cmp /tmp/sum /tmp/again || return
  echo "SUM $(cut -d ' ' -f 1 </tmp/sum)" >/dev/hvc0
}

check_fstrim() {
  data=$(disk data) || return
  mount -t ext4 "$data" /mnt || return
  dd if=/dev/urandom of=/mnt/passing bs=1M count=24 conv=fsync 2>&1 || return
  host blocks
  before=$answer
  rm /mnt/passing && sync && fstrim /mnt && umount /mnt || return
  host blocks
  [ $((before - answer)) -ge 20480 ] && return
  echo "the host's image had $before KiB, and still has $answer"
  return 1
}

# receive HOST PORT — 64 MiB from that port into /tmp/transfer, for give_back to the next port. The suite knows their sum.
#
# cat talks to the socket itself: nc would move a kilobyte at a time, and old passts do not stand that: Debian 12's ends what takes longer
# than half a minute, and once it has got a FIN it sends the same bytes again and again. What it sends into a closed window it repeats
# after seconds only, hence the large one.
receive() {
  echo "4096 6291456 16777216" >/proc/sys/net/ipv4/tcp_rmem
  printf '#!/bin/sh\nexec cat >/tmp/transfer\n' >/tmp/take
  chmod +x /tmp/take
  timeout 400 nc "$1" "$2" -e /tmp/take || return
  host sum
  same "$(sha1sum </tmp/transfer | cut -d ' ' -f 1)" "$answer"
}

give_back() {
  printf '#!/bin/sh\nexec cat /tmp/transfer\n' >/tmp/give
  chmod +x /tmp/give
  timeout 400 nc "$1" "$2" -e /tmp/give
}

check_tap() {
  tap=$(interface 52:54:00:00:00:01) || return
  ip addr add 10.7.0.2/24 dev "$tap" && ip link set "$tap" up || return
  host tap
  ping -c 2 -W 5 10.7.0.1 || return
  receive 10.7.0.1 9001 &
  receiver=$!
  # Meanwhile the queues change: their number, and (not over MMIO, for which Linux cannot) their size.
  changes=0
  # A few times only: TCP takes each for a loss, and would crawl.
  while [ "$changes" -lt 4 ] && kill -0 "$receiver" 2>/dev/null; do
    if [ "$(word pairs)" = 2 ]; then
      ethtool -L "$tap" combined 1 && ethtool -L "$tap" combined 2 || return
    fi
    if [ "$(word transport)" = pci ]; then
      ethtool -G "$tap" rx 128 tx 128 && ethtool -G "$tap" rx 256 tx 256 || return
    fi
    changes=$((changes + 1))
    usleep 200000
  done
  wait "$receiver" || return
  [ "$changes" -gt 0 ] || { echo "the transfer was over too soon" && return 1; }
  give_back 10.7.0.1 9002
}

check_user() {
  user=$(interface 52:54:00:00:00:02) || return
  # passt offers this by DHCP, which busybox does not take up; smaller frames would cost an emulated guest minutes.
  ip link set "$user" mtu 65520 && dhcp "$user" || return
  gateway=$(ip route | sed -n 's/^default via \([^ ]*\) dev '"$user"'.*/\1/p')
  [ -n "$gateway" ] || { echo "no gateway: $(ip route)" && return 1; }
  # What passt ends half-way, because a busy machine takes too long for it, begins again (its peers take any number of connections).
  three_times receive "$gateway" 9003 && three_times give_back_whole "$gateway" 9004 || return
  ping -c 2 -W 5 198.51.100.1
}

three_times() {
  "$@" || "$@" || "$@"
}

# The end of a connection does not tell whether all of it got through: the suite does.
give_back_whole() {
  give_back "$@" || return
  host returned
  same "$answer" whole
}

# --- Devices behind the back-ends of others ---

# Files of the host come through, and others go there.
check_share() {
  mkdir -p /share && mount -t virtiofs files /share || return
  host share
  same "$(cd /share && cat from-host many/* | sha256sum | cut -d ' ' -f 1)" "$answer" || return
  dd if=/dev/urandom of=/share/new bs=64k count=32 2>/dev/null
  mkdir /share/made && mv /share/new /share/made/from-guest && rm /share/many/0 && sync || return
  echo "SHARED $(sha256sum </share/made/from-guest | cut -d ' ' -f 1)" >/dev/hvc0
}

# What the front-end does for a network back-end: bits 17, 18, 22 and 23 are CTRL_VQ, CTRL_RX, MQ and CTRL_MAC_ADDR (virtio 1.3, 5.1.3).
check_personality() {
  tap=$(interface 52:54:00:00:00:01) || return
  bits=$(cat "/sys/class/net/$tap/device/features")
  same "$(echo "$bits" | cut -c18,19,23,24)" 1111 || return
  same "$(ethtool -l "$tap" | sed -n 's/^Combined:[^0-9]*//p' | head -n 1)" 2 || return
  same "$(cat "/sys/class/net/$tap/carrier")" 1 || return
  ip link set "$tap" promisc on && ip link set "$tap" promisc off || return
  ip link set "$tap" address 52:54:00:00:00:09 && ping -c 2 -W 5 10.7.0.1 || return
  host neighbour
  same "$answer" 52:54:00:00:00:09 || return
  ip link set "$tap" address 52:54:00:00:00:01 && ping -c 2 -W 5 10.7.0.1 || return
  # The driver complains of commands that were refused, and goes on.
  same "$(dmesg | grep -c -e 'Failed to' -e 'Fail to')" 0
}

# A little of everything, with the caches empty.
use_all() {
  dd if=/dev/urandom of=/tmp/little bs=64k count=8 2>/dev/null
  data=$(disk data) && mount -t ext4 "$data" /mnt && cp /tmp/little /mnt/ && umount /mnt && mount -t ext4 "$data" /mnt || return
  cmp /tmp/little /mnt/little && rm /mnt/little && umount /mnt || return
  cp /tmp/little /share/ && echo 3 >/proc/sys/vm/drop_caches && cmp /tmp/little /share/little && rm /share/little || return
  ping -c 2 -W 5 10.7.0.1
}

check_asleep() {
  host asleep
  same "$answer" awake && use_all
}

check_refused() {
  host snapshot
  same "$answer" refused && use_all
}

# The back-end of an idle disk is another one.
check_killed_idle() {
  data=$(disk data) || return
  dd if=/dev/urandom of=/tmp/little bs=64k count=16 2>/dev/null
  # What was not flushed, qemu-storage-daemon may have in its own memory.
  dd if=/tmp/little of="$data" bs=64k oflag=direct conv=fsync 2>&1 || return
  host kill_idle
  same "$answer" back || return
  dd if="$data" of=/tmp/again bs=64k count=16 iflag=direct 2>/dev/null
  cmp /tmp/little /tmp/again
}

# That of a busy one is gone, and with it what was in flight.
check_killed_busy() {
  data=$(disk data) || return
  dd if=/dev/zero of="$data" bs=64k oflag=direct 2>/dev/null &
  usleep 300000
  host kill_busy
  same "$answer" failed
}

# --- A load that lasts ---

# Files go to the disk and come back from it, again and again, past the page cache.
disk_load() {
  round=0
  while [ ! -e /tmp/stop ]; do
    round=$((round + 1))
    dd if=/dev/urandom of=/tmp/chunk bs=64k count=8 2>/dev/null
    cp /tmp/chunk "/mnt/$((round % 8))" && sync && echo 3 >/proc/sys/vm/drop_caches
    cmp /tmp/chunk "/mnt/$((round % 8))" || echo "BAD disk, round $round"
  done
  echo "DISK $round"
}

# Lines that come from the host go back to it.
tcp_load() {
  tap=$(interface 52:54:00:00:00:01) && ip addr add 10.7.0.2/24 dev "$tap" && ip link set "$tap" up || return
  host tap
  printf '#!/bin/sh\nwhile read -r line; do echo "$line"; done\n' >/tmp/return
  chmod +x /tmp/return
  nc 10.7.0.1 9100 -e /tmp/return &
}

# Writes that lie over earlier ones, sixteen at a time, of which each block says what it is: read again after some dozens.
verify_load() {
  tools=$(disk fio) && target=$(disk verified) && mkdir -p /tmp/fio && mount -t ext4 -o ro "$tools" /tmp/fio || return
  /tmp/fio/lib/ld-linux-x86-64.so.2 --library-path /tmp/fio/lib /tmp/fio/fio --name=verified --thread --filename="$target" --size=8M \
    --direct=1 --ioengine=libaio --iodepth=16 --rw=randwrite --bsrange=4k-32k --norandommap --serialize_overlap=1 \
    --verify=crc32c --verify_fatal=1 --verify_backlog=32 \
    --time_based --runtime=7200 --eta=never >/tmp/fio.log 2>&1 &
  verifier=$!
  # Its sixty libraries take an emulated machine some time.
  writes=0
  while [ "$writes" -eq 0 ] && kill -0 "$verifier"; do
    usleep 200000
    read -r reads merged sectors time writes rest <"/sys/block/${target##*/}/stat"
  done
}

end_verify_load() {
  kill "$verifier"
  wait "$verifier"
  if grep -q ' err= 0' /tmp/fio.log; then
    echo "CHECK verified $(sed -n 's/.*issued rwts: total=\([0-9]*\),\([0-9]*\),.*/\1 \2/p' /tmp/fio.log)"
  else
    echo "BAD verified: $(grep -E 'verify|err' /tmp/fio.log | head -n 3 | tr '\n' ' ')"
  fi
}

load() {
  data=$(disk data) || return
  mkfs.ext4 -q -F "$data" && mount -t ext4 "$data" /mnt || return
  [ "$(word tcp)" = no ] || tcp_load || return
  [ "$(word verify)" != yes ] || verify_load || return
  disk_load &
  disk_process=$!
  (
    while read -r line; do [ "$line" = stop ] && break; done </dev/hvc0
    touch /tmp/stop
  ) &
  count=0
  while [ ! -e /tmp/stop ]; do
    count=$((count + 1))
    read -r uptime rest </proc/uptime
    echo "COUNT $count $uptime $(date +%s)"
    usleep 20000
  done
  wait "$disk_process"
  [ "$(word verify)" != yes ] || end_verify_load
  killall nc 2>/dev/null
  umount /mnt && e2fsck -fn "$data" >/dev/null 2>&1 && echo "CHECK fsck ok"
  echo "FORKS $(dmesg | grep -c 'crng reseeded due to virtual machine fork')"
  echo "END"
}

# --- Pages, one after the other ---

# "PAGE LETTER" on the console fills that page of the disk with the letter, and says so when it is done.
pages() {
  data=$(disk data) || return
  echo READY
  while read -r page letter; do
    [ "$page" = stop ] && break
    head -c 4096 /dev/zero | tr '\0' "$letter" >/tmp/page
    dd if=/tmp/page of="$data" bs=4096 seek="$page" conv=fsync,notrunc 2>/dev/null && echo "DONE $letter"
  done </dev/hvc0
}

# --- Many requests, and nothing else ---

# "NUMBER" on the console reads so many blocks of the disk, past the page cache, and says how many requests that were. The host pings.
steady() {
  data=$(disk data) || return
  tap=$(interface 52:54:00:00:00:01) && ip addr add 10.7.0.2/24 dev "$tap" && ip link set "$tap" up || return
  host tap
  echo READY
  while read -r number; do
    [ "$number" = stop ] && break
    read -r before rest <"/sys/block/${data##*/}/stat"
    dd if="$data" of=/dev/null bs=4096 count="$number" iflag=direct 2>/dev/null
    read -r after rest <"/sys/block/${data##*/}/stat"
    echo "READ $((after - before))"
  done </dev/hvc0
}

# --- All of it ---

check() {
  if said=$("check_$1" 2>&1); then
    echo "CHECK $1 ok"
  else
    echo "CHECK $1 failed: $(echo "$said" | tail -n 3 | tr '\n' ' ')"
  fi
}

for name in $(word checks | tr , ' '); do check "$name"; done

case $(word end) in
load) load ;;
pages) pages ;;
steady) steady ;;
wait)
  echo WAITING
  sleep 1000
  ;;
ignore)
  killall acpid
  echo WAITING
  sleep 1000
  ;;
reboot) reboot -f ;;
panic) echo c >/proc/sysrq-trigger ;;
again)
  # The first time it reboots; the second time it sees that it was there before.
  data=$(disk data)
  if [ "$(head -c 5 "$data")" = again ]; then
    echo "CHECK restart ok"
  else
    printf again | dd of="$data" conv=fsync,notrunc 2>/dev/null
    reboot -f
  fi
  ;;
esac
