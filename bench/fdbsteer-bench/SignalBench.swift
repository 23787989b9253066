/// Placeholder.
struct SignalBench {
    init(_ setting: ThroughputSetting) throws {}
    func run() throws -> [ThroughputReport.Row] { [] }
}
