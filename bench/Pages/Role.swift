/// What a mark stands for. A role has one colour in all pictures, from the palette of Okabe and Ito, which the colour-blind tell apart
/// (https://jfly.uni-koeln.de/color/). Colour never tells anything alone: lanes and series have names, series have shapes as well.
package enum Role: String, CaseIterable, Sendable {
    /// The guest's VF, or the port of it.
    case primary
    /// The paravirtual port.
    case standby
    /// Frames that were lost by steering, or in all.
    case lost
    /// Frames that were lost while the guest took them by neither NIC.
    case gap
    /// What is neither: the guest, or frames lost while it stood still.
    case plain
    /// The thing that is measured.
    case subject
    /// Series beside it.
    case first, second, third, fourth, fifth, sixth, seventh

    /// The series beside the one that is measured, in order.
    package static let others: [Role] = [.first, .second, .third, .fourth, .fifth, .sixth, .seventh]

    /// The colours on a light and on a dark ground; each has a contrast of 3 to 1 at least, which WCAG 2.1 (1.4.11) asks of graphics.
    package var colours: (light: String, dark: String) {
        switch self {
        case .primary, .subject: ("#0072B2", "#56B4E9")
        case .standby, .first: ("#008A64", "#009E73")
        case .lost, .second: ("#D55E00", "#E8743B")
        case .gap, .third: ("#B0588A", "#CC79A7")
        case .plain, .fourth: ("#555555", "#BBBBBB")
        case .fifth: ("#A87400", "#E69F00")
        case .sixth: ("#2F86BD", "#0096E0")
        case .seventh: ("#7F7A00", "#F0E442")
        }
    }

    /// The shape of the role's points.
    var shape: Shape {
        switch self {
        case .lost, .second: .diamond
        case .standby, .first: .square
        case .gap, .third: .triangle
        case .fifth: .cross
        default: .circle
        }
    }

    /// A shape of points.
    enum Shape { case circle, square, diamond, triangle, cross }

    /// The style rules of all roles.
    static var styles: String {
        func rules(_ colour: (Role) -> String) -> String {
            allCases.map { "--\($0.rawValue):\(colour($0));" }.joined()
        }
        let classes = allCases.map {
            ".f-\($0.rawValue){fill:var(--\($0.rawValue))}.s-\($0.rawValue){stroke:var(--\($0.rawValue));fill:none}"
        }.joined(separator: "\n")
        return """
            :root{color-scheme:light dark;--ground:#ffffff;--ink:#1a1a1a;--faint:#5f5f5f;--grid:#d9d9d9;--panel:#f4f4f4;--shade:#dcd6c8;\(rules { $0.colours.light })}
            @media (prefers-color-scheme:dark){:root{--ground:#121212;--ink:#eeeeee;--faint:#a8a8a8;--grid:#3a3a3a;--panel:#1d1d1d;--shade:#4a4436;\(rules { $0.colours.dark })}}
            \(classes)
            """
    }
}
