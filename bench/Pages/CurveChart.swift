import Glibc

/// Values by number, a curve for each series; both axes are logarithmic. Each curve has its name at its end.
package struct CurveChart: Chart {
    /// A curve.
    package struct Series: Sendable {
        let name: String
        let role: Role
        let points: [(number: Int, value: Double)]

        /// - Parameter points: values above 0, in the order of the numbers.
        package init(_ name: String, _ role: Role, _ points: [(Int, Double)]) {
            self.name = name
            self.role = role
            self.points = points.filter { $0.0 > 0 && $0.1 > 0 }.map { (number: $0.0, value: $0.1) }
        }
    }

    package let title: String
    private let units: (number: String, value: String)
    private let series: [Series]

    private static let height = 300.0
    private static let top = 28.0

    /// - Parameters:
    ///   - number: what the numbers count, below the axis.
    ///   - value: the unit of the values, above the axis.
    package init(_ title: String, number: String, value: String, _ series: [Series]) {
        self.title = title
        units = (number, value)
        self.series = series.filter { !$0.points.isEmpty }
    }

    package var svg: String {
        let points = series.flatMap(\.points)
        let names = (series.map { Canvas.width(of: $0.name) }.max() ?? 0) + 26
        let exponents = (
            Int(log10(points.map(\.value).min() ?? 1).rounded(.down)),
            Int(log10(points.map(\.value).max() ?? 1).rounded(.up))
        )
        let decades = exponents.0...max(exponents.1, exponents.0 + 1)
        let left = (decades.map { Canvas.width(of: CurveChart.power($0)) }.max() ?? 0) + 14
        let width = Canvas.width - left - names
        let most = log10(Double(max(10, points.map(\.number).max() ?? 10)))
        func x(_ number: Int) -> Double { left + log10(Double(number)) / most * width }
        func y(_ value: Double) -> Double {
            CurveChart.top + CurveChart.height
                * (1 - (log10(value) - Double(decades.lowerBound)) / Double(decades.count - 1))
        }
        var canvas = Canvas(height: CurveChart.top + CurveChart.height + 44)
        canvas.text(2, 14, units.value, isFaint: true)
        for decade in decades {
            let height = y(pow(10, Double(decade)))
            canvas.line([(left, height), (left + width, height)], "gridline")
            canvas.text(left - 8, height + 4, CurveChart.power(decade), .end, isFaint: true)
        }
        let numbers = Set(points.map(\.number)).sorted()
        Axis(from: left, to: left + width, labels: numbers.map { (x($0), RangeChart.short($0)) })
            .draw(below: CurveChart.top + CurveChart.height, on: &canvas)
        canvas.text(left + width / 2, CurveChart.top + CurveChart.height + 38, units.number, .middle, isFaint: true)
        for series in series {
            let places = series.points.map { (x: x($0.number), y: y($0.value)) }
            canvas.line(places, "s-\(series.role.rawValue)", width: series.role == .subject ? 3 : 1.5)
            for place in places { canvas.point(place.x, place.y, series.role) }
        }
        nameCurves(from: left + width, y, on: &canvas)
        return canvas.svg(describedBy: title)
    }

    /// Names at the curves' ends, each on a line of its own, with a line to the end where it had to give way.
    private func nameCurves(from x: Double, _ y: (Double) -> Double, on canvas: inout Canvas) {
        let line = 15.0
        let ends = series.compactMap { series in series.points.last.map { (series: series, y: y($0.value)) } }
            .sorted { $0.y < $1.y }
        var places: [Double] = []
        for end in ends { places.append(max(end.y, (places.last ?? -.infinity) + line)) }
        // What went too far down goes up again, and takes those above it along.
        var limit = CurveChart.top + CurveChart.height
        for index in places.indices.reversed() {
            places[index] = min(places[index], limit)
            limit = places[index] - line
        }
        for (end, place) in zip(ends, places) {
            canvas.line([(x + 6, end.y), (x + 12, place)], "s-\(end.series.role.rawValue)")
            canvas.point(x + 17, place, end.series.role)
            canvas.text(x + 25, place + 4, end.series.name)
        }
    }

    /// `0.01`, `1`, `100`.
    static func power(_ exponent: Int) -> String {
        exponent < 0
            ? "0." + String(repeating: "0", count: -exponent - 1) + "1"
            : RangeChart.short((0..<exponent).reduce(1) { value, _ in value * 10 })
    }
}
