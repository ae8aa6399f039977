import Glibc
import Host

/// vDPA devices of the host's kernel: in guests, of ours and of others; and what can be wrong with them. As root, in the lab.
func vdpaCases(_ options: Options) -> [TestCase] {
    var cases: [TestCase] = []
    let guests: [(VdpaServer, String, Bool, String)] = [
        (.daemon, "pci", false, "6.12"), (.ours, "pci", false, "6.12"), (.ours, "mmio", true, "6.12"),
        (.daemon, "mmio", false, "6.1-cloud"),
    ]
    for (server, transport, packed, kernel) in options.complete ? guests : Array(guests.prefix(3)) {
        var load = LoadedGuest(kernel: kernel, transport: transport, packed: packed, cpus: 1)
        load.disk = server
        cases.append(
            TestCase(name: "vdpa: a guest on a disk of \(load.name)") { report in
                LoadedRun(load, options, report).run(cycles: options.complete ? 20 : 2)
            })
    }
    for (server, packed) in [(VdpaServer.ours, false), (.ours, true), (.daemon, false)] {
        let name = "a disk of the host, \(packed ? "packed" : "split"), of \(server.rawValue)"
        cases.append(vdpaCase(name) { scratch in try hostDisk(server, packed, options, scratch) })
    }
    cases.append(vdpaCase("a device that cannot be used is named, with the remedy") { scratch in try badNodes(options, scratch) })
    cases.append(vdpaCase("a device that cannot be offered is named, with the remedy") { scratch in try badOffers(options, scratch) })
    cases.append(vdpaCase("a server that ends while its device is attached says so") { scratch in try attachedEnd(options, scratch) })
    return cases
}

private func vdpaCase(_ name: String, _ body: @escaping (Scratch) throws -> Void) -> TestCase {
    TestCase(name: "vdpa: \(name)") { report in
        let scratch = Scratch("vdpa")
        defer { scratch.remove() }
        do {
            try body(scratch)
            report.note("vdpa: \(name)", nil)
        } catch {
            let failure = error as? PeerFailure
            report.note("vdpa: \(name)", failure?.reason ?? "\(error)", context: failure?.context ?? [])
        }
    }
}

private func shell(_ line: String, seconds: Int64 = 180) throws -> String {
    let result = Command.run(["sh", "-c", line], seconds: seconds)
    guard result.succeeded else { throw PeerFailure("failed: \(line)", context: lines(result.output + result.errors, last: 8)) }
    return result.output.hasSuffix("\n") ? String(result.output.dropLast()) : result.output
}

/// A file system on the host: made, filled, looked at again from the disk, clean; and what is in the image is that file system.
private func hostDisk(_ server: VdpaServer, _ packed: Bool, _ options: Options, _ scratch: Scratch) throws {
    let image = "\(scratch.path)/disk.img"
    _ = try shell("truncate -s 96M \(image) && mkdir -p \(scratch.path)/mnt")
    let disk = try VdpaDisk(server, options, image: image, serial: "host", packed: packed)
    defer { disk.kill() }
    let path = try disk.bindToHost(serial: "host")
    let mount = "\(scratch.path)/mnt"
    let features = try shell("cat /sys/block/\(path.dropFirst(5))/device/features")
    let isPacked = features.dropFirst(34).first == "1"
    guard isPacked == packed else { throw PeerFailure("expected packed rings: \(packed), found features \(features)") }
    _ = try shell("mkfs.ext4 -q -F \(path) && mount -t ext4 \(path) \(mount)")
    let sums = "cd \(mount) && find . -type f | sort | xargs sha256sum | sha256sum"
    _ = try shell("cp -r /usr/share/doc/b* \(mount)/ && dd if=/dev/urandom of=\(mount)/big bs=1M count=24 conv=fsync")
    let before = try shell(sums)
    _ = try shell("umount \(mount) && e2fsck -fn \(path) && echo 3 >/proc/sys/vm/drop_caches && mount -t ext4 -o ro \(path) \(mount)")
    let after = try shell(sums)
    _ = try shell("umount \(mount)")
    guard before == after else { throw PeerFailure("the files have changed on the disk") }
    if server == .ours, try shell("blockdev --getsize64 \(path)") != "\(96 << 20)" { throw PeerFailure("\(path) has another size") }
    try disk.end()
    _ = try shell("e2fsck -fn \(image) && mount -t ext4 -o ro,loop \(image) \(mount)")
    let inImage = try shell(sums)
    _ = try shell("umount \(mount)")
    guard before == inImage else { throw PeerFailure("the image has other files than the disk had") }
}

