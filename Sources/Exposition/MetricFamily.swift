/// One metric with all its samples.
public struct MetricFamily: Hashable, Sendable {
    /// What a value means.
    public enum Kind: String, Hashable, Sendable {
        /// Only rises, but for a restart; its name ends in `_total`.
        case counter
        /// Goes up and down.
        case gauge
        /// Durations in buckets, in seconds.
        case histogram
    }

    /// A sample's value.
    public enum Value: Hashable, Sendable {
        /// A whole number, written with all its digits.
        case integer(Int64)
        /// Another number; NaN and the infinities are allowed.
        case real(Double)
        /// For ``Kind/histogram``.
        case durations(DurationHistogram)
    }

    /// Its name.
    public let name: MetricName
    /// What its values mean.
    public let kind: Kind
    /// What it counts, for people: one or two sentences.
    public let help: String
    /// The names of its labels.
    public let labels: [LabelName]
    /// The samples by their labels' values, in the order of ``labels``.
    public private(set) var samples: [[String]: Value] = [:]

    /// - Parameters:
    ///   - name: its name.
    ///   - kind: what its values mean.
    ///   - help: what it counts, for people.
    ///   - labels: the names of its labels; none for a metric of one sample.
    public init(_ name: MetricName, _ kind: Kind, help: String, labels: [LabelName] = []) {
        self.name = name
        self.kind = kind
        self.help = help
        self.labels = labels
    }

    /// Sets the sample of these labels' values.
    ///
    /// Values that are too few or too many for ``labels``, and a value that is not of the family's kind, are a mistake of the
    /// program and stop it.
    public mutating func set(_ value: Value, _ labelValues: String...) {
        set(value, labels: labelValues)
    }

    /// Sets the sample of these labels' values, as ``set(_:_:)`` does.
    public mutating func set(_ value: Value, labels labelValues: [String]) {
        precondition(labelValues.count == labels.count, "\(name) has \(labels.count) labels")
        if case .durations = value {
            precondition(kind == .histogram, "\(name) is no histogram")
        } else {
            precondition(kind != .histogram, "\(name) is a histogram")
        }
        samples[labelValues] = value
    }

    /// Sets the sample of these labels' values to a count; one that does not fit stays at the end of the range.
    public mutating func set(_ count: some BinaryInteger, _ labelValues: String...) {
        set(.integer(Int64(clamping: count)), labels: labelValues)
    }
}
