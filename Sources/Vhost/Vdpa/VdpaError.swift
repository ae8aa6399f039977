import Host

/// Why a vDPA device did not do what was asked of it: one sentence, with the remedy where there is one.
public struct VdpaError: Error, Sendable, Equatable, CustomStringConvertible {
    /// What kind of refusal it is.
    public enum Kind: Sendable, Equatable {
        /// Somebody else has the device, or it is in a state in which this is not possible (EBUSY).
        case busy
        /// This process may not (EACCES, EPERM).
        case notPermitted
        /// An address, size, index or number that the device does not have (EINVAL, ENOBUFS, E2BIG).
        case outOfRange
        /// More memory would be locked than this process may (ENOMEM).
        case memoryLimit
        /// Something is mapped at the address (EEXIST).
        case overlap
        /// The device or the kernel cannot do it (EOPNOTSUPP, ENOTTY).
        case unsupported
        /// The device has gone (ENODEV, EIO, ENXIO).
        case gone
        /// The device did not take what it was told.
        case refused
        /// Anything else.
        case other
    }
    /// What kind of refusal it is.
    public let kind: Kind
    /// One sentence, without the name of the device.
    public let description: String

    /// An error.
    public init(_ kind: Kind, _ description: String) {
        self.kind = kind
        self.description = description
    }

    /// What the kernel's answer to a request means.
    init(_ error: SystemError) {
        kind = Self.kind(of: error.errno)
        let meaning: String? =
            switch kind {
            case .busy:
                error.call == "open"
                    ? "another process uses the device" : "the device is in a state in which this is not possible"
            case .notPermitted: "this process may not do that"
            case .memoryLimit:
                VdpaNode.memoryLockLimit.map {
                    "the kernel locks the memory that the device reaches, and this process may lock \($0) bytes (RLIMIT_MEMLOCK); raise the limit with 'ulimit -l', or LimitMEMLOCK= of a service"
                }
            case .overlap: "something is mapped there already"
            case .unsupported: "the device or this kernel cannot do that"
            case .gone: "the device does not answer any more"
            case .outOfRange, .refused, .other: nil
            }
        let text = "\(error.call): \(error.errno)"
        description = meaning.map { "\(text): \($0)." } ?? "\(text)."
    }

    private static func kind(of errno: Errno) -> Kind {
        switch errno {
        case .busy: .busy
        case .accessDenied, .notPermitted: .notPermitted
        case .invalidArgument, .noBuffers, .tooBig: .outOfRange
        case .noMemory: .memoryLimit
        case .exists: .overlap
        case .notSupported, .notTerminal: .unsupported
        case .noDevice, .noDeviceOrAddress, .inputOutput: .gone
        default: .other
        }
    }
}

/// Runs a request, and says what the kernel's refusal means.
func asked<Result>(_ body: () throws(SystemError) -> Result) throws(VdpaError) -> Result {
    do { return try body() } catch { throw VdpaError(error) }
}
