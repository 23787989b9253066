/// One metric with all its samples.
package struct MetricFamily: Hashable, Sendable {
    /// The meaning of a value.
    package enum Kind: String, Hashable, Sendable {
        /// Only rises, except at a restart; its name ends in `_total`.
        case counter
        /// Rises and falls.
        case gauge
        /// Durations in buckets, in seconds.
        case histogram
    }

    /// A sample's value.
    package enum Value: Hashable, Sendable {
        /// An integer, written with all its digits.
        case integer(Int64)
        /// Any other number, including NaN and the infinities.
        case real(Double)
        /// For ``Kind/histogram``.
        case durations(DurationHistogram)
    }

    /// The metric's name.
    package let name: MetricName
    /// The meaning of its values.
    package let kind: Kind
    /// Its description for people, in one or two sentences.
    package let help: String
    /// The names of its labels.
    package let labels: [LabelName]
    /// The samples by their labels' values, which are in the order of ``labels``.
    package private(set) var samples: [[String]: Value] = [:]

    /// - Parameters:
    ///   - name: the metric's name.
    ///   - kind: the meaning of its values.
    ///   - help: its description for people.
    ///   - labels: the names of its labels; none for a metric with one sample.
    package init(_ name: MetricName, _ kind: Kind, help: String, labels: [LabelName] = []) {
        self.name = name
        self.kind = kind
        self.help = help
        self.labels = labels
    }

    /// Sets the sample of these label values.
    ///
    /// Too few or too many values for ``labels``, or a value that is not of the family's kind, are a programming error and stop
    /// the program.
    package mutating func set(_ value: Value, _ labelValues: String...) {
        set(value, labels: labelValues)
    }

    /// Sets the sample of these label values, like ``set(_:_:)``.
    package mutating func set(_ value: Value, labels labelValues: [String]) {
        precondition(labelValues.count == labels.count, "\(name) has \(labels.count) labels")
        if case .durations = value {
            precondition(kind == .histogram, "\(name) is no histogram")
        } else {
            precondition(kind != .histogram, "\(name) is a histogram")
        }
        samples[labelValues] = value
    }

    /// Sets the sample of these label values to a count, which saturates.
    package mutating func set(_ count: some BinaryInteger, _ labelValues: String...) {
        set(.integer(Int64(clamping: count)), labels: labelValues)
    }
}
