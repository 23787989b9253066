/// Rows of cells as aligned text.
package enum TextTable {
    /// Aligns cells by column, with two spaces between columns.
    ///
    /// - Parameters:
    ///   - rows: the header first; no row is longer than the header.
    ///   - first: the first column that is aligned to the right; nil for none.
    package static func aligned(_ rows: [[String]], numbersFrom first: Int? = nil) -> String {
        var widths = [Int](repeating: 0, count: rows.first?.count ?? 0)
        for row in rows {
            for (column, cell) in row.enumerated() { widths[column] = max(widths[column], cell.count) }
        }
        return rows.map { row in
            row.enumerated().map { column, cell in
                let padding = String(repeating: " ", count: widths[column] - cell.count)
                return column < first ?? .max ? cell + padding : padding + cell
            }.joined(separator: "  ")
        }.joined(separator: "\n")
    }
}
