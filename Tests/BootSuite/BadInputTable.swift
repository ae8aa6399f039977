import Host

extension BadInput {
    /// Everything that issue and documentation say is refused.
    static func all(_ options: Options) -> [BadInput] { documents + machine + kernels(options) + devices + backEnds + host(options) }

    private static func document(_ name: String, _ text: String, says: [String]) -> BadInput {
        BadInput(name: name, code: 65, says: ["vm.json: "] + says, document: { _ in text })
    }

    private static let minimal = "\"boot\": { \"kernel\": \"kernel\" }"

    /// What is no configuration.
    private static var documents: [BadInput] {
        [
            document("no configuration file", "(none)", says: ["expected a configuration file"]),
            document("an empty file", "", says: []),
            document("no JSON", "{ \(minimal)", says: []),
            document("text after the end", "{ \(minimal) } x", says: []),
            document("no object", "[]", says: []),
            document("unknown key", "{ \(minimal), \"cpu\": 2 }", says: ["cpu"]),
            document(
                "unknown key of a device", "{ \(minimal), \"devices\": [{ \"id\": \"r\", \"type\": \"rng\", \"speed\": 1 }] }",
                says: ["devices[0].speed"]),
            document(
                "key of another kind of device", "{ \(minimal), \"devices\": [{ \"id\": \"r\", \"type\": \"rng\", \"path\": \"x\" }] }",
                says: ["devices[0].path"]),
            document("duplicate key", "{ \(minimal), \"name\": \"a\", \"name\": \"b\" }", says: ["name"]),
            document("duplicate key in an object", "{ \"boot\": { \"kernel\": \"a\", \"kernel\": \"b\" } }", says: ["boot.kernel"]),
            document(
                "duplicate id",
                "{ \(minimal), \"devices\": [{ \"id\": \"r\", \"type\": \"rng\" }, { \"id\": \"r\", \"type\": \"rng\" }] }",
                says: ["devices[1].id", "\"r\""]),
            document("missing key", "{ \"boot\": {} }", says: ["boot.kernel"]),
            document("missing object", "{}", says: ["boot"]),
            document(
                "missing path of a disk", "{ \(minimal), \"devices\": [{ \"id\": \"d\", \"type\": \"block\" }] }", says: ["devices[0].path"]
            ),
            document("mistyped: text for a number", "{ \(minimal), \"cpus\": { \"count\": \"two\" } }", says: ["cpus.count"]),
            document("mistyped: number for text", "{ \"boot\": { \"kernel\": 5 } }", says: ["boot.kernel"]),
            document("mistyped: object for a list", "{ \(minimal), \"devices\": {} }", says: ["devices"]),
            document("mistyped: text for a truth value", "{ \(minimal), \"debugExit\": \"yes\" }", says: ["debugExit"]),
            document(
                "unknown kind of device", "{ \(minimal), \"devices\": [{ \"id\": \"g\", \"type\": \"gpu\" }] }", says: ["devices[0].type"]),
            document("unknown transport", "{ \(minimal), \"transport\": \"ccw\" }", says: ["transport", "pci", "mmio"]),
            document(
                "two streams on the terminal",
                "{ \(minimal), \"serial\": { \"backend\": \"stdio\" }, \"devices\": [{ \"id\": \"c\", \"type\": \"console\" }] }",
                says: ["serial.backend"]),
            document(
                "queue pairs with passt", "{ \(minimal), \"devices\": [{ \"id\": \"n\", \"type\": \"net\", \"queuePairs\": 2 }] }",
                says: ["devices[0].queuePairs"]),
        ]
    }

