import Schema
public import VirtualMachine

/// What `swvmm restore` is asked for.
public struct RestoreRequest: Sendable {
    /// Another host side for a device, by its id.
    public struct Override: Sendable, Equatable {
        /// The kinds of devices whose host side can be replaced.
        public enum Kind: String, Sendable {
            /// The image of a block device.
            case disk
            /// The back-end of a network device.
            case net
            /// The back-end of a console, or of the serial port, whose id is `serial`.
            case console
        }
        /// The kind.
        public let kind: Kind
        /// The device's id.
        public let id: String
        /// The new host side, as the option has it.
        public let value: String

        /// An override from an option's `ID=VALUE`; nil for any other text.
        public init?(_ kind: Kind, _ text: String) {
            guard let separator = text.firstIndex(of: "="), separator != text.startIndex else { return nil }
            self.kind = kind
            id = String(text[..<separator])
            value = String(text[text.index(after: separator)...])
            if value.isEmpty { return nil }
        }
    }

    /// The snapshot's directory.
    public var directory: String
    /// The new VM's name; nil keeps that of the snapshot.
    public var name: String?
    /// Whether the VM stays asleep until `swvmm wake`.
    public var asleep = false
    /// Other host sides.
    public var overrides: [Override] = []
    /// Another place for the devices; nil: as they were.
    public var isolation: Isolation?
    /// Whether all of RAM is read before the guest goes on.
    public var prefault = false
    /// Whether RAM is compared with its digest first.
    public var verify = false
    /// What the guest's clocks do about the time since the snapshot.
    public var clock = ClockPolicy.resume
    /// Where the snapshot is that this one lies on; nil: where it was.
    public var base: String?

    /// Where the machine and its devices will live, as the configuration of the snapshot has it or this request wants it.
    func isolation(of configuration: JSONValue) -> Isolation {
        if let isolation { return isolation }
        guard case .object(let members) = configuration, case .string(let name)? = members["isolation"] else { return .standard }
        return Isolation(rawValue: name) ?? .standard
    }

    /// A request without options.
    public init(directory: String) { self.directory = directory }
}
