import NIOCore
import NIOHTTP1
import Schema

/// One request, as far as it has come.
struct ControlExchange {
    let version: HTTPVersion
    let isHead: Bool
    let keepsAlive: Bool
    /// The client waits for leave to send its body (RFC 9110, 10.1.1).
    private(set) var expectsContinue = false
    var match: Result<ControlRoute.Match, ControlResponse.Refusal> = .failure(.badRequest("The request has no head."))
    var body: [UInt8] = []
    /// All of the request has come.
    var isWhole = false

    /// A request that could not be read.
    init() {
        version = .http1_1
        isHead = false
        keepsAlive = false
    }

    init(_ head: HTTPRequestHead) {
        version = head.version
        isHead = head.method == .HEAD
        // After a request to change protocols, which nobody here follows, the decoder stops.
        keepsAlive = head.isKeepAlive && head.method != .CONNECT && !head.headers.contains(name: "upgrade")
        expectsContinue =
            head.version == .http1_1 && head.headers["expect"].contains { $0.lowercased() == "100-continue" }
            && (head.headers.contains(name: "content-length") || head.headers.contains(name: "transfer-encoding"))
    }

    /// What the head alone can be refused for.
    func check(_ head: HTTPRequestHead, limits: ControlLimits) throws(ControlResponse.Refusal) {
        if head.version == .http1_1, head.headers["host"].count != 1 {
            throw .badRequest("The request has no Host, or several; \"localhost\" will do.")
        }
        if let other = head.headers["expect"].first(where: { $0.lowercased() != "100-continue" }) {
            throw ControlResponse.Refusal(
                417, .usage, "The request expects \"\(ControlRoute.shortened(other))\", and only 100-continue is known.")
        }
        if head.headers["content-encoding"].contains(where: { $0.lowercased() != "identity" }) {
            throw ControlResponse.Refusal(415, .usage, "The body has an encoding; expected plain JSON.")
        }
        if let length = head.headers.first(name: "content-length"), Int(length).map({ $0 > limits.body }) ?? true {
            throw .tooLarge(limits.body)
        }
    }

    /// The header fields of an answer.
    func headers(for response: ControlResponse, length: Int, staysOpen: Bool) -> HTTPHeaders {
        var headers = HTTPHeaders()
        if response.body != nil { headers.add(name: "content-type", value: "application/json") }
        headers.add(name: "content-length", value: "\(length)")
        headers.add(name: "cache-control", value: "no-store")
        if let allow = response.allow { headers.add(name: "allow", value: allow) }
        if !staysOpen {
            headers.add(name: "connection", value: "close")
        } else if version == .http1_0 {
            headers.add(name: "connection", value: "keep-alive")
        }
        return headers
    }
}

enum JSONResponse {
    /// A body as it is sent: laid out for people, who look at it with curl.
    static func text(_ value: JSONValue) -> String { JSONText.encode(value) }
}
