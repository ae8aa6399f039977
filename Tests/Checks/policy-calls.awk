# From a trace (strace -f -X raw --pidns-translation) to one line for each kind of jailed process and system call that it made behind its closed
# jail, with the argument that policies compare: KIND NAME [VALUE]. A process tells its kind by its arguments.

BEGIN {
  split("ioctl:2 fcntl:2 mmap:3 mprotect:3 newfstatat:4 statx:3 clone:2 prctl:1 socketpair:1", pairs, " ")
  for (i in pairs) { split(pairs[i], pair, ":"); compared[pair[1]] = pair[2] }
  split("disk:block data:block root:block block:block console:console entropy:rng rng:rng tap:net net:net net0:net lan:net", pairs, " ")
  for (i in pairs) { split(pairs[i], pair, ":"); kinds[pair[1]] = pair[2] }
}

{
  thread = $1
  line = substr($0, length($1) + 1)
  sub(/^ +/, "", line)
}

line ~ /<unfinished \.\.\.>$/ {
  sub(/ <unfinished \.\.\.>$/, "", line)
  begun[thread] = line
  # One that never ends was made all the same.
  if (line !~ /^(clone|clone3|newfstatat)\(/) take(line)
  next
}

line ~ /^<\.\.\. / {
  sub(/^<\.\.\. [a-z0-9_]+ resumed>/, "", line)
  whole = begun[thread] line
  delete begun[thread]
  if (whole ~ /^(clone|clone3|newfstatat)\(/) take(whole)
  next
}

{ take(line) }

function take(line, name, child, arguments, index_, value) {
  name = line
  if (!sub(/\(.*/, "", name) || name !~ /^[a-z0-9_]+$/) return
  if (name == "execve" && match(line, /"(machine|device)-process", "[^"]*"/)) {
    value = substr(line, RSTART, RLENGTH)
    kind[thread] = value ~ /^"machine/ ? "vmm" : ""
    if (kind[thread] == "") {
      gsub(/.*", "|"$/, "", value)
      kind[thread] = value in kinds ? kinds[value] : "unknown:" value
    }
    return
  }
  if (name == "clone" || name == "clone3") {
    child = line
    if (child ~ /in strace/) sub(/.*\/\* /, "", child)
    else sub(/.*= /, "", child)
    sub(/[^0-9].*/, "", child)
    if (child != "") parent[child] = thread
  }
  value = ""
  if (name in compared) {
    arguments = line
    sub(/^[a-z0-9_]+\(/, "", arguments)
    split(arguments, list, /, /)
    value = list[compared[name]]
    # Behind a structure, which has commas of its own.
    if (name == "newfstatat") { value = arguments; sub(/\) += .*/, "", value); sub(/.*, /, "", value) }
    sub(/^flags=/, "", value)
    # An empty set of names beside a number.
    sub(/^\|/, "", value)
    sub(/[^0-9a-fx].*/, "", value)
  }
  # What the main thread did before its jail closed is not the policy's.
  if (name == "seccomp") closed[thread] = 1
  calls[thread, name " " value, closed[thread] + 0] = 1
}

END {
  for (key in calls) {
    split(key, parts, SUBSEP)
    owner = parts[1]
    steps = 0
    while (!(owner in kind) && (owner in parent) && steps++ < 1000) owner = parent[owner]
    if (!(owner in kind) || (owner == parts[1] && parts[3] == 0)) continue
    print kind[owner], parts[2]
  }
}
