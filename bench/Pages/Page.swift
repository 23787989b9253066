/// One HTML page with everything in it: nothing is loaded from elsewhere, and there is no script.
package struct Page: Sendable {
    private let title: String
    private var body = ""

    /// - Parameters:
    ///   - title: what was measured.
    ///   - summary: what that means, and what came out, in a few sentences.
    package init(_ title: String, summary: [String]) {
        self.title = title
        for words in summary { paragraph(words) }
    }

    /// Begins a part.
    package mutating func heading(_ words: String) { body += "<h2>\(Markup.escaped(words))</h2>\n" }

    /// Appends a paragraph.
    package mutating func paragraph(_ words: String) { body += "<p>\(Markup.escaped(words))</p>\n" }

    /// Appends names with what they have.
    package mutating func facts(_ facts: [(String, String)]) {
        let rows = facts.map { "<dt>\(Markup.escaped($0))</dt><dd>\(Markup.escaped($1))</dd>\n" }
        body += "<dl>\n\(rows.joined())</dl>\n"
    }

    /// Appends a table.
    ///
    /// - Parameters:
    ///   - rows: the header first.
    ///   - first: the first column of numbers.
    package mutating func table(_ rows: [[String]], numbersFrom first: Int) {
        func row(_ cells: [String], _ tag: String) -> String {
            let cells = cells.enumerated().map { column, cell in
                "<\(tag)\(column >= first ? " class=\"number\"" : "")>\(Markup.escaped(cell))</\(tag)>"
            }
            return "<tr>\(cells.joined())</tr>\n"
        }
        guard let head = rows.first else { return }
        body +=
            "<div class=\"table\"><table>\n<thead>\(row(head, "th"))</thead>\n<tbody>\n"
            + rows.dropFirst().map { row($0, "td") }.joined() + "</tbody></table></div>\n"
    }

    /// Appends a picture with its title, and the words of its marks.
    package mutating func chart(_ chart: some Chart) {
        body += "<figure>\n<figcaption>\(Markup.escaped(chart.title))</figcaption>\n\(chart.svg)\n</figure>\n"
        guard let lanes = chart as? LaneChart else { return }
        for (title, marks) in lanes.legend {
            body += "<details><summary>What happened: \(Markup.escaped(title))</summary>\n"
            table([["", "at", "what"]] + marks.map { [$0.letter, $0.time, $0.words] }, numbersFrom: 3)
            body += "</details>\n"
        }
    }

    /// Appends commands to type.
    package mutating func commands(_ lines: [String]) {
        body += "<pre>\(lines.map(Markup.escaped).joined(separator: "\n"))</pre>\n"
    }

    /// The page.
    package var html: String {
        """
        <!DOCTYPE html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>\(Markup.escaped(title))</title>
        <style>
        \(Role.styles)
        \(Page.styles)
        </style>
        </head>
        <body>
        <h1>\(Markup.escaped(title))</h1>
        \(body)</body>
        </html>

        """
    }

    private static let styles = """
        body{margin:0 auto;padding:16px;max-width:760px;background:var(--ground);color:var(--ink);font:16px/1.5 sans-serif}
        h1{font-size:24px;line-height:1.25}h2{font-size:19px;margin-top:32px}
        figure{margin:16px 0}figcaption{font-weight:bold;margin-bottom:8px}svg{display:block;width:100%;height:auto;font-family:sans-serif}
        .ink{fill:var(--ink)}.faint{fill:var(--faint)}.bold{font-weight:bold}.panel{fill:var(--panel)}.shade{fill:var(--shade)}.grid{fill:var(--faint)}
        .gridline{stroke:var(--grid);fill:none}.mark{stroke:var(--faint);fill:none;stroke-dasharray:2 2}.frame{stroke:var(--ink);fill:none;stroke-dasharray:4 2}
        .table{overflow-x:auto;margin:12px 0}table{border-collapse:collapse;font-size:12px}th,td{padding:3px 7px 3px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--grid)}
        .table td:first-child{min-width:11em}
        .number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}th.number{white-space:normal}
        dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px}dt{color:var(--faint)}dd{margin:0}
        pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--panel);padding:12px;font-size:13px}summary{cursor:pointer}
        """
}