    /// Amounts.
    private static var machine: [BadInput] {
        [
            document("no memory", "{ \(minimal), \"memory\": { \"size\": 0 } }", says: ["memory.size"]),
            document("negative memory", "{ \(minimal), \"memory\": { \"size\": -1 } }", says: ["memory.size"]),
            document("memory that is not aligned", "{ \(minimal), \"memory\": { \"size\": \"65M\" } }", says: ["memory.size"]),
            document("more memory than the host has", "{ \(minimal), \"memory\": { \"size\": \"1024G\" } }", says: ["memory.size"]),
            document(
                "memory that no number holds", "{ \(minimal), \"memory\": { \"size\": \"99999999999999999999G\" } }", says: ["memory.size"]),
            document("no processors", "{ \(minimal), \"cpus\": { \"count\": 0 } }", says: ["cpus.count"]),
            document("negative processors", "{ \(minimal), \"cpus\": { \"count\": -2 } }", says: ["cpus.count"]),
            document("more processors than the host has", "{ \(minimal), \"cpus\": { \"count\": 255 } }", says: ["cpus.count"]),
            document("half a processor", "{ \(minimal), \"cpus\": { \"count\": 1.5 } }", says: ["cpus.count"]),
            document("unknown CPU feature", "{ \(minimal), \"cpus\": { \"mask\": [\"warp\"] } }", says: ["cpus.mask", "warp"]),
            BadInput(name: "command line too long", code: 65, says: ["vm.json: boot.commandLine", "expected at most"]) {
                var vm = $0
                vm.commandLine = String(repeating: "long ", count: 4000)
                return vm.text
            },
        ]
    }

    private static func kernel(_ name: String, files: String, says: [String], change: @escaping (inout VMFile) -> Void = { _ in })
        -> BadInput
    {
        BadInput(name: name, code: 66, says: ["vm.json: "] + says, files: files) {
            var vm = $0
            change(&vm)
            return vm.text
        }
    }

    private static func kernels(_ options: Options) -> [BadInput] {
        let linux = "\(options.guests)/6.1-cloud"
        return [
            kernel("kernel missing", files: "rm kernel", says: ["boot.kernel", "/kernel", "expected"]),
            kernel("kernel is a directory", files: "rm kernel; mkdir kernel", says: ["boot.kernel", "/kernel"]),
            kernel("kernel empty", files: ": >kernel", says: ["boot.kernel", "/kernel", "expected"]),
            kernel("kernel is text", files: "seq 1 10000 >kernel", says: ["boot.kernel", "/kernel", "expected a bzImage or an ELF"]),
            kernel("ELF kernel truncated", files: "truncate -s 100 kernel", says: ["boot.kernel", "/kernel"]),
            kernel("ELF kernel without its end", files: "truncate -s 2000 kernel", says: ["boot.kernel", "/kernel"]),
            kernel("bzImage truncated", files: "head -c 100000 \(linux) >kernel", says: ["boot.kernel", "/kernel", "truncated"]),
            kernel("bzImage's header truncated", files: "head -c 600 \(linux) >kernel", says: ["boot.kernel", "/kernel"]),
            kernel(
                "ELF kernel for another architecture", files: #"printf '\267\000' | dd of=kernel bs=1 seek=18 conv=notrunc 2>&1"#,
                says: ["boot.kernel", "/kernel", "expected a kernel for x86-64"]),
            kernel(
                "image for another architecture",
                files: #"head -c 4096 /dev/zero >kernel; printf 'ARM\144' | dd of=kernel bs=1 seek=56 conv=notrunc 2>&1"#,
                says: ["boot.kernel", "/kernel", "expected a kernel for x86-64"]),
            BadInput(
                name: "kernel larger than memory", code: 65, says: ["vm.json: memory.size", "found 16 MiB"], files: "cp \(linux) kernel"
            ) {
                var vm = $0
                vm.memory = "16M"
                return vm.text
            },
            kernel("initrd missing", files: "true", says: ["boot.initrd", "/initrd", "expected"]) { $0.initrd = "initrd" },
            kernel("initrd empty", files: ": >initrd", says: ["boot.initrd", "/initrd", "expected"]) { $0.initrd = "initrd" },
            kernel("initrd is a directory", files: "mkdir initrd", says: ["boot.initrd", "/initrd"]) { $0.initrd = "initrd" },
            kernel("initrd larger than memory", files: "truncate -s 1G initrd", says: ["boot.initrd", "/initrd", "expected at most"]) {
                $0.initrd = "initrd"
            },
        ]
    }

