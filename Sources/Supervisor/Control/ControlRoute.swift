/// One thing that the control socket can do: the table that the router, the documentation's test and the reader look at.
struct ControlRoute: Sendable {
    /// What is done.
    enum Operation: Sendable {
        case info
        case configuration
        case devices
        case device
        case events
        case sleep
        case wake
        case snapshot
        case stop
        case powerButton
        case upgradeDevice
    }
    /// `GET` (which also answers HEAD) or `POST`.
    let method: String
    /// The path; a component in braces stands for any name.
    let path: String
    let operation: Operation
    /// The statuses that its answers can have, beside those of `everywhere`.
    let statuses: [Int]

    /// Statuses that any request can get: it cannot be read, came too slowly, is too large, in an encoding that nobody knows, expects what
    /// nobody knows, has too many header fields; or there are too many connections.
    static let everywhere = [400, 408, 413, 415, 417, 431, 503]

    static let all: [ControlRoute] = [
        ControlRoute(method: "GET", path: "/v1/vm", operation: .info, statuses: [200]),
        ControlRoute(method: "GET", path: "/v1/vm/config", operation: .configuration, statuses: [200]),
        ControlRoute(method: "GET", path: "/v1/devices", operation: .devices, statuses: [200]),
        ControlRoute(method: "GET", path: "/v1/devices/{id}", operation: .device, statuses: [200, 404]),
        ControlRoute(
            method: "POST", path: "/v1/devices/{id}/upgrade", operation: .upgradeDevice, statuses: [200, 409, 422, 500]),
        ControlRoute(method: "GET", path: "/v1/events", operation: .events, statuses: [200]),
        ControlRoute(method: "POST", path: "/v1/vm/sleep", operation: .sleep, statuses: [200, 409, 422, 500]),
        ControlRoute(method: "POST", path: "/v1/vm/wake", operation: .wake, statuses: [200, 409, 422, 500]),
        ControlRoute(method: "POST", path: "/v1/vm/snapshot", operation: .snapshot, statuses: [200, 409, 422, 500]),
        ControlRoute(method: "POST", path: "/v1/vm/stop", operation: .stop, statuses: [202, 409, 422, 500]),
        ControlRoute(method: "POST", path: "/v1/vm/power-button", operation: .powerButton, statuses: [202, 422]),
    ]

    /// What a request asks for.
    enum Match: Sendable {
        /// A route, and what stood in place of its braces.
        case route(ControlRoute, argument: String)
        /// OPTIONS: the methods that the target knows.
        case options(allow: String)
    }

    /// Finds what a method and a target mean.
    static func match(method: String, target: String) throws(ControlResponse.Refusal) -> Match {
        if method == "OPTIONS", target == "*" { return .options(allow: "GET, HEAD, OPTIONS, POST") }
        let path = try path(of: target)
        let found = all.compactMap { route in argument(of: path, in: route.path).map { (route: route, argument: $0) } }
        guard !found.isEmpty else { throw .notFound("There is nothing at \(shortened(path)); see Docs/control.md.") }
        if let hit = found.first(where: { $0.route.method == method || ($0.route.method == "GET" && method == "HEAD") }) {
            return .route(hit.route, argument: hit.argument)
        }
        let methods = found.flatMap { $0.route.method == "GET" ? ["GET", "HEAD"] : [$0.route.method] } + ["OPTIONS"]
        let allow = methods.sorted().joined(separator: ", ")
        if method == "OPTIONS" { return .options(allow: allow) }
        throw ControlResponse.Refusal(
            405, .usage, "\(shortened(path)) does not know the method \(shortened(method)), only \(allow).", allow: allow)
    }

    /// The path of a target in origin form (`/v1/vm`) or absolute form (`http://localhost/v1/vm`).
    private static func path(of target: String) throws(ControlResponse.Refusal) -> String {
        var path = target[...]
        if let scheme = ["http://", "HTTP://"].first(where: { target.hasPrefix($0) }) {
            path = path.dropFirst(scheme.count)
            path = path.firstIndex(of: "/").map { path[$0...] } ?? "/"
        }
        guard path.hasPrefix("/") else { throw .badRequest("The request's target is no path.") }
        guard !path.contains("?") else { throw .badRequest("The request's target has a query; nothing here takes one.") }
        return String(path)
    }

    /// What stands in place of the braces; empty where there are none, nil when the path is another one.
    private static func argument(of path: String, in pattern: String) -> String? {
        let have = path.split(separator: "/", omittingEmptySubsequences: false)
        let want = pattern.split(separator: "/", omittingEmptySubsequences: false)
        guard have.count == want.count else { return nil }
        var argument = ""
        for (part, wanted) in zip(have, want) {
            if wanted.hasPrefix("{") {
                guard !part.isEmpty else { return nil }
                argument = String(part)
            } else if part != wanted {
                return nil
            }
        }
        return argument
    }

    /// A text of a client in a message: not longer than is useful, and without control characters.
    static func shortened(_ text: String) -> String {
        let clean = String(String.UnicodeScalarView(text.unicodeScalars.prefix(80).filter { $0.value >= 0x20 && $0.value != 0x7f }))
        return text.unicodeScalars.count > 80 ? clean + "…" : clean
    }
}