/// What `swvmm run` says to nodes that are no use.
private func badNodes(_ options: Options, _ scratch: Scratch) throws {
    let image = "\(scratch.path)/disk.img"
    // Where an ordinary user can read them.
    let (program, kernel) = ("\(scratch.path)/swvmm", "\(scratch.path)/kernel")
    _ = try shell(
        "truncate -s 16M \(image) && cp \(options.swvmm) \(program) && cp -L \(options.guests)/6.12 \(kernel) && chmod 755 \(scratch.path) \(program) \(kernel)"
    )
    let disk = try VdpaDisk(.daemon, options, image: image)
    defer { disk.kill() }
    let node = try disk.node()
    func expect(_ name: String, _ device: String, _ words: [String], prefix: [String] = []) throws {
        var vm = VMFile(kernel: kernel)
        vm.devices = ["\"id\": \"d\", \(device)"]
        let path = scratch.write("vm.json", vm.text)
        let result = Command.run(prefix + [program, "run", "--config", path], seconds: 120)
        let said = result.errors
        guard let status = result.status, status != .exited(0) else { throw PeerFailure("\(name): the VM has run") }
        for word in words where said.firstRange(of: word) == nil {
            throw PeerFailure("\(name): expected '\(word)' (\(status))", context: lines(said))
        }
        try disk.expectAlive()
    }
    func block(_ path: String, _ more: String = "") -> String {
        "\"type\": \"block\", \"backend\": { \"vhostVdpa\": \"\(path)\" }\(more)"
    }
    try expect("missing", block("/dev/vhost-vdpa-99"), ["devices[0].backend", "No such file", "vdpa dev add"])
    try expect("no node", block("/dev/null"), ["devices[0].backend", "/dev/null", "This is no vDPA device"])
    try expect(
        "another type", "\"type\": \"net\", \"backend\": { \"vhostVdpa\": \"\(node)\" }",
        ["devices[0].backend", node, "The device is of type block; expected net."])
    try expect("too few queues", block(node, ", \"queues\": 4"), ["The device has 1 queues; expected at least 4."])
    try expect("a key that is not ours", block(node, ", \"readOnly\": true"), ["devices[0].readOnly"])
    let holder = try OwnedDescriptor.open(node, flags: O_RDWR)
    try expect("busy", block(node), [node, "busy", "another process uses the device"])
    _ = consume holder
    _ = try shell("chmod 600 \(node)")
    try expect(
        "no permission", block(node), [node, "Permission denied", "give yourself access"],
        prefix: ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "env", "-u", "XDG_RUNTIME_DIR"])
    try disk.end()
}

/// What `swvmm device block --vduse` says to names and disks that are no use.
private func badOffers(_ options: Options, _ scratch: Scratch) throws {
    let image = "\(scratch.path)/disk.img"
    _ = try shell("truncate -s 16M \(image) && cp --sparse=always \(image) \(scratch.path)/other.img")
    let disk = try VdpaDisk(.ours, options, image: image, name: "taken")
    defer { disk.kill() }
    func expect(_ name: String, _ arguments: [String], _ words: [String]) throws {
        let result = Command.run([options.swvmm, "device"] + arguments, seconds: 60)
        guard let status = result.status, status != .exited(0) else { throw PeerFailure("\(name): it is served") }
        for word in words where result.errors.firstRange(of: word) == nil {
            throw PeerFailure("\(name): expected '\(word)' (\(status))", context: lines(result.errors))
        }
    }
    let other = "path=\(scratch.path)/other.img"
    try expect("a name that is taken", ["block", "--vduse", "taken", other], ["/dev/vduse/taken", "in use", "vdpa dev del taken"])
    try expect("a path for a name", ["block", "--vduse", "../x", other], ["--vduse ../x", "expected 1 to 64"])
    try expect("the name of the control file", ["block", "--vduse", "control", other], ["--vduse control"])
    try expect("another kind of device", ["rng", "--vduse", "x"], ["belong to block"])
    try expect("two doors", ["block", "--vduse", "x", "--socket", "\(scratch.path)/s", other], ["expected one of"])
    try expect("a disk that is in use", ["block", "--vduse", "x", "path=\(image)"], [image])
    guard !pathExists("/dev/vduse/x") else { throw PeerFailure("/dev/vduse/x is left behind") }
    try disk.end()
}

/// SIGTERM before `vdpa dev del`; afterwards the same name can be used again.
private func attachedEnd(_ options: Options, _ scratch: Scratch) throws {
    let image = "\(scratch.path)/disk.img"
    _ = try shell("truncate -s 16M \(image)")
    let disk = try VdpaDisk(.ours, options, image: image)
    defer { disk.kill() }
    _ = try disk.node()
    let status = try disk.terminate()
    let said = disk.complaints.joined(separator: "\n")
    guard status != .exited(0), said.firstRange(of: "vdpa dev del suite0") != nil else {
        throw PeerFailure("expected a failure that says how to take the device away, found \(status)", context: disk.complaints)
    }
    try disk.detach()
    let next = try VdpaDisk(.ours, options, image: image)
    defer { next.kill() }
    try next.end()
}