    private static func device(
        _ name: String, _ json: String, says: [String], files: String = "", setting: Setting = .plain, locksDisk: Bool = false
    ) -> BadInput {
        BadInput(
            name: name, code: 66, says: ["vm.json: devices[0]"] + says, files: files, setting: setting, locksDisk: locksDisk,
            document: {
                var vm = $0
                vm.devices = [json]
                return vm.text
            })
    }

    private static var devices: [BadInput] {
        let disk = "\"id\": \"d\", \"type\": \"block\", \"path\": \"disk.img\""
        func net(_ backend: String) -> String { "\"id\": \"n\", \"type\": \"net\", \"backend\": \(backend)" }
        func console(_ backend: String) -> String { "\"id\": \"c\", \"type\": \"console\", \"backend\": \(backend)" }
        let long = String(repeating: "long", count: 50)
        return [
            device("disk missing", disk, says: [".path", "/disk.img", "expected"], files: "rm disk.img"),
            device("disk is a directory", disk, says: [".path", "/disk.img", "expected"], files: "rm disk.img; mkdir disk.img"),
            device("disk empty", disk, says: [".path", "/disk.img"], files: ": >disk.img"),
            device("disk of 1000 bytes", disk, says: [".path", "/disk.img", "512"], files: "truncate -s 1000 disk.img"),
            device(
                "disk not a multiple of its block size", disk + ", \"blockSize\": 4096", says: [".path", "/disk.img", "4096"],
                files: "truncate -s 5120 disk.img"),
            device(
                "disk without permission", disk, says: [".path", "/disk.img", "ermission denied"],
                files: "chown 65534 disk.img; chmod 600 disk.img", setting: .powerless),
            device("disk locked", disk, says: [".path", "/disk.img"], locksDisk: true),
            device("disk locked, wanted for reading", disk + ", \"readOnly\": true", says: [".path", "/disk.img"], locksDisk: true),
            device("tap not permitted", net("{ \"tap\": \"swnotmine\" }"), says: [".backend", "swnotmine"], setting: .powerless),
            device("tap of another kind", net("{ \"tap\": \"lo\" }"), says: [".backend", "lo"]),
            device("no /dev/net/tun", net("\"tap\""), says: [".backend"], setting: .without("mount --bind /dev/null /dev/net/tun")),
            device("descriptor not open", net("{ \"fd\": 77 }"), says: [".backend", "77"]),
            device("stream socket missing", net("{ \"stream\": \"none.sock\" }"), says: [".backend", "/none.sock"]),
            device(
                "passt not installed", net("\"user\""), says: [".backend", "passt"],
                setting: .without("for p in $(which -a passt); do mount --bind /dev/null $p; done")),
            device(
                "console's file cannot be made", console("{ \"file\": \"none/console.log\" }"), says: [".backend", "/none/console.log"]),
            device(
                "console's file is a directory", console("{ \"file\": \"there\" }"), says: [".backend", "/there"], files: "mkdir there"),
            device(
                "console's socket cannot be made", console("{ \"socket\": \"none/console.sock\" }"),
                says: [".backend", "/none/console.sock"]),
            device("console's socket path too long", console("{ \"socket\": \"\(long)\" }"), says: [".backend", "107"]),
            device("console's socket path is a file", console("{ \"socket\": \"kernel\" }"), says: [".backend", "/kernel"]),
        ]
    }

