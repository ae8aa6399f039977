public import Schema

/// How documents of older format versions become those of the current one.
///
/// Every step takes a state of one version to the next. Version 1 is the first, so there is no step yet.
public struct Migration: Sendable {
    /// Takes the documents of a snapshot one version further.
    public typealias Step = @Sendable (Documents) throws(StateError) -> Documents

    /// The documents of a snapshot.
    public struct Documents: Sendable, Equatable {
        /// `manifest.json`.
        public var manifest: JSONValue
        /// `config.json`.
        public var configuration: JSONValue
        /// `state.json`.
        public var state: JSONValue

        /// Three documents.
        public init(manifest: JSONValue, configuration: JSONValue, state: JSONValue) {
            self.manifest = manifest
            self.configuration = configuration
            self.state = state
        }
    }

    /// The newest version.
    public let current: Int64
    /// The step from version n to n + 1 is at index n − 1.
    private let steps: [Step]

    /// Steps from version 1 on; the last leads to the current version.
    public init(steps: [Step]) {
        self.steps = steps
        current = Int64(steps.count) + 1
    }

    /// The steps of this build.
    public static let standard = Migration(steps: [])

    /// Takes documents of `version` (1 … current) to the current one.
    public func migrate(_ documents: Documents, from version: Int64) throws(StateError) -> Documents {
        var documents = documents
        for step in steps.dropFirst(Int(clamping: max(version, 1) - 1)) { documents = try step(documents) }
        return documents
    }
}
