/// Finds the escape key, Ctrl-A, in what a person types: the next key is a command, everything else goes to the guest.
struct EscapeKeys: Sendable, Equatable {
    /// What a person asked for.
    enum Command: Sendable, Equatable {
        /// Ctrl-A x: end the VM.
        case quit
        /// Ctrl-A p: press the power button.
        case powerButton
        /// Ctrl-A h or ?: show the keys.
        case help
    }

    static let escape: UInt8 = 0x01
    static let help = "\nCtrl-A x  end the VM    Ctrl-A p  press its power button    Ctrl-A Ctrl-A  send Ctrl-A    Ctrl-A h  this help\n"

    private var isEscaped = false

    /// Splits input into what the guest gets and what was asked for, in order.
    mutating func filter(_ input: some Sequence<UInt8>) -> (forwarded: [UInt8], commands: [Command]) {
        var forwarded: [UInt8] = []
        var commands: [Command] = []
        for byte in input {
            guard isEscaped else {
                if byte == Self.escape { isEscaped = true } else { forwarded.append(byte) }
                continue
            }
            isEscaped = false
            switch byte {
            case UInt8(ascii: "x"), UInt8(ascii: "X"): commands.append(.quit)
            case UInt8(ascii: "p"): commands.append(.powerButton)
            case UInt8(ascii: "h"), UInt8(ascii: "?"): commands.append(.help)
            case Self.escape: forwarded.append(byte)
            // Not a command: the guest gets both keys, as if there were no escape key.
            default: forwarded += [Self.escape, byte]
            }
        }
        return (forwarded, commands)
    }
}
