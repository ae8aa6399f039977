import CProbe
import Host
import Jail

/// Closes the same jail as a device's process does, and then tries one thing that nobody in it may do: `JailProbe KIND INDEX root|user`,
/// started with namespaces of its own and with a report on descriptor 3; where a room is to be entered, what that takes begins at 4. It ends
/// with 0 when it went on after the attempt. With -1 for INDEX it says on descriptor 3 that its jail is closed, and does nothing for ever.
@main
enum Probe {
    static func main() {
        let arguments = CommandLine.arguments
        guard arguments.count == 4, let index = Int32(arguments[2]) else { leave(with: 64) }
        do {
            guard let filter = SystemCallFilter.builtIn(arguments[1]) else { leave(with: 65) }
            var jail = ProcessJail.Settings(filter: filter, report: 3)
            jail.room = JailRoom.Door(inheritedFrom: 4)
            try ProcessJail.close(jail, inUserNamespace: arguments[3] == "user")
        } catch {
            StandardError.write("\(error)\n")
            leave(with: 66)
        }
        if index == -1 {
            do {
                let report = try OwnedDescriptor.duplicating(inherited: 3)
                try report.writeAll(Array("closed".utf8))
            } catch {
                leave(with: 67)
            }
            while true {}
        }
        probe_attempt(index)
        leave(with: 0)
    }
}
