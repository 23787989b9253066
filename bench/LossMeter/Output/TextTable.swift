/// Rows of cells as aligned text.
package enum TextTable {
    /// The columns of a terminal that tables fit.
    private static let width = 100

    /// Aligns cells by column, with two spaces between columns.
    ///
    /// - Parameters:
    ///   - rows: the header first; no row is longer than the header.
    ///   - first: the first column that is aligned to the right; nil for none.
    package static func aligned(_ rows: [[String]], numbersFrom first: Int? = nil) -> String {
        let widths = widths(of: rows)
        return rows.map { row in
            row.enumerated().map { column, cell in
                let padding = String(repeating: " ", count: widths[column] - cell.count)
                return column < first ?? .max ? cell + padding : padding + cell
            }.joined(separator: "  ")
        }.joined(separator: "\n")
    }

    /// The same within 100 columns: what does not fit is left out from the right, and said.
    ///
    /// - Parameter isWide: whether all columns are wanted.
    package static func fitted(_ rows: [[String]], numbersFrom first: Int, isWide: Bool) -> String {
        var (taken, count) = (-2, 0)
        for width in widths(of: rows) {
            taken += width + 2
            if taken > TextTable.width { break }
            count += 1
        }
        let head = rows.first ?? []
        if isWide || count == head.count { return aligned(rows, numbersFrom: first) }
        return aligned(rows.map { Array($0.prefix(count)) }, numbersFrom: first)
            + "\n(--wide shows also: \(head.dropFirst(count).joined(separator: ", ")))"
    }

    private static func widths(of rows: [[String]]) -> [Int] {
        var widths = [Int](repeating: 0, count: rows.first?.count ?? 0)
        for row in rows {
            for (column, cell) in row.enumerated() { widths[column] = max(widths[column], cell.count) }
        }
        return widths
    }
}