    /// Back-ends of others that are not what they should be.
    private static var backEnds: [BadInput] {
        func backEnd(
            _ name: String, _ json: String, peer: [String] = [], files: String = "", says: [String]
        ) -> BadInput {
            var input = device(
                name, "\"id\": \"d\", \(json), \"backend\": { \"vhostUser\": \"peer.sock\" }",
                says: [".backend: ", "/peer.sock: "] + says, files: files)
            input.peer = peer
            return input
        }
        func ours(_ kind: String, _ settings: String...) -> [String] {
            ["swvmm", "device", kind, "--socket", "@/peer.sock"] + settings
        }
        let (block, net, rng) = ("\"type\": \"block\"", "\"type\": \"net\"", "\"type\": \"rng\"")
        let another = "it serves another kind of device"
        return [
            backEnd("back-end missing", block, says: ["o such file", "expected a vhost-user back-end"]),
            backEnd("back-end is a file", block, files: ": >peer.sock", says: ["expected a vhost-user back-end"]),
            backEnd("back-end of a disk for entropy", rng, peer: ours("block", "path=@/disk.img"), says: [another]),
            backEnd(
                "back-end of a disk for a network", net + ", \"queuePairs\": 2", peer: ours("block", "path=@/disk.img", "queues=4"),
                says: [another]),
            backEnd("back-end of entropy for a disk", block, peer: ours("rng"), says: ["another kind of device"]),
            backEnd(
                "back-end with too few queues for a disk", block + ", \"queues\": 2", peer: ours("block", "path=@/disk.img"),
                says: ["has 1 queues; expected at least 2"]),
            backEnd(
                "back-end with too few queues for a network", net + ", \"queuePairs\": 2",
                peer: ours("net", "backend=user"), says: ["has 2 queues; expected at least 4"]),
            backEnd(
                "back-end that says nothing", block, peer: ["socat", "UNIX-LISTEN:@/peer.sock", "EXEC:sleep 30"],
                says: ["does not answer, asked for GET_FEATURES"]),
            backEnd(
                "back-end that leaves", block, peer: ["socat", "UNIX-LISTEN:@/peer.sock,fork", "EXEC:true"], says: ["."]),
            backEnd(
                "back-end that speaks something else", block,
                peer: ["socat", "UNIX-LISTEN:@/peer.sock,fork", "EXEC:echo 220 mail.example.org ready"], says: ["."]),
        ]
    }

    /// Runs the rest as an ordinary user, in the last user namespace that there may be.
    private static let ordinary = """
        set -- unshare --user --map-root-user sh -c 'echo 1 >/proc/sys/user/max_user_namespaces && \
        exec unshare --user --map-user=1000 --map-group=1000 "$@"' sh "$@"
        """

    private static func host(_ options: Options) -> [BadInput] {
        func kvm(_ name: String, says: [String], _ setting: Setting) -> BadInput {
            BadInput(name: name, code: 69, says: ["/dev/kvm"] + says, setting: setting, document: { $0.text })
        }
        var cases = [
            kvm("no /dev/kvm", says: ["modprobe"], .without("mount -t tmpfs none /dev")),
            kvm("/dev/kvm is something else", says: [], .without("mount --bind /dev/null /dev/kvm")),
            kvm("/dev/kvm not permitted", says: ["group kvm"], .stranger),
            BadInput(
                name: "a policy that names an unknown system call", code: 66, says: ["policies", "/rng.policy, line 2", "\"opne\""],
                files: #"mkdir own && printf 'read\nopne\n' >own/rng.policy"#
            ) {
                var vm = $0
                vm.devices = ["\"id\": \"r\", \"type\": \"rng\""]
                vm.extra = ["\"policies\": \"own\""]
                return vm.text
            },
            BadInput(
                name: "too few descriptors", code: 69, says: ["process of the virtual machine", "ulimit -n"],
                setting: .without("ulimit -n 24"), document: { $0.text }),
            BadInput(
                name: "an ordinary user without user namespaces", code: 69,
                says: ["process of the virtual machine", "user.max_user_namespaces"], setting: .without(ordinary),
                document: { $0.text }),
        ]
        // Where the host's KVM runs ring 0 by an emulator that lacks it, this is the payload's first instruction.
        if Command.run([options.swvmm, "doctor"]).output.firstRange(of: "cannot run lock cmpxchg16b") != nil {
            cases.append(
                BadInput(
                    name: "an instruction that this host's KVM cannot run", code: 69, says: ["cmpxchg16b", "doctor"],
                    files: #"entry=$(od -An -tu8 -j 24 -N 8 kernel); printf '\360\110\017\307\014\044'"#
                        + " | dd of=kernel bs=1 seek=$((entry % 4096)) conv=notrunc 2>&1",
                    document: { $0.text }))
        }
        return cases
    }
}
