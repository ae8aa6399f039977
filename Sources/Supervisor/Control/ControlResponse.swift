import Schema

/// What the server answers to a request.
struct ControlResponse: Sendable {
    /// The HTTP status.
    let status: Int
    /// The body; nil: none.
    let body: JSONValue?
    /// The methods that a path knows, for `Allow`.
    var allow: String?

    init(_ status: Int, _ body: JSONValue?, allow: String? = nil) {
        self.status = status
        self.body = body
        self.allow = allow
    }

    init(_ refusal: Refusal) {
        let error: JSONValue = ["code": .integer(Int64(refusal.code.rawValue)), "message": .string(refusal.message)]
        self.init(refusal.status, ["error": error], allow: refusal.allow)
    }

    /// A request that is not carried out: the status, and for a person one sentence with the exit code that the command line ends with.
    struct Refusal: Error, Sendable {
        let status: Int
        let code: ExitCode
        let message: String
        var allow: String?

        init(_ status: Int, _ code: ExitCode, _ message: String, allow: String? = nil) {
            self.status = status
            self.code = code
            self.message = message
            self.allow = allow
        }

        /// The VM did not do it.
        init(_ error: VMError) { self.init(Self.status(of: error.code), error.code, error.message) }

        /// The one place where an exit code becomes a status.
        static func status(of code: ExitCode) -> Int {
            switch code {
            case .usage, .configuration: 422
            // What stands in the way is outside of the request: a file that exists already, a VM that ends.
            case .resource, .success, .guestReset, .guestPanic, .guestTripleFault, .stopped: 409
            case .failure, .host: 500
            }
        }

        static func badRequest(_ message: String) -> Refusal { Refusal(400, .usage, message) }
        static func notFound(_ message: String) -> Refusal { Refusal(404, .usage, message) }
        static func unprocessable(_ message: String) -> Refusal { Refusal(422, .usage, message) }
        static func busy(_ message: String) -> Refusal { Refusal(503, .resource, message) }
        static let tooSlow = Refusal(408, .usage, "The request did not arrive in time.")
        static let ending = busy("The VM is ending and takes no more commands.")
        static let tooManyConnections = busy("The VM has as many control connections as it takes; close one.")
        static func tooLarge(_ limit: Int) -> Refusal { Refusal(413, .usage, "The body is longer than \(limit) bytes.") }
    }
}
