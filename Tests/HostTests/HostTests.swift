import Glibc
import Host
import Synchronization
import Testing
import Virtqueue

struct HostTests {
    @Test("HostRange has the layout of struct iovec, so that spans of ranges are arguments of readv")
    func rangeIsAnIovec() {
        let size = unsafe MemoryLayout<iovec>.size
        let stride = unsafe MemoryLayout<iovec>.stride
        let base = unsafe MemoryLayout<iovec>.offset(of: \.iov_base)
        let count = unsafe MemoryLayout<iovec>.offset(of: \.iov_len)
        #expect(MemoryLayout<HostRange>.size == size)
        #expect(MemoryLayout<HostRange>.stride == stride)
        #expect(MemoryLayout<HostRange>.offset(of: \.count) == count)
        #expect(base == 0 && count == 8, "the base comes first in both")
    }

    @Test("vectored writes and reads move bytes through a file in order")
    func vectoredIO() throws {
        let file = try makeMemoryFile(name: "test", size: 0)
        let memory = try MemoryMapping(anonymous: 4096)
        memory.range.slice(from: 0, count: 8).store(UInt64(0x1122_3344_5566_7788), at: 0)
        memory.range.slice(from: 8, count: 8).store(UInt64(0xaabb_ccdd_eeff_0011), at: 0)
        let ranges = [memory.range.slice(from: 8, count: 8), memory.range.slice(from: 0, count: 8)]
        #expect(try file.write(from: ranges.span, at: 0) == 16)
        let target = [memory.range.slice(from: 100, count: 3), memory.range.slice(from: 200, count: 13)]
        #expect(try file.read(into: target.span, at: 0) == 16)
        #expect(memory.range.load(at: 100, as: UInt16.self) == 0x0011)
        #expect(memory.range.load(at: 205, as: UInt64.self) == 0x1122_3344_5566_7788)
        #expect(throws: SystemError("preadv", .invalidArgument)) { try file.read(into: target.span, at: .max) }
    }

    @Test("A worker's thread leaves signals to others, but hears what it causes itself")
    func workerSignals() throws {
        let worker = try WorkerThread(name: "signals", state: [Int32]()) { state, _ in
            var mask = sigset_t()
            unsafe pthread_sigmask(SIG_BLOCK, nil, &mask)
            for signal in [SIGTERM, SIGINT, SIGCHLD, SIGSYS, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV]
            where unsafe sigismember(&mask, signal) == 1 { state.append(signal) }
        }
        #expect(worker.stop() == [SIGTERM, SIGINT, SIGCHLD])
    }

    @Test("a worker gives its state back once, and its closing waits for it")
    func workerState() throws {
        let worker = try WorkerThread(name: "a-name-longer-than-the-kernel-keeps", state: 0) { state, stop in
            while !stop.drain() { state += 1 }
        }
        let counted = worker.stop()
        #expect(counted != nil)
        #expect(worker.stop() == nil)
    }

    @Test("an eventfd wakes a poller under its token, level-triggered until drained")
    func pollerAndEvents() throws {
        let poller = try Poller()
        let event = try EventFD()
        try poller.add(event.rawValue, token: 77)
        #expect(try poller.wait(timeoutMilliseconds: 0) { _ in } == 0)
        event.signal()
        event.signal()
        for _ in 0..<2 {
            var seen: [UInt64] = []
            try poller.wait(timeoutMilliseconds: 1000) { seen.append($0.token) }
            #expect(seen == [77])
        }
        #expect(event.drain())
        #expect(!event.drain())
        #expect(try poller.wait(timeoutMilliseconds: 0) { _ in } == 0)
    }

    @Test("a poller for signals tells each once, and one from before it was asked")
    func pollerOfSignals() throws {
        let poller = try Poller()
        let event = try EventFD()
        event.signal()
        try poller.add(signalsOf: event.rawValue, token: 7)
        for _ in 0..<3 {
            var seen: [UInt64] = []
            try poller.wait(timeoutMilliseconds: 1000) { seen.append($0.token) }
            #expect(seen == [7])
            #expect(try poller.wait(timeoutMilliseconds: 0) { _ in } == 0)
            event.signal()
        }
    }

    @Test("a process's processor time grows when it works, and a process that is not there has none")
    func processorTime() throws {
        let before = try ProcessorTime.nanoseconds(of: getpid())
        for _ in 0..<1000 { _ = getppid() }
        #expect(try ProcessorTime.nanoseconds(of: getpid()) > before)
        #expect(throws: SystemError.self) { _ = try ProcessorTime.nanoseconds(of: .max) }
    }

    @Test("a prompt transfer does what needs no wait, or says that it cannot")
    func promptTransfers() throws {
        let file = try makeMemoryFile(name: "test", size: 8192)
        let other = try OwnedDescriptor.open("/proc/self/stat", flags: O_RDONLY)
        let areInMemory = [file.isInMemory, other.isInMemory]
        #expect(areInMemory == [true, false])
        let memory = try MemoryMapping(anonymous: 8192)
        memory.range.slice(from: 0, count: 4096).fill(0x33)
        let source: InlineArray<1, HostRange> = [memory.range.slice(from: 0, count: 4096)]
        let target: InlineArray<1, HostRange> = [memory.range.slice(from: 4096)]
        let written = file.writePromptly(from: source.span, at: 4096)
        // Whether tmpfs can tell depends on the kernel.
        if written != 4096 {
            #expect(written == -Int(EOPNOTSUPP) || written == -Int(EAGAIN))
            let count = try file.write(from: source.span, at: 4096)
            #expect(count == 4096)
        }
        let read = file.readPromptly(into: target.span, at: 4096)
        if read == 4096 { #expect(memory.range.load(at: 4096, as: UInt8.self) == 0x33) } else { #expect(read == -Int(EOPNOTSUPP)) }
        let beyond = file.readPromptly(into: target.span, at: .max)
        #expect(beyond == -Int(EINVAL))
    }

    @Test("an owned descriptor is closed with its owner, and survives a release")
    func ownership() throws {
        let raw: Int32
        do {
            let descriptor = try OwnedDescriptor.open("/dev/null", flags: O_RDONLY)
            raw = descriptor.rawValue
            #expect(fcntl(raw, F_GETFD) & FD_CLOEXEC != 0)
        }
        #expect(fcntl(raw, F_GETFD) == -1)
        let kept = try OwnedDescriptor.open("/dev/null", flags: O_RDONLY).release()
        #expect(fcntl(kept, F_GETFD) != -1)
        close(kept)
        #expect(throws: SystemError("open", .noEntry)) { _ = try OwnedDescriptor.open("/no/such/file", flags: O_RDONLY) }
    }

    @Test("a sealed memory file can no longer shrink or grow")
    func seals() throws {
        let file = try makeMemoryFile(name: "sealed", size: 8192)
        try file.seal()
        #expect(ftruncate(file.rawValue, 4096) == -1 && errno == EPERM)
        #expect(ftruncate(file.rawValue, 16384) == -1 && errno == EPERM)
    }
}
