public import Host
public import Virtqueue

/// Why a driver on the host cannot do what it was asked to.
public enum DriverError: Error, Sendable, Equatable {
    /// The host refused a step, which the text names as the rest of "could not …".
    case host(String, SystemError)
    /// The device, or the way to it, cannot be used; a whole sentence.
    case refused(String)
    /// Something was asked for that needs a feature which was not negotiated.
    case notNegotiated(String)
    /// A call came before another one that it needs, or twice; a whole sentence.
    case wrongState(String)
    /// There is no queue of that number, or nobody can have it any more.
    case noSuchQueue(Int)
    /// A buffer does not lie in memory that the device was shown.
    case notMapped
    /// The memory is shown to the device already.
    case alreadyMapped
    /// The device takes no more regions of memory.
    case tooManyRegions(limit: Int)
    /// The device's address space has no room for so many bytes.
    case noAddressSpace(Int)
    /// A request without data, or with a buffer of no bytes.
    case noData
    /// An offset or a length is no multiple of so many bytes.
    case unaligned(UInt64, to: UInt64)
    /// A request reaches behind the end of the disk. All numbers are bytes.
    case beyondEnd(offset: UInt64, count: UInt64, capacity: UInt64)
    /// The device takes no writes.
    case readOnly
    /// More bytes, or more buffers, than the device takes in one request.
    case tooLarge(UInt64, limit: UInt64)
    /// All descriptors of the queue are in use: take completions, then try again.
    case queueFull
    /// The buffers make no chain.
    case chain(DriverFault)
    /// The device broke a rule of its ring. The queue is not used any more.
    case brokenRing(DriverFault)
    /// The device wants to be reset (DEVICE_NEEDS_RESET).
    case needsReset
    /// The device has gone; a whole sentence.
    case gone(String)
    /// The device has not answered in time.
    case timedOut
    /// The device has done what it was asked without success.
    case failed(RequestStatus)
}

/// How the device says that a request went.
public enum RequestStatus: Sendable, Equatable {
    /// VIRTIO_BLK_S_OK.
    case ok
    /// VIRTIO_BLK_S_IOERR.
    case ioError
    /// VIRTIO_BLK_S_UNSUPP.
    case unsupported
    /// Nothing that the specification knows; also what stands there when the device has written no status.
    case unknown(UInt8)
    /// The device has gone, or was reset, before it answered: whether it did anything nobody knows.
    case abandoned

    /// The status that a byte stands for (virtio 1.3, 5.2.6).
    init(_ byte: UInt8) {
        self =
            switch byte {
            case 0: .ok
            case 1: .ioError
            case 2: .unsupported
            default: .unknown(byte)
            }
    }
}

extension DriverError: CustomStringConvertible {
    /// One sentence.
    public var description: String {
        switch self {
        case .host(let step, let error): "The host could not \(step) (\(error))."
        case .refused(let sentence), .wrongState(let sentence), .gone(let sentence): sentence
        case .notNegotiated(let name): "The device has no \(name), or it was not negotiated."
        case .noSuchQueue(let index): "There is no queue \(index)."
        case .notMapped: "A buffer lies outside of the memory that the device was shown."
        case .alreadyMapped: "The device was shown this memory already."
        case .tooManyRegions(let limit): "The device takes no more than \(limit) regions of memory."
        case .noAddressSpace(let count): "The device's address space has no room for \(count) bytes."
        case .noData: "A request needs data."
        case .unaligned(let value, let alignment): "\(value) is not a multiple of \(alignment) bytes."
        case .beyondEnd(let offset, let count, let capacity):
            "\(count) bytes from \(offset) on reach behind the end of the disk, which has \(capacity) bytes."
        case .readOnly: "The disk is read-only."
        case .tooLarge(let value, let limit): "The device takes at most \(limit) in one request, not \(value)."
        case .queueFull: "The queue is full."
        case .chain(let fault): "The request cannot be made: \(fault)."
        case .brokenRing(let fault): "The device broke a rule: \(fault)."
        case .needsReset: "The device needs a reset."
        case .timedOut: "The device does not answer."
        case .failed(let status): "The device could not do it: \(status)."
        }
    }
}

extension RequestStatus: CustomStringConvertible {
    /// A few words, to stand in a sentence.
    public var description: String {
        switch self {
        case .ok: "done"
        case .ioError: "an I/O error"
        case .unsupported: "the request is not supported"
        case .unknown(let byte): "unknown status \(byte)"
        case .abandoned: "it was reset, or has gone, before it answered"
        }
    }
}

/// Runs a step that only the host can make fail, and says which it was.
func hosted<Result: ~Copyable>(_ step: String, _ body: () throws(SystemError) -> Result) throws(DriverError) -> Result {
    do { return try body() } catch { throw .host(step, error) }
}
