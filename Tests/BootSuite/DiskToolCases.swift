import Host

/// `swvmm blk` with what it cannot use, and against a back-end that goes.
func diskToolCases(_ options: Options) -> [TestCase] {
    let table: [(name: String, command: String, code: Int32, says: [String])] = [
        ("no disk", "blk info", 64, ["--vhost-user", "--vhost-vdpa", "--file"]),
        ("two disks", "blk info --file disk.img --vhost-user x", 64, ["expected one of"]),
        ("a file that is not there", "blk info --file none.img", 66, ["none.img", "No such file"]),
        ("a directory", "blk info --file .", 66, ["directory"]),
        ("an image of no whole sectors", "blk info --file odd.img", 66, ["odd.img", "multiple of 512"]),
        ("a socket that is not there", "blk info --vhost-user none.sock", 66, ["none.sock", "No such file"]),
        ("a file that is no socket", "blk info --vhost-user disk.img", 66, ["disk.img", "vhost-user back-end"]),
        ("a node that is not there", "blk info --vhost-vdpa /dev/vhost-vdpa-99", 66, ["/dev/vhost-vdpa-99", "vdpa dev add"]),
        ("a node that is none", "blk info --vhost-vdpa /dev/null", 66, ["/dev/null", "no vDPA device"]),
        ("reading behind the end", "blk read --file disk.img --offset 2M", 64, ["behind the end"]),
        ("writing between sectors", "blk write --file disk.img --offset 100 --input odd.img", 64, ["100", "512"]),
        ("writing behind the end", "blk write --file disk.img --offset 1M --input odd.img", 64, ["behind the end"]),
        ("an input that is not there", "blk write --file disk.img --input none", 66, ["none"]),
        ("an output that is there", "blk read --file disk.img --output odd.img", 66, ["odd.img", "File exists"]),
        ("an output that is full", "blk read --file disk.img >/dev/full", 66, ["No space left"]),
        ("a copy to nowhere", "blk copy --file disk.img", 64, ["--to-file"]),
        ("a copy onto a file", "blk copy --file disk.img --to-file odd.img", 66, ["odd.img", "File exists"]),
        ("a measurement that destroys", "blk bench --file disk.img --load randwrite", 64, ["--overwrite"]),
        ("a depth of nothing", "blk bench --file disk.img --depth 0", 64, ["--depth"]),
        ("a request of odd size", "blk bench --file disk.img --size 100", 64, ["--size"]),
    ]
    var cases = table.map { input in
        TestCase(name: "bad input: blk, \(input.name)") { report in
            let scratch = Scratch("blk")
            defer { scratch.remove() }
            _ = Command.shell("cd \(scratch.path) && truncate -s 1M disk.img && printf odd >odd.img")
            let result = Command.run(["sh", "-c", "cd \(scratch.path) && '\(options.swvmm)' \(input.command)"], seconds: 30)
            var problem: String?
            if result.status != .exited(input.code) {
                problem = "expected exit code \(input.code), found \(result.status.map { "\($0)" } ?? "none in 30 s")"
            } else if let missing = input.says.first(where: { result.errors.firstRange(of: $0) == nil }) {
                problem = "expected '\(missing)' in what it says"
            }
            report.note("bad input: blk, \(input.name)", problem, context: lines(result.errors))
        }
    }
    cases.append(
        TestCase(name: "bad input: blk, a back-end that is killed") { report in
            let scratch = Scratch("blk")
            defer { scratch.remove() }
            let script = """
                cd \(scratch.path) && truncate -s 64M disk.img
                '\(options.swvmm)' device block --socket s path=disk.img & back=$!
                while ! '\(options.swvmm)' blk info --vhost-user s >/dev/null 2>&1; do sleep 0.1; done
                (sleep 1; kill -9 $back) &
                exec '\(options.swvmm)' blk bench --vhost-user s --seconds 30
                """
            let result = Command.run(["bash", "-c", script], seconds: 60)
            let isRight = result.status == .exited(1) && result.errors.firstRange(of: "The back-end has left.") != nil
            report.note(
                "bad input: blk, a back-end that is killed",
                isRight ? nil : "expected exit code 1 and a sentence, found \(result.status.map { "\($0)" } ?? "none")",
                context: lines(result.errors))
        })
    return cases
}
