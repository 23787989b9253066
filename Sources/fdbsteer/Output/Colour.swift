import Controller
import Glibc
import System

/// Colour on a terminal, unless NO_COLOR is set (no-color.org). A word always says the same as its colour.
enum Colour: String {
    case red = "31"
    case yellow = "33"
    case green = "32"

    private static let isOn =
        isatty(STDOUT_FILENO) != 0 && Environment.value("NO_COLOR") == nil && Environment.value("TERM") != "dumb"

    /// A text in this colour.
    func paint(_ text: String) -> String {
        Colour.isOn ? "\u{1b}[1;\(rawValue)m\(text)\u{1b}[0m" : text
    }
}

extension Health {
    /// The word in its colour.
    var painted: String {
        switch self {
        case .problem, .interrupted: Colour.red.paint(rawValue)
        case .warning, .underWay: Colour.yellow.paint(rawValue)
        case .ok: Colour.green.paint(rawValue)
        case .elsewhere, .void: rawValue
        }
    }
}
