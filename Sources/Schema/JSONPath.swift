/// The way from a document's root to a value in it, such as `devices[1].readOnly`.
public struct JSONPath: Sendable, Equatable, CustomStringConvertible, ExpressibleByStringLiteral {
    /// One step into a document.
    public enum Step: Sendable, Equatable {
        /// To a member of an object.
        case key(String)
        /// To an element of an array, from 0.
        case index(Int)
    }

    /// The steps, the first one from the root.
    public let steps: [Step]

    /// A path of steps; none is the root.
    public init(_ steps: [Step] = []) { self.steps = steps }

    /// A member of the root.
    public init(stringLiteral key: String) { steps = [.key(key)] }

    /// The path that goes one step further.
    public func appending(_ step: Step) -> JSONPath { JSONPath(steps + [step]) }

    /// The path as messages write it; empty for the root.
    public var description: String {
        var text = ""
        for step in steps {
            switch step {
            case .key(let key): text += text.isEmpty ? key : ".\(key)"
            case .index(let index): text += "[\(index)]"
            }
        }
        return text
    }
}
