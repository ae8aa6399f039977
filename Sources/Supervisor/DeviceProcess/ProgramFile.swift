import Host

/// The program that runs, and the one that is installed in its place.
enum ProgramFile {
    /// What this process executes, wherever it has gone since.
    static let running = "/proc/self/exe"

    /// What is installed now where this process's program was.
    static func installed() throws(VMError) -> String {
        guard var path = linkTarget(running) else { throw VMError(.host, "\(running) cannot be read.") }
        let gone = " (deleted)"
        if path.hasSuffix(gone) { path.removeLast(gone.utf8.count) }
        guard findProgram(path) != nil else { throw VMError(.resource, "\(path): expected the program that is to be started.") }
        return path
    }
}
